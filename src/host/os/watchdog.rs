//! Tells the service manager that a deployer makes progress: each of its waits calls this, and a process that
//! is stuck anywhere else does not. A supervisor of an engine reports the engine's health instead, and never
//! begins this.

use super::notify;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The least time between two reports.
const TELL_EVERY: Duration = Duration::from_secs(5);

static BEGUN: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Makes [`beat`] report from now on.
pub(crate) fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
    beat();
}

/// Reports progress.
pub(crate) fn beat() {
    if !BEGUN.load(Ordering::Relaxed) {
        return;
    }
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
        *last = Some(Instant::now());
        notify::alive();
    }
}

/// Waits for so long. For loops that have an end.
pub(crate) fn pause(length: Duration) {
    beat();
    thread::sleep(length);
}

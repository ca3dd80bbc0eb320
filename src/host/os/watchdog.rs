//! Shows the service manager that a deployer gets on: each of its waits comes by here, and a process that is stuck
//! anywhere else does not. Whoever supervises an engine tells of the engine instead, and never begins this.

use super::notify;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often it is told at most.
const TELL_EVERY: Duration = Duration::from_secs(5);

static BEGUN: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// From now on [`beat`] tells.
pub(crate) fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
    beat();
}

/// It gets on.
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

/// Waits for so long, in a loop that has an end.
pub(crate) fn pause(length: Duration) {
    beat();
    thread::sleep(length);
}

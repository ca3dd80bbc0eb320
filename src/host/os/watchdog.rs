//! Tells the service manager that a deployer makes progress: each of its waits calls this, and a process that
//! is stuck anywhere else does not. A supervisor of an engine reports the engine's health instead, and never
//! begins this. A process to which the service manager does not listen ends itself.

use super::notify;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The time without progress after which a process counts as hung. `WatchdogSec=` of an activation's unit is
/// as long.
pub(crate) const HUNG_AFTER: Duration = Duration::from_mins(10);
/// The least time between two reports.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The least time between two looks of [`guard`].
const LOOK_EVERY: Duration = Duration::from_millis(10);

static BEGUN: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Makes [`beat`] report from now on.
pub(crate) fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
    beat();
}

/// Aborts this process once [`beat`] was not called for so long.
pub fn guard(limit: Duration) {
    beat();
    thread::spawn(move || {
        while since_last() < limit {
            thread::sleep(limit.saturating_sub(since_last()).max(LOOK_EVERY));
        }
        std::process::abort();
    });
}

/// The time since the last [`beat`].
fn since_last() -> Duration {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |last| last.elapsed())
}

/// Reports progress.
pub(crate) fn beat() {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
        *last = Some(Instant::now());
        if BEGUN.load(Ordering::Relaxed) {
            notify::alive();
        }
    }
}

/// Waits for so long. For loops that have an end.
pub(crate) fn pause(length: Duration) {
    beat();
    thread::sleep(length);
}

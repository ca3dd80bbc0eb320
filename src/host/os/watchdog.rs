//! Shows the service manager that a deployer gets on: each of its waits comes by here, and a process that is stuck
//! anywhere else does not. Whoever supervises an engine tells of the engine instead, and never begins this. A process to
//! which the service manager does not listen ends itself.

use super::notify;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What does not get on for so long hangs. `WatchdogSec=` of an activation's unit is as long.
pub(crate) const HUNG_AFTER: Duration = Duration::from_mins(10);
/// How often it is told at most.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How often [`guard`] looks at least.
const LOOK_EVERY: Duration = Duration::from_millis(10);

static BEGUN: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Makes [`beat`] report from now on.
pub(crate) fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
    beat();
}

/// From now on this process is aborted once nothing has come by [`beat`] for so long.
pub fn guard(limit: Duration) {
    beat();
    thread::spawn(move || {
        while since_last() < limit {
            thread::sleep(limit.saturating_sub(since_last()).max(LOOK_EVERY));
        }
        std::process::abort();
    });
}

/// How long ago the last [`beat`] was.
fn since_last() -> Duration {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |last| last.elapsed())
}

/// It gets on.
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

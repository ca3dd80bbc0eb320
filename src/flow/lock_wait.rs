//! Waiting for a lock that somebody holds, for as long as that takes: what has to go back does not give up.

use super::{
    context::World,
    event::{Event, Observer},
};
use crate::{
    domain::problem::{Kind, Problem},
    host::os::watchdog,
};
use std::time::Duration;

/// How often a lock that is held is tried again.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Takes a lock once it is free. Each of its holders is told once. Nothing where it is not `wanted` any more, or the
/// host goes down, which waits for nobody.
pub(super) fn take<T>(
    world: &mut World,
    mut lock: impl FnMut(&mut World) -> Result<T, Problem>,
    wanted: impl Fn(&World) -> bool,
    observer: &dyn Observer,
) -> Result<Option<T>, Problem> {
    let mut told = None;
    loop {
        match lock(world) {
            Err(problem) if problem.kind == Kind::Busy => {
                if told.as_ref() != Some(&problem.what) {
                    observer.see(Event::Warning(format!("this has to go back, and waits: {}", problem.what)));
                    told = Some(problem.what);
                }
            }
            taken => return taken.map(Some),
        }
        // Whether the host goes down is the manager's to say, whatever the service.
        if !wanted(world) || world.service_manager.observe("awqdeploy").goes_down() {
            return Ok(None);
        }
        watchdog::pause(TRY_EVERY);
    }
}

/// How long the lock may still be held by whoever gave the order, or by one that was killed and is not gone yet.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

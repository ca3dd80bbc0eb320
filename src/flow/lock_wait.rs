//! Waits for a held lock as long as it takes: a rollback does not give up.

use super::{context::Context, event::Event};
use crate::{
    domain::problem::{Kind, Problem},
    host::os::watchdog,
};
use std::time::Duration;

/// How often a lock that is held is tried again.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Takes a lock once it is free. Reports each of its holders once. Nothing where it is no longer `wanted`, or
/// the host goes down, which waits for nobody.
pub(super) fn take<T>(
    context: &mut Context,
    mut lock: impl FnMut(&mut Context) -> Result<T, Problem>,
    wanted: impl Fn(&Context) -> bool,
) -> Result<Option<T>, Problem> {
    let mut told = None;
    loop {
        match lock(context) {
            Err(problem) if problem.kind == Kind::Busy => {
                if told.as_ref() != Some(&problem.what) {
                    context
                        .tell(Event::Warning(format!("this has to roll back, and waits: {}", problem.what)));
                    told = Some(problem.what);
                }
            }
            taken => return taken.map(Some),
        }
        // The manager tells whether the host goes down, whatever the service.
        if !wanted(context) || context.service_manager.observe("awqdeploy").goes_down() {
            return Ok(None);
        }
        watchdog::pause(TRY_EVERY);
    }
}

/// How long the lock may still be held by the process that gave the request, or by a killed one that is not
/// gone yet.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

//! The service manager, whatever the transport.

use super::{
    bus::Bus,
    systemctl::Systemctl,
    transport::{CallError, EffectiveSettings, Persistence, State, Transport, Verb},
};
use crate::{
    domain::{problem::Problem, service::job::JobEnd, store::layout::Scope},
    host::os::watchdog,
};
use std::time::{Duration, Instant};

/// How long a manager that went away may stay away: it becomes its new self (`daemon-reexec`), or its bus is started
/// again. Neither ends what it runs.
pub(super) const RETURN_PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked for meanwhile.
pub(super) const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);

/// A service manager. One that went away is asked again once it is back: every request here may be given
/// twice.
pub(super) struct Manager {
    scope: Scope,
    way: Box<dyn Transport>,
    /// The unit whose job is waited for.
    job: Option<(String, Verb)>,
}

impl Manager {
    pub(super) fn state(&mut self, unit: &str) -> Result<State, Problem> {
        self.ask(|way| way.state(unit))
    }

    pub(super) fn in_force(&mut self, unit: &str) -> Result<EffectiveSettings, Problem> {
        self.ask(|way| way.in_force(unit))
    }

    pub(super) fn reload(&mut self) -> Result<(), Problem> {
        self.ask(|way| way.reload())
    }

    pub(super) fn enable(&mut self, units: &[&str], lasting: Persistence) -> Result<(), Problem> {
        self.ask(|way| way.enable(units, lasting))
    }

    pub(super) fn forget_failures(&mut self, unit: &str) -> Result<(), Problem> {
        self.ask(|way| way.forget_failures(unit))
    }

    pub(super) fn start(&mut self, unit: &str) -> Result<(), Problem> {
        self.job = None;
        self.ask(|way| way.start(unit))?;
        self.job = Some((unit.to_owned(), Verb::Start));
        Ok(())
    }

    pub(super) fn stop(&mut self, unit: &str) -> Result<(), Problem> {
        self.job = None;
        self.ask(|way| way.stop(unit))?;
        self.job = Some((unit.to_owned(), Verb::Stop));
        Ok(())
    }

    pub(super) fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, Problem> {
        let end = self.ask(|way| way.ended(wait))?;
        if end.is_some() {
            self.job = None;
        }
        Ok(end)
    }

    pub(super) fn interrupt(&mut self, unit: &str) -> Result<(), Problem> {
        self.ask(|way| way.interrupt(unit))
    }

    pub(super) fn goes_down(&mut self) -> Result<bool, Problem> {
        self.ask(|way| way.goes_down())
    }

    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut dyn Transport) -> Result<T, CallError>,
    ) -> Result<T, Problem> {
        let mut lost_since = None;
        loop {
            let answered = match lost_since {
                None => question(self.way.as_mut()),
                Some(_) => self.again(&mut question),
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(CallError::Said(problem)) => return Err(problem),
                Err(CallError::Lost(problem)) => {
                    let since = *lost_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > RETURN_PATIENCE {
                        return Err(problem);
                    }
                    watchdog::pause(LOOK_AGAIN_EVERY);
                }
            }
        }
    }

    /// Asks again over a new connection. Signals of the old one may be lost: the unit's own job is looked for
    /// first.
    fn again<T>(
        &mut self,
        question: &mut impl FnMut(&mut dyn Transport) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.way = way_to(self.scope)?;
        if let Some((unit, verb)) = &self.job {
            self.way.follow(unit, *verb)?;
        }
        question(self.way.as_mut())
    }
}

/// The service manager of this scope.
pub(super) fn reach(scope: Scope) -> Result<Manager, Problem> {
    Ok(Manager { scope, way: way_to(scope)?, job: None })
}

/// The message bus where there is one, which tells how each job ended; else `systemctl`, which reaches its
/// manager without a bus, as in a container or early at boot. systemd's own socket is no alternative: there
/// the sender's name is invalid by the D-Bus specification, and zbus refuses the messages.
fn way_to(scope: Scope) -> Result<Box<dyn Transport>, Problem> {
    Ok(match Bus::connect(scope)? {
        Some(bus) => Box::new(bus),
        None => Box::new(Systemctl::new(scope)),
    })
}

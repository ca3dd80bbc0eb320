//! What is asked of systemd, however it is reached.

use super::{bus::Bus, systemctl::Systemctl};
use crate::{
    domain::{job::JobEnd, layout::Scope, problem::Problem},
    host::{pulse, service::Condition},
};
use std::time::{Duration, Instant};

/// How long a manager that went away may stay away: it becomes its new self (`daemon-reexec`), or its bus is started
/// again. Neither ends what it runs.
const RETURN_PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked for meanwhile.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);

/// A way to speak to a service manager.
pub(super) trait Way {
    /// What this unit is and does.
    fn state(&mut self, unit: &str) -> Result<State, Trouble>;
    /// What is set for this unit, drop-ins included.
    fn in_force(&mut self, unit: &str) -> Result<InForce, Trouble>;
    /// Reads all unit files anew.
    fn reload(&mut self) -> Result<(), Trouble>;
    /// Has these units started at boot.
    fn enable(&mut self, units: &[&str], lasting: Lasting) -> Result<(), Trouble>;
    /// Forgets failures, and starts that count towards the limit. A unit that never ran has none.
    fn forget_failures(&mut self, unit: &str) -> Result<(), Trouble>;
    /// Queues a job that starts the unit; [`Way::ended`] tells of it.
    fn start(&mut self, unit: &str) -> Result<(), Trouble>;
    /// How the job ended, if it does within `wait`.
    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, Trouble>;
    /// Has [`Way::ended`] tell of the job that this unit has now, which somebody else may have queued. None is no
    /// problem: then nobody heard how it ended.
    fn follow(&mut self, unit: &str, verb: Verb) -> Result<(), Trouble>;
    /// Queues a job that stops the unit, which cancels one that starts it; [`Way::ended`] tells of it.
    fn stop(&mut self, unit: &str) -> Result<(), Trouble>;
    /// Sends the main process of the unit what Ctrl-C sends.
    fn interrupt(&mut self, unit: &str) -> Result<(), Trouble>;
    /// Whether it is going down with all that it runs, and starts nothing any more.
    fn goes_down(&mut self) -> Result<bool, Trouble>;
}

/// What came in the way of an answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The manager, or the way to it, is not there now.
    Lost(Problem),
    /// It was asked, and said no.
    Said(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Said(problem)
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It starts a unit.
    Start,
    /// It stops one.
    Stop,
}

/// A service manager. One that went away in the middle is asked again once it is back: every question and order here
/// may be given twice.
pub(super) struct Manager {
    scope: Scope,
    way: Box<dyn Way>,
    /// The unit whose job is waited for.
    job: Option<(String, Verb)>,
}

impl Manager {
    pub(super) fn state(&mut self, unit: &str) -> Result<State, Problem> {
        self.ask(|way| way.state(unit))
    }

    pub(super) fn in_force(&mut self, unit: &str) -> Result<InForce, Problem> {
        self.ask(|way| way.in_force(unit))
    }

    pub(super) fn reload(&mut self) -> Result<(), Problem> {
        self.ask(|way| way.reload())
    }

    pub(super) fn enable(&mut self, units: &[&str], lasting: Lasting) -> Result<(), Problem> {
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

    fn ask<T>(&mut self, mut question: impl FnMut(&mut dyn Way) -> Result<T, Trouble>) -> Result<T, Problem> {
        let mut lost_since = None;
        loop {
            let answered = match lost_since {
                None => question(self.way.as_mut()),
                Some(_) => self.again(&mut question),
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Said(problem)) => return Err(problem),
                Err(Trouble::Lost(problem)) => {
                    let since = *lost_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > RETURN_PATIENCE {
                        return Err(problem);
                    }
                    pulse::pause(LOOK_AGAIN_EVERY);
                }
            }
        }
    }

    /// Asks by a new way. Signals of the old one may be lost: the unit's own job is looked for first.
    fn again<T>(
        &mut self,
        question: &mut impl FnMut(&mut dyn Way) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.way = way_to(self.scope)?;
        if let Some((unit, verb)) = &self.job {
            self.way.follow(unit, *verb)?;
        }
        question(self.way.as_mut())
    }
}

/// What [`Way::goes_down`] looks for in `SystemState`.
pub(super) const STOPPING: &str = "stopping";

/// How long a unit stays enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Beyond the next boot.
    Always,
    /// Until the next boot: its file lies in `/run`.
    UntilBoot,
}

/// A unit at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// `LoadState`: `loaded`, `not-found`.
    pub(super) load: String,
    /// `ActiveState`: `active`, `failed`.
    pub(super) active: String,
    /// `StatusText`: what the service says of itself.
    pub(super) status: String,
    /// `Result`: how it ended last: `success`, `exit-code`.
    pub(super) result: String,
    /// `TasksCurrent`: processes and threads in its control group, where that is counted.
    pub(super) tasks: Option<u64>,
    /// `NRestarts`: how often it was started again by itself.
    pub(super) restarts: u32,
    /// `MainPID`: its own process, if it has one.
    pub(super) main: Option<u32>,
    /// `ControlGroup`: where its processes are. Empty where it has none.
    pub(super) group: String,
}

/// Settings of a unit, with the files that change them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InForce {
    /// `Restart`.
    pub(super) restart: String,
    /// `Environment`: each `NAME=VALUE`.
    pub(super) environment: Vec<String>,
    /// `DropInPaths`, in the order in which they are read.
    pub(super) drop_ins: Vec<String>,
}

impl State {
    /// The state as the rest of the program knows it.
    pub(super) fn condition(&self) -> Condition {
        match self.active.as_str() {
            "active" => Condition::Active,
            "activating" | "deactivating" | "reloading" | "maintenance" => {
                Condition::Changing(self.active.clone())
            }
            _ => Condition::Down(self.active.clone()),
        }
    }
}

/// The service manager of this scope.
pub(super) fn reach(scope: Scope) -> Result<Manager, Problem> {
    Ok(Manager { scope, way: way_to(scope)?, job: None })
}

/// The message bus where there is one, which tells how each job ended; else `systemctl`, which reaches its manager
/// without a bus, as in a container or early at boot. systemd's own socket is no third way: there it signs its
/// messages with a name that is none by the D-Bus specification, and zbus refuses them.
fn way_to(scope: Scope) -> Result<Box<dyn Way>, Problem> {
    Ok(match Bus::connect(scope)? {
        Some(bus) => Box::new(bus),
        None => Box::new(Systemctl::new(scope)),
    })
}

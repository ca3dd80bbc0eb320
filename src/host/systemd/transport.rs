//! A way to speak to a service manager, and what it answers.

use super::service::Condition;
use crate::domain::{problem::Problem, service::job::JobEnd};
use std::time::Duration;

/// A way to speak to a service manager.
pub(super) trait Transport {
    /// What this unit is and does.
    fn state(&mut self, unit: &str) -> Result<State, CallError>;
    /// What is set for this unit, drop-ins included.
    fn in_force(&mut self, unit: &str) -> Result<EffectiveSettings, CallError>;
    /// Reads all unit files anew.
    fn reload(&mut self) -> Result<(), CallError>;
    /// Has these units started at boot.
    fn enable(&mut self, units: &[&str], lasting: Persistence) -> Result<(), CallError>;
    /// Forgets failures, and starts that count towards the limit. A unit that never ran has none.
    fn forget_failures(&mut self, unit: &str) -> Result<(), CallError>;
    /// Queues a job that starts the unit; [`Transport::ended`] tells of it.
    fn start(&mut self, unit: &str) -> Result<(), CallError>;
    /// How the job ended, if it does within `wait`.
    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, CallError>;
    /// Has [`Transport::ended`] tell of the job that this unit has now, which somebody else may have queued. None is no
    /// problem: then nobody heard how it ended.
    fn follow(&mut self, unit: &str, verb: Verb) -> Result<(), CallError>;
    /// Queues a job that stops the unit, which cancels one that starts it; [`Transport::ended`] tells of it.
    fn stop(&mut self, unit: &str) -> Result<(), CallError>;
    /// Sends the main process of the unit what Ctrl-C sends.
    fn interrupt(&mut self, unit: &str) -> Result<(), CallError>;
    /// Whether it is going down with all that it runs, and starts nothing any more.
    fn goes_down(&mut self) -> Result<bool, CallError>;
}

/// What came in the way of an answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The manager, or the way to it, is not there now.
    Lost(Problem),
    /// It was asked, and said no.
    Said(Problem),
}

impl From<Problem> for CallError {
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
    /// `StateChangeTimestampMonotonic`: when it became what it is, microseconds of the monotonic clock. Absent: never.
    pub(super) changed: Option<u64>,
    /// `ControlGroup`: where its processes are. Empty where it has none.
    pub(super) group: String,
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

/// Settings of a unit, with the files that change them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EffectiveSettings {
    /// `Restart`.
    pub(super) restart: String,
    /// `Environment`: each `NAME=VALUE`.
    pub(super) environment: Vec<String>,
    /// `DropInPaths`, in the order in which they are read.
    pub(super) drop_ins: Vec<String>,
}

/// How long a unit stays enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Beyond the next boot.
    Always,
    /// Until the next boot: its file lies in `/run`.
    UntilBoot,
}

/// What [`Transport::goes_down`] looks for in `SystemState`.
pub(super) const STOPPING: &str = "stopping";

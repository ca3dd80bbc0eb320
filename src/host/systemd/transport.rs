//! The transports to a service manager, and its answers.

use super::service::Condition;
use crate::domain::{
    problem::Problem,
    service::{active_state::ActiveState, job::JobEnd},
};
use std::time::Duration;

/// A transport to a service manager.
pub(super) trait Transport {
    /// The state of this unit.
    fn state(&mut self, unit: &str) -> Result<State, CallError>;
    /// The settings of this unit, drop-ins included.
    fn in_force(&mut self, unit: &str) -> Result<EffectiveSettings, CallError>;
    /// Reads all unit files anew.
    fn reload(&mut self) -> Result<(), CallError>;
    /// Has these units started at boot.
    fn enable(&mut self, units: &[&str], lasting: Persistence) -> Result<(), CallError>;
    /// Forgets failures, and starts that count towards the limit. A unit that never ran has none.
    fn forget_failures(&mut self, unit: &str) -> Result<(), CallError>;
    /// Queues a job that starts the unit; [`Transport::ended`] tells of it.
    fn start(&mut self, unit: &str) -> Result<(), CallError>;
    /// The end of the job, if it comes within `wait`.
    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, CallError>;
    /// Makes [`Transport::ended`] report the job that this unit has now, which somebody else may have queued.
    /// Having none is no problem: its end is then unheard.
    fn follow(&mut self, unit: &str, verb: Verb) -> Result<(), CallError>;
    /// Queues a job that stops the unit and cancels one that starts it; [`Transport::ended`] tells of it.
    fn stop(&mut self, unit: &str) -> Result<(), CallError>;
    /// Sends SIGINT to the main process of the unit, as Ctrl-C does.
    fn interrupt(&mut self, unit: &str) -> Result<(), CallError>;
    /// Whether the manager is going down with all that it runs, and starts nothing any more.
    fn goes_down(&mut self) -> Result<bool, CallError>;
}

/// Why a call got no answer.
#[derive(Debug)]
pub enum CallError {
    /// The manager, or the connection to it, is not there now.
    Lost(Problem),
    /// The manager refused.
    Said(Problem),
}

impl From<Problem> for CallError {
    fn from(problem: Problem) -> Self {
        Self::Said(problem)
    }
}

/// The kind of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// The job starts a unit.
    Start,
    /// The job stops a unit.
    Stop,
}

/// A unit at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// `LoadState`: whether the unit exists, `not-found` where not.
    pub(super) found: bool,
    /// `ActiveState`.
    pub(super) active: ActiveState,
    /// `InvocationID`: the last start. None before the first.
    pub(super) invocation: Option<Invocation>,
    /// `StatusText`: what the service says of itself.
    pub(super) status: String,
    /// `Result`: how it last ended: `success`, `exit-code`.
    pub(super) result: String,
    /// `TasksCurrent`: processes and threads in its control group, where that is counted.
    pub(super) tasks: Option<u64>,
    /// `NRestarts`: how often systemd restarted it.
    pub(super) restarts: u32,
    /// `MainPID`: the main process, if it has one.
    pub(super) main: Option<u32>,
    /// `StateChangeTimestampMonotonic`: when it became what it is, microseconds of the monotonic clock. Absent: never.
    pub(super) changed: Option<u64>,
    /// `ControlGroup`: the group of its processes. Empty where it has none.
    pub(super) group: String,
}

/// One start of a unit, which identifies its lines in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation(String);

impl Invocation {
    /// The invocation with this number, in hexadecimal digits. None where there are none.
    pub(super) fn of(digits: &str) -> Option<Self> {
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(digits.to_owned()))
    }

    /// The matches for `journalctl`: the lines of its processes, and those of the service manager about it.
    /// See systemd.journal-fields(7).
    pub(super) fn matches(&self) -> [String; 5] {
        let Self(id) = self;
        let or = || "+".to_owned();
        let of = |field: &str| format!("{field}={id}");
        [of("_SYSTEMD_INVOCATION_ID"), or(), of("INVOCATION_ID"), or(), of("USER_INVOCATION_ID")]
    }
}

impl State {
    /// The state as the rest of the program knows it.
    pub(super) fn condition(&self) -> Condition {
        self.active.clone().into()
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

/// `LoadState` of a unit that is not there.
pub(super) const NOT_FOUND: &str = "not-found";

/// The value of `SystemState` that [`Transport::goes_down`] looks for.
pub(super) const STOPPING: &str = "stopping";

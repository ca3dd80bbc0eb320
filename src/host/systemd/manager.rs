//! What is asked of systemd, however it is reached.

use super::{bus::Bus, systemctl::Systemctl};
use crate::{
    domain::{job::JobEnd, layout::Scope, problem::Problem},
    host::service::Condition,
};
use std::time::Duration;

/// A way to speak to a service manager.
pub(super) trait Manager {
    /// What this unit is and does.
    fn state(&mut self, unit: &str) -> Result<State, Problem>;
    /// Reads all unit files anew.
    fn reload(&mut self) -> Result<(), Problem>;
    /// Has these units started at boot.
    fn enable(&mut self, units: &[&str], lasting: Lasting) -> Result<(), Problem>;
    /// Forgets failures, and starts that count towards the limit. A unit that never ran has none.
    fn forget_failures(&mut self, unit: &str) -> Result<(), Problem>;
    /// Queues a job that starts the unit; [`Manager::ended`] tells of it.
    fn start(&mut self, unit: &str) -> Result<(), Problem>;
    /// How the job ended, if it does within `wait`.
    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, Problem>;
    /// Queues a job that stops the unit, which cancels one that starts it; [`Manager::ended`] tells of it.
    fn stop(&mut self, unit: &str) -> Result<(), Problem>;
    /// Sends the main process of the unit what Ctrl-C sends.
    fn interrupt(&mut self, unit: &str) -> Result<(), Problem>;
    /// Whether it is going down with all that it runs, and starts nothing any more.
    fn goes_down(&mut self) -> Result<bool, Problem>;
}

/// What [`Manager::goes_down`] looks for in `SystemState`.
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

/// The message bus where there is one, which tells how each job ended; else `systemctl`, which reaches its manager
/// without a bus, as in a container or early at boot. systemd's own socket is no third way: there it signs its
/// messages with a name that is none by the D-Bus specification, and zbus refuses them.
pub(super) fn reach(scope: Scope) -> Result<Box<dyn Manager>, Problem> {
    Ok(match Bus::connect(scope)? {
        Some(bus) => Box::new(bus),
        None => Box::new(Systemctl::new(scope)),
    })
}

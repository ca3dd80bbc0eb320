//! What keeps the engine running: systemd, or the embedded supervisor of a rehearsal.

use super::signals::Interrupt;
use crate::domain::{problem::Problem, unit::Unit};
use std::path::PathBuf;

/// The keeper of one service. Every method is idempotent.
pub trait Services {
    /// A problem if one of these units is somebody else's. Changes nothing.
    fn claim(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// The text of this unit as it is installed now, with its file, or nothing.
    fn installed(&mut self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem>;

    /// Makes these units known and started at boot. Changes nothing that runs.
    fn install(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// Called at boot, before the service: makes units known again that a boot forgets, and has the service started.
    fn remember(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// Sets what happens when the service dies by itself from now on.
    fn trust(&mut self, trust: Trust) -> Result<(), Problem>;

    /// Starts the service and waits until it is ready. `said` hears what it does meanwhile.
    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem>;

    /// Stops it and waits until no process of it is left.
    fn stop(&mut self) -> Result<(), Problem>;

    /// What it does now.
    fn condition(&mut self) -> Result<Condition, Problem>;

    /// The last lines that it logged.
    fn log_tail(&mut self, lines: u32) -> Result<String, Problem>;
}

/// How far a generation is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Unproven: it must not come back by itself, so that a failure is seen as one.
    Candidate,
    /// Proven: it is restarted whenever it dies.
    Committed,
}

/// What a service does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Ready and running.
    Active,
    /// On its way up or down, in the keeper's word: `activating`.
    Changing(String),
    /// Not running, in the keeper's word: `inactive`, `failed`.
    Down(String),
}

impl<S: Services + ?Sized> Services for &mut S {
    fn claim(&mut self, units: &[Unit]) -> Result<(), Problem> {
        (**self).claim(units)
    }

    fn installed(&mut self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        (**self).installed(unit)
    }

    fn install(&mut self, units: &[Unit]) -> Result<(), Problem> {
        (**self).install(units)
    }

    fn remember(&mut self, units: &[Unit]) -> Result<(), Problem> {
        (**self).remember(units)
    }

    fn trust(&mut self, trust: Trust) -> Result<(), Problem> {
        (**self).trust(trust)
    }

    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem> {
        (**self).start(interrupt, said)
    }

    fn stop(&mut self) -> Result<(), Problem> {
        (**self).stop()
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        (**self).condition()
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        (**self).log_tail(lines)
    }
}

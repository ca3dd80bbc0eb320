//! The service manager of the engine: systemd, or the embedded supervisor of a rehearsal.

use crate::{
    domain::{
        activation::{journal::Period, running::Runs},
        problem::Problem,
        service::{account::Account, active_state::ActiveState, unit::Unit},
        store::layout::Layout,
        validation::limits::Limits,
    },
    host::{
        os::signals::Interrupt,
        process::{orphans::OrphanProcess, owned::OwnedProcesses},
    },
};
use std::path::{Path, PathBuf};

/// The service manager of one service. Every method is idempotent.
pub trait Services {
    /// A problem if one of these units is somebody else's. Changes nothing.
    fn claim(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// The text of this unit as it is installed now, with its file, or nothing.
    fn installed(&mut self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem>;

    /// Makes these units known and started at boot. Changes nothing that runs.
    fn install(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// Makes units known again that a boot forgets, and has the service started. Called at boot, before the
    /// service.
    fn remember(&mut self, units: &[Unit]) -> Result<(), Problem>;

    /// Makes sure that these units are in force, on hosts where a configuration may have put others in their
    /// place. Elsewhere this does nothing.
    fn keep(&mut self, _units: &[Unit]) -> Result<(), Problem> {
        Ok(())
    }

    /// Sets what happens when the service dies by itself from now on.
    fn trust(&mut self, trust: Trust) -> Result<(), Problem>;

    /// Starts the service and waits until it is ready. `said` gets its status meanwhile.
    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem>;

    /// Stops the service and waits until no process of it is left.
    fn stop(&mut self) -> Result<(), Problem>;

    /// Ends the processes that outlived the stopped service and are ours without doubt, and reports each.
    /// Waits until the GPUs' memory is free. `runtimes` is the folder of our engines.
    fn clear(&mut self, _runtimes: &Path, _tell: &mut dyn FnMut(&OrphanProcess)) -> Result<(), Problem> {
        Ok(())
    }

    /// The processes of the service now.
    fn processes(&mut self) -> Result<OwnedProcesses, Problem>;

    /// The condition of the service now.
    fn condition(&mut self) -> Result<Condition, Problem>;

    /// The last lines of the service's log since its last start.
    fn log_tail(&mut self, lines: u32) -> Result<String, Problem>;

    /// Passes on each line that the service logged in a period, oldest first.
    fn log(&mut self, period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem>;

    /// The generation below this root that the service runs.
    fn runs(&mut self, _layout: &Layout) -> Result<Runs, Problem> {
        Ok(Runs::Unknown)
    }

    /// The limits of the running service. None where it does not run, or they are unknown.
    fn limits(&mut self) -> Result<Option<Limits>, Problem> {
        Ok(None)
    }

    /// How often the service manager has restarted it since a person or a deployment started it.
    fn restarts(&mut self) -> Result<u32, Problem> {
        Ok(0)
    }

    /// How it came to be what it is.
    fn account(&mut self) -> Result<Account, Problem> {
        Ok(Account::default())
    }

    /// Whether the service manager itself is going down with the host, and starts nothing any more.
    fn goes_down(&mut self) -> bool {
        false
    }
}

/// The wanted lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The newest lines, at most so many.
    Last(u32),
    /// Some of the newest lines, and all later ones.
    Follow,
}

impl Lines {
    /// The most lines of those that are there already.
    pub(crate) fn at_most(self) -> usize {
        const BEFORE_FOLLOWING: usize = 20;
        match self {
            Self::Last(lines) => lines as usize,
            Self::Follow => BEFORE_FOLLOWING,
        }
    }
}

/// The variable that marks a service on trial: its activation stops it if it fails. A generation that is
/// neither proven nor on trial must not run.
pub const TRIAL_VARIABLE: &str = "AWQDEPLOY_ON_TRIAL";

/// Whether this process is a service on trial.
pub(crate) fn on_trial() -> bool {
    std::env::var_os(TRIAL_VARIABLE).is_some()
}

/// The trust in a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Unproven: it is not restarted, so that a failure shows.
    Candidate,
    /// Proven: it is restarted whenever it dies.
    Committed,
}

/// The condition of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Ready and running.
    Active,
    /// On its way up or down: `activating`.
    Changing(ActiveState),
    /// Not running: `inactive`, `failed`.
    Down(ActiveState),
}

impl From<ActiveState> for Condition {
    fn from(state: ActiveState) -> Self {
        match state {
            ActiveState::Active => Self::Active,
            ActiveState::Reloading
            | ActiveState::Refreshing
            | ActiveState::Activating
            | ActiveState::Deactivating
            | ActiveState::Maintenance => Self::Changing(state),
            ActiveState::Inactive | ActiveState::Failed | ActiveState::Unknown(_) => Self::Down(state),
        }
    }
}

impl Condition {
    /// Whether a person stopped the service, or it was not started since the boot. A failing one is `failed`,
    /// or about to be started again.
    pub(crate) fn is_stopped(&self) -> bool {
        *self == Self::Down(ActiveState::Inactive)
    }
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

    fn keep(&mut self, units: &[Unit]) -> Result<(), Problem> {
        (**self).keep(units)
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

    fn clear(&mut self, runtimes: &Path, tell: &mut dyn FnMut(&OrphanProcess)) -> Result<(), Problem> {
        (**self).clear(runtimes, tell)
    }

    fn processes(&mut self) -> Result<OwnedProcesses, Problem> {
        (**self).processes()
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        (**self).condition()
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        (**self).log_tail(lines)
    }

    fn log(&mut self, period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        (**self).log(period, lines, said)
    }

    fn runs(&mut self, layout: &Layout) -> Result<Runs, Problem> {
        (**self).runs(layout)
    }

    fn limits(&mut self) -> Result<Option<Limits>, Problem> {
        (**self).limits()
    }

    fn restarts(&mut self) -> Result<u32, Problem> {
        (**self).restarts()
    }

    fn account(&mut self) -> Result<Account, Problem> {
        (**self).account()
    }

    fn goes_down(&mut self) -> bool {
        (**self).goes_down()
    }
}

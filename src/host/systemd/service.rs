//! What keeps the engine running: systemd, or the embedded supervisor of a rehearsal.

use crate::{
    domain::{
        activation::{journal::Period, running::Runs},
        problem::Problem,
        service::{account::Account, unit::Unit},
        store::layout::Layout,
    },
    host::{
        os::signals::Interrupt,
        process::{orphans::OrphanProcess, owned::OwnedProcesses},
    },
};
use std::path::{Path, PathBuf};

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

    /// Sees to it that these units are the ones that are known, where others may have been put in their place by whoever
    /// declares units on this host. Elsewhere nobody does.
    fn keep(&mut self, _units: &[Unit]) -> Result<(), Problem> {
        Ok(())
    }

    /// Sets what happens when the service dies by itself from now on.
    fn trust(&mut self, trust: Trust) -> Result<(), Problem>;

    /// Starts the service and waits until it is ready. `said` hears what it does meanwhile.
    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem>;

    /// Stops it and waits until no process of it is left.
    fn stop(&mut self) -> Result<(), Problem>;

    /// Ends what outlived the stopped service and is ours without doubt, telling each, and waits until the GPUs'
    /// memory is back. `runtimes` is where our engines lie.
    fn clear(&mut self, _runtimes: &Path, _tell: &mut dyn FnMut(&OrphanProcess)) -> Result<(), Problem> {
        Ok(())
    }

    /// Which processes are its own, now.
    fn processes(&mut self) -> Result<OwnedProcesses, Problem>;

    /// What it does now.
    fn condition(&mut self) -> Result<Condition, Problem>;

    /// The last lines that it logged.
    fn log_tail(&mut self, lines: u32) -> Result<String, Problem>;

    /// Tells each line that it logged in a period, oldest first.
    fn log(&mut self, period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem>;

    /// Which of the generations below this root it runs.
    fn runs(&mut self, _layout: &Layout) -> Result<Runs, Problem> {
        Ok(Runs::Unknown)
    }

    /// How often it was started again by itself since a person or a deployment started it.
    fn restarts(&mut self) -> Result<u32, Problem> {
        Ok(0)
    }

    /// How it came to be what it is.
    fn account(&mut self) -> Result<Account, Problem> {
        Ok(Account::default())
    }

    /// Whether the keeper itself is going down with the host, and starts nothing any more.
    fn goes_down(&mut self) -> bool {
        false
    }
}

/// Which lines of a log are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// So many, the newest.
    Last(u32),
    /// Some of the newest, and all that are to come.
    Follow,
}

impl Lines {
    /// How many of those that are there already.
    pub fn at_most(self) -> usize {
        const BEFORE_FOLLOWING: usize = 20;
        match self {
            Self::Last(lines) => lines as usize,
            Self::Follow => BEFORE_FOLLOWING,
        }
    }
}

/// Set for a service that is on trial: whoever tries it will stop it if it fails. What is not proven and not on
/// trial is not to serve.
pub const TRIAL_VARIABLE: &str = "AWQDEPLOY_ON_TRIAL";

/// Whether this process is a service on trial.
pub fn on_trial() -> bool {
    std::env::var_os(TRIAL_VARIABLE).is_some()
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

impl Condition {
    /// Whether somebody stopped it, or it was not started since the host was. One that fails is `failed`, or about to be
    /// started again.
    pub fn is_stopped(&self) -> bool {
        *self == Self::Down("inactive".to_owned())
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

//! The embedded supervisor: what systemd does for the service, in a rehearsal that has no systemd.
//!
//! It runs `awqdeploy supervise` as the unit does, receives the same notifications, and leaves nothing
//! behind. It does not restart a service that died, and it ends with its owner.

use crate::{
    domain::{
        activation::{journal::Period, running::Runs},
        problem::Problem,
        service::{active_state::ActiveState, unit::Unit},
        store::layout::Layout,
    },
    host::{
        os::{
            fs,
            notify::{Listener, Notification, VARIABLE},
            signals::Interrupt,
        },
        process::{exec, owned::OwnedProcesses, process_tree, running_generation},
        systemd::service::{Condition, Lines, Services, TRIAL_VARIABLE, Trust},
    },
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    path::PathBuf,
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

/// The time between two looks at a starting or stopping service.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a service may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The variable that marks the service's processes, as a control group does under systemd.
const MARK: &str = "AWQDEPLOY_EMBEDDED_SERVICE";

/// Runs one service as a child of this process.
#[derive(Debug)]
pub struct EmbeddedSupervisor {
    argv: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    start_patience: Duration,
    running: Option<Running>,
    /// Where in the log its last start begins, in bytes.
    log_begins: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    listener: Listener,
    ready: bool,
}

impl EmbeddedSupervisor {
    /// A service that runs `argv` and keeps its socket and log in `directory`.
    pub(crate) fn new(
        argv: Vec<String>,
        environment: BTreeMap<String, String>,
        directory: PathBuf,
        start_patience: Duration,
    ) -> Self {
        Self { argv, environment, directory, start_patience, running: None, log_begins: 0 }
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("service.log")
    }

    /// The last lines of the log from this byte on.
    fn logged(&self, from: usize, lines: usize) -> Result<String, Problem> {
        let text = fs::read(&self.log_file())?.unwrap_or_default();
        let all: Vec<_> = text.get(from..).unwrap_or_default().lines().collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    }

    /// The mark of this service's processes.
    fn mark(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }

    fn spawn(&mut self) -> Result<Running, Problem> {
        fs::make_directory(&self.directory)?;
        let listener = Listener::bind(&self.directory.join("notify"))?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(|e| fs::failed("open", &self.log_file(), e))?;
        self.log_begins = log.metadata().map_err(|e| fs::failed("look at", &self.log_file(), e))?.len();
        let mut environment = self.environment.clone();
        environment.insert(VARIABLE.into(), listener.path().to_string_lossy().into_owned());
        environment.insert(MARK.into(), self.mark());
        let child = exec::service(&self.argv, &environment, log)?;
        Ok(Running { child, listener, ready: false })
    }
}

impl Services for EmbeddedSupervisor {
    fn claim(&mut self, _units: &[Unit]) -> Result<(), Problem> {
        Ok(())
    }

    fn installed(&mut self, _unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        Ok(None)
    }

    fn remember(&mut self, _units: &[Unit]) -> Result<(), Problem> {
        Ok(())
    }

    fn install(&mut self, _units: &[Unit]) -> Result<(), Problem> {
        Ok(())
    }

    fn trust(&mut self, trust: Trust) -> Result<(), Problem> {
        match trust {
            Trust::Candidate => self.environment.insert(TRIAL_VARIABLE.into(), "1".into()),
            Trust::Committed => self.environment.remove(TRIAL_VARIABLE),
        };
        Ok(())
    }

    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem> {
        if self.condition()? == Condition::Active {
            return Ok(());
        }
        let mut running = self.spawn()?;
        let began = Instant::now();
        let mut status = String::new();
        let outcome = loop {
            for word in running.listener.heard()? {
                match word {
                    Notification::Ready => running.ready = true,
                    Notification::Status(text) => {
                        said(text.clone());
                        status = text;
                    }
                }
            }
            if running.ready {
                break Ok(());
            }
            match running.child.try_wait() {
                Ok(None) => {}
                Ok(Some(ended)) => {
                    break Err(format!("the service ended ({ended}) before it was ready: {status}"));
                }
                Err(e) => break Err(format!("the service cannot be watched: {e}")),
            }
            if interrupt.came() {
                break Err("stopped by a signal".to_owned());
            }
            if began.elapsed() > self.start_patience {
                break Err(format!("not ready after {} s: {status}", self.start_patience.as_secs()));
            }
            sleep(LOOK_EVERY);
        };
        self.running = Some(running);
        outcome.map_err(|why| Problem::doing("start the service", why))
    }

    fn stop(&mut self) -> Result<(), Problem> {
        let Some(mut running) = self.running.take() else {
            // A killed owner may have left some.
            return process_tree::kill_marked(MARK, &self.mark());
        };
        let pid = Pid::from_child(&running.child);
        let began = Instant::now();
        // A child that is gone already cannot be signalled, which is fine.
        let _gone = kill_process(pid, Signal::TERM);
        while !matches!(running.child.try_wait(), Ok(Some(_))) {
            if began.elapsed() > STOP_PATIENCE {
                let _gone = running.child.kill();
            }
            sleep(LOOK_EVERY);
        }
        process_tree::kill_marked(MARK, &self.mark())
    }

    fn processes(&mut self) -> Result<OwnedProcesses, Problem> {
        Ok(OwnedProcesses::Ours)
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        let Some(running) = &mut self.running else {
            return Ok(Condition::Down(ActiveState::Inactive));
        };
        let ended = running.child.try_wait().map_err(|e| Problem::doing("look after the service", e))?;
        Ok(match (ended, running.ready) {
            (Some(_), _) => Condition::Down(ActiveState::Failed),
            (None, true) => Condition::Active,
            (None, false) => Condition::Changing(ActiveState::Activating),
        })
    }

    fn runs(&mut self, layout: &Layout) -> Result<Runs, Problem> {
        Ok(match &self.running {
            Some(running) => running_generation::of_process(running.child.id(), layout),
            None => Runs::Nothing,
        })
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        let begins = usize::try_from(self.log_begins).unwrap_or(usize::MAX);
        self.logged(begins, lines as usize)
    }

    /// The one log lives as long as its owner, and nobody follows a rehearsal.
    fn log(&mut self, _period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        self.logged(0, lines.at_most())?.lines().for_each(said);
        Ok(())
    }
}

impl Drop for EmbeddedSupervisor {
    fn drop(&mut self) {
        if self.running.is_some() {
            // Nobody is left to tell; all that matters is that nothing stays behind.
            let _unheard = self.stop();
        }
    }
}

//! systemd: over D-Bus where there is a message bus, else by `systemctl`.

mod bus;
mod manager;
mod systemctl;

use self::manager::{Lasting, Manager, State, reach};
use super::{
    exec, fs,
    service::{Condition, Services, Trust},
    signals::Interrupt,
};
use crate::domain::{
    job::JobEnd,
    problem::{Kind, Problem},
    startup::Reason,
    unit::{self, Scope, Unit},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// Where a person's own units live; they win over those of the distribution.
const UNITS: &str = "/etc/systemd/system";
/// Where units live that a reboot forgets.
const RUNTIME_UNITS: &str = "/run/systemd/system";
/// The drop-in that keeps a candidate from being restarted. A reboot forgets it.
const CANDIDATE: &str = "50-awqdeploy-candidate.conf";
/// How often a starting service is asked what it does.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after its stop the control group may still hold processes.
const EMPTY_PATIENCE: Duration = Duration::from_mins(1);
/// Log lines among which the cause of a failed start is looked for.
const LOG_LINES: u32 = 200;

/// One service of the system's systemd.
#[derive(Debug)]
pub struct Systemd {
    scope: Scope,
    unit: String,
    units: PathBuf,
    runtime_units: PathBuf,
}

impl Systemd {
    /// The service of this name, without suffix.
    pub fn new(service: &str) -> Self {
        Self {
            scope: Scope::System,
            unit: format!("{service}.service"),
            units: UNITS.into(),
            runtime_units: RUNTIME_UNITS.into(),
        }
    }

    /// A problem where there is no systemd, or no right to change its services.
    pub fn usable() -> Result<(), Problem> {
        if !Path::new(RUNTIME_UNITS).is_dir() {
            return Err(Problem::new(Kind::Usage, "systemd does not run this host")
                .help("see the same migration without it: `awqdeploy rehearse`"));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Problem::new(Kind::Usage, "only root may change the system's services")
                .help("run the same command with `sudo`"));
        }
        Ok(())
    }

    fn candidate(&self) -> PathBuf {
        self.runtime_units.join(format!("{}.d", self.unit)).join(CANDIDATE)
    }

    /// Reached anew for each thing that is done: a bus that went away must not stop the way back.
    fn manager(&self) -> Result<Box<dyn Manager>, Problem> {
        reach(self.scope)
    }

    /// Why the last start failed, as well as it can be told.
    fn why(&mut self, end: &JobEnd, state: &State) -> Result<String, Problem> {
        let words = match end.reason() {
            Some(reason) => format!("{reason} (systemd says `{end}`)"),
            None => format!("systemd says `{}`", state.result),
        };
        if !state.status.is_empty() {
            return Ok(format!("{} ({words})", state.status));
        }
        if let Some(cause) = Reason::among(self.log_tail(LOG_LINES)?.lines()) {
            return Ok(format!("{cause} ({words})"));
        }
        Ok(format!("{words}; see `journalctl -u {}`", self.unit))
    }
}

impl Services for Systemd {
    fn claim(&mut self, units: &[Unit]) -> Result<(), Problem> {
        for unit in units {
            let path = self.units.join(&unit.name);
            if fs::read(&path)?.is_some_and(|found| !unit::is_ours(&found)) {
                return Err(foreign(&path));
            }
        }
        Ok(())
    }

    fn install(&mut self, units: &[Unit]) -> Result<(), Problem> {
        self.claim(units)?;
        let mut manager = self.manager()?;
        let mut changed = false;
        for unit in units {
            let path = self.units.join(&unit.name);
            if fs::read(&path)?.as_deref() != Some(&unit.text) {
                fs::write(&path, &unit.text)?;
                changed = true;
            }
        }
        if changed {
            manager.reload()?;
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        manager.enable(&names, Lasting::Always)
    }

    fn trust(&mut self, trust: Trust) -> Result<(), Problem> {
        let path = self.candidate();
        let is = path.exists();
        match trust {
            Trust::Candidate if !is => {
                fs::make_directory(path.parent().unwrap_or(&path))?;
                fs::write(&path, "[Service]\nRestart=no\n")?;
            }
            Trust::Committed if is => fs::remove(&path)?,
            _ => return Ok(()),
        }
        self.manager()?.reload()
    }

    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem> {
        let mut manager = self.manager()?;
        // Earlier failures, and starts that count towards the limit, must not count against this one.
        manager.forget_failures(&self.unit)?;
        // What the last run of the service said is not said of this one.
        let mut last = manager.state(&self.unit)?.status;
        manager.start(&self.unit)?;
        let end = loop {
            if let Some(end) = manager.ended(LOOK_EVERY)? {
                break end;
            }
            if interrupt.came() {
                // Stopping the unit cancels its start job; the way back does that first of all.
                manager.stop(&self.unit)?;
                return Err(Problem::doing(format_args!("start `{}`", self.unit), "stopped by a signal"));
            }
            let State { status, .. } = manager.state(&self.unit)?;
            if !status.is_empty() && status != last {
                said(status.clone());
                last = status;
            }
        };
        // A job can end well and leave the unit down: a failed condition does that.
        let state = manager.state(&self.unit)?;
        if state.condition() == Condition::Active {
            return Ok(());
        }
        let why = self.why(&end, &state)?;
        Err(Problem::doing(format_args!("start `{}`", self.unit), why))
    }

    fn stop(&mut self) -> Result<(), Problem> {
        let mut manager = self.manager()?;
        if manager.state(&self.unit)?.load == "not-found" {
            return Ok(());
        }
        manager.stop(&self.unit)?;
        // The unit's `TimeoutStopSec=` is what limits this.
        let end = loop {
            if let Some(end) = manager.ended(LOOK_EVERY)? {
                break end;
            }
        };
        let began = Instant::now();
        loop {
            let state = manager.state(&self.unit)?;
            let what = match (state.condition(), state.tasks) {
                (Condition::Down(_), None | Some(0)) => return Ok(()),
                (Condition::Down(_), Some(tasks)) => {
                    format!("{tasks} of its processes are still there; see `systemd-cgls -u {}`", self.unit)
                }
                _ => format!("it is {} again, and the stop was {end}", state.active),
            };
            if began.elapsed() > EMPTY_PATIENCE {
                return Err(Problem::doing(format_args!("stop `{}`", self.unit), what));
            }
            sleep(LOOK_EVERY);
        }
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        Ok(self.manager()?.state(&self.unit)?.condition())
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        let lines = lines.to_string();
        let arguments = ["--unit", &self.unit, "--lines", &lines, "--output", "short-iso", "--no-pager"];
        exec::run("journalctl", &arguments, &BTreeMap::new())?.success()
    }
}

/// A person's own unit is not overwritten: it may be the only record of how they served until now.
fn foreign(path: &Path) -> Problem {
    Problem::new(Kind::Refused, format!("`{}` was not made by awqdeploy", path.display()))
        .help("stop and disable that unit and move its file away, or give the profiles another `service`")
}

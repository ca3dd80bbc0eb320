//! systemd: over D-Bus where there is a message bus, else by `systemctl`.

mod bus;
mod manager;
mod places;
mod systemctl;

use self::{
    manager::{Lasting, Manager, State, reach},
    places::Places,
};
use super::{
    exec, fs,
    service::{Condition, Services, Trust},
    signals::Interrupt,
};
use crate::domain::{
    job::JobEnd,
    layout::Scope,
    problem::{Kind, Problem},
    startup::Reason,
    unit::{self, Unit},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

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
    places: Places,
}

impl Systemd {
    /// The service of this name, without suffix, of this manager.
    pub fn new(service: &str, scope: Scope) -> Self {
        Self { scope, unit: format!("{service}.service"), places: Places::of(scope) }
    }

    /// A problem where there is no systemd, or no right to change its services.
    pub fn usable(scope: Scope) -> Result<(), Problem> {
        if scope == Scope::User {
            return places::user_manager_runs();
        }
        if !Places::of(scope).runtime.is_dir() {
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
        self.places.runtime.join(format!("{}.d", self.unit)).join(CANDIDATE)
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
        let (folder, _) = self.places.writable();
        for unit in units {
            let winning = self.places.lasting.join(&unit.name);
            if winning.parent() != Some(folder) && winning.exists() {
                return Err(hidden(&winning, folder));
            }
        }
        for unit in units {
            if let Some((path, _)) = self.installed(&unit.name)?.filter(|(_, found)| !unit::is_ours(found)) {
                return Err(foreign(&path));
            }
        }
        Ok(())
    }

    fn installed(&mut self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        for folder in [&self.places.lasting, &self.places.runtime] {
            let path = folder.join(unit);
            if let Some(text) = fs::read(&path)? {
                return Ok(Some((path, text)));
            }
        }
        Ok(None)
    }

    fn install(&mut self, units: &[Unit]) -> Result<(), Problem> {
        self.claim(units)?;
        let (folder, lasting) = self.places.writable();
        let mut manager = self.manager()?;
        let mut changed = false;
        for unit in units {
            let path = folder.join(&unit.name);
            if fs::read(&path)?.as_deref() != Some(&unit.text) {
                fs::make_directory(folder)?;
                fs::write(&path, &unit.text)?;
                changed = true;
            }
        }
        if changed {
            manager.reload()?;
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        manager.enable(&names, lasting)
    }

    fn remember(&mut self, units: &[Unit]) -> Result<(), Problem> {
        if self.places.writable().1 == Lasting::Always {
            return Ok(());
        }
        self.install(units)?;
        // Nobody waits for it: it may be ordered after whoever calls.
        self.manager()?.start(&self.unit)
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
        let of = match self.scope {
            Scope::System => "--unit",
            Scope::User => "--user-unit",
        };
        let arguments = [of, &self.unit, "--lines", &lines, "--output", "short-iso", "--no-pager"];
        exec::run("journalctl", &arguments, &BTreeMap::new())?.success()
    }
}

/// A person's own unit is not overwritten: it may be the only record of how they served until now.
fn foreign(path: &Path) -> Problem {
    Problem::new(Kind::Refused, format!("`{}` was not made by awqdeploy", path.display()))
        .help("stop and disable that unit and move its file away, or give the profiles another `service`")
}

/// A unit in `/etc` wins over one in `/run`, so that another generation could not be started.
fn hidden(winning: &Path, folder: &Path) -> Problem {
    let (winning, folder) = (winning.display(), folder.display());
    Problem::new(Kind::Refused, format!("`{winning}` cannot be written, and wins over units in `{folder}`"))
        .help("remove it from what that folder is made of, or make the folder writable")
}

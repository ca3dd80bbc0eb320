//! systemd, through `systemctl`: it works without a message bus, which boot recovery may not have.

use super::{
    exec::{self, Finished},
    fs, gpu,
    leftovers::{self, Leftover},
    service::{Condition, Lines, Services, TRIAL_VARIABLE, Trust},
    signals::Interrupt,
    unit_folder::UnitFolder,
};
use crate::domain::{
    journal::Period,
    problem::{Kind, Problem},
    startup::Reason,
    unit::Unit,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// Where units live that a reboot forgets.
const RUNTIME_UNITS: &str = "/run/systemd/system";
/// The drop-in that keeps a candidate from being restarted. A reboot forgets it.
const CANDIDATE: &str = "50-awqdeploy-candidate.conf";
/// How often a starting service is asked what it does.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after `systemctl stop` the control group may still hold processes.
const EMPTY_PATIENCE: Duration = Duration::from_mins(1);
/// Log lines among which the cause of a failed start is looked for.
const LOG_LINES: u32 = 200;

/// One service of the system's systemd.
#[derive(Debug)]
pub struct Systemd {
    unit: String,
    units: UnitFolder,
    runtime_units: PathBuf,
}

impl Systemd {
    /// The service of this name, without suffix.
    pub fn new(service: &str) -> Self {
        Self {
            unit: format!("{service}.service"),
            units: UnitFolder::of_host(),
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

    fn property(&self, name: &str) -> Result<String, Problem> {
        let said = systemctl(&["show", "--value", "--property", name, &self.unit])?.success()?;
        Ok(said.trim().to_owned())
    }

    /// Why the last start failed, as well as it can be told.
    fn why(&mut self) -> Result<String, Problem> {
        let status = self.property("StatusText")?;
        let result = self.property("Result")?;
        if !status.is_empty() {
            return Ok(format!("{status} (systemd says `{result}`)"));
        }
        let log = self.log_tail(LOG_LINES)?;
        let cause = Reason::among(log.lines());
        Ok(match cause {
            Some(cause) => format!("{cause} (systemd says `{result}`)"),
            None => format!("systemd says `{result}`; see `journalctl -u {}`", self.unit),
        })
    }
}

impl Services for Systemd {
    fn claim(&mut self, units: &[Unit]) -> Result<(), Problem> {
        self.units.claim(units)
    }

    fn install(&mut self, units: &[Unit]) -> Result<(), Problem> {
        self.claim(units)?;
        if self.units.place(units)? {
            systemctl(&["daemon-reload"])?.success()?;
        }
        if !self.units.enables() {
            return Ok(());
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        systemctl(&[&["enable"], names.as_slice()].concat())?.success()?;
        Ok(())
    }

    fn trust(&mut self, trust: Trust) -> Result<(), Problem> {
        let path = self.candidate();
        let is = path.exists();
        match trust {
            Trust::Candidate if !is => {
                fs::make_directory(path.parent().unwrap_or(&path))?;
                fs::write(&path, format!("[Service]\nRestart=no\nEnvironment={TRIAL_VARIABLE}=1\n"))?;
            }
            Trust::Committed if is => fs::remove(&path)?,
            _ => return Ok(()),
        }
        systemctl(&["daemon-reload"])?.success().map(drop)
    }

    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem> {
        // Earlier failures must not count against this start; a unit that never ran has none.
        let _none = systemctl(&["reset-failed", &self.unit])?;
        // What the last run of the service said is not said of this one.
        let mut last = self.property("StatusText")?;
        let job = exec::start("systemctl", &["start", &self.unit])?;
        loop {
            match job.try_wait() {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(e) => return Err(Problem::doing(format_args!("start `{}`", self.unit), e)),
            }
            if interrupt.came() {
                // Stopping the unit cancels its start job; the way back does that first of all.
                systemctl(&["stop", "--no-block", &self.unit])?.success()?;
                return Err(Problem::doing(format_args!("start `{}`", self.unit), "stopped by a signal"));
            }
            let status = self.property("StatusText")?;
            if !status.is_empty() && status != last {
                said(status.clone());
                last = status;
            }
            sleep(LOOK_EVERY);
        }
        // A job can end well and leave the unit down: a failed condition does that.
        if self.condition()? == Condition::Active {
            return Ok(());
        }
        let why = self.why()?;
        Err(Problem::doing(format_args!("start `{}`", self.unit), why))
    }

    fn stop(&mut self) -> Result<(), Problem> {
        if self.property("LoadState")? == "not-found" {
            return Ok(());
        }
        systemctl(&["stop", &self.unit])?.success()?;
        let began = Instant::now();
        loop {
            let processes = self.property("TasksCurrent")?;
            if matches!(processes.as_str(), "" | "0" | "[not set]") {
                return Ok(());
            }
            if began.elapsed() > EMPTY_PATIENCE {
                return Err(Problem::doing(
                    format_args!("stop `{}`", self.unit),
                    format!(
                        "{processes} of its processes are still there; see `systemd-cgls -u {}`",
                        self.unit
                    ),
                ));
            }
            sleep(LOOK_EVERY);
        }
    }

    fn clear(&mut self, runtimes: &Path, tell: &mut dyn FnMut(&Leftover)) -> Result<(), Problem> {
        leftovers::end(&self.unit, runtimes, tell)?;
        gpu::wait_until_free(&self.unit)
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        let state = self.property("ActiveState")?;
        Ok(match state.as_str() {
            "active" => Condition::Active,
            "activating" | "deactivating" | "reloading" => Condition::Changing(state),
            _ => Condition::Down(state),
        })
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        let lines = lines.to_string();
        let arguments = ["--unit", &self.unit, "--lines", &lines, "--output", "short-iso", "--no-pager"];
        exec::run("journalctl", &arguments, &BTreeMap::new())?.success()
    }

    fn restarts(&mut self) -> Result<u32, Problem> {
        // Absent before its first start.
        Ok(self.property("NRestarts")?.parse().unwrap_or_default())
    }

    fn goes_down(&mut self) -> bool {
        // It says so by its exit status too.
        systemctl(&["is-system-running"]).is_ok_and(|said| said.stdout.trim() == "stopping")
    }

    fn log(&mut self, period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        let at =
            |name: &str, at: Option<jiff::Timestamp>| at.map(|at| format!("--{name}=@{}", at.as_second()));
        let count = format!("--lines={}", lines.at_most());
        let mut arguments = vec!["--unit", &self.unit, "--output=short-iso", "--no-pager", "--quiet", &count];
        let (from, until) = (at("since", period.from), at("until", period.until));
        arguments.extend(from.iter().chain(&until).map(String::as_str));
        if lines == Lines::Follow {
            arguments.push("--follow");
        }
        exec::stream("journalctl", &arguments, said)
    }
}

fn systemctl(arguments: &[&str]) -> Result<Finished, Problem> {
    exec::run("systemctl", &[&["--no-ask-password"], arguments].concat(), &BTreeMap::new())
}

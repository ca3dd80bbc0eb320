//! systemd through `systemctl`, which reaches its manager by a socket of their own where there is no message bus.

use super::manager::{Lasting, Manager, STOPPING, State};
use crate::{
    domain::{job::JobEnd, layout::Scope, problem::Problem},
    host::exec::{self, Finished},
};
use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

/// How often a command that runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What [`State`] is made of.
const PROPERTIES: &str = "LoadState,ActiveState,StatusText,Result,TasksCurrent,NRestarts,MainPID";

/// The `systemctl` of one scope, and the job that it waits for.
pub(super) struct Systemctl {
    scope: Scope,
    job: Option<duct::Handle>,
}

impl Systemctl {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, job: None }
    }

    fn words<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--no-ask-password", scope_option(self.scope)], arguments].concat()
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished, Problem> {
        exec::run("systemctl", &self.words(arguments), &BTreeMap::new())
    }
}

/// How systemd's own programs, and this one, are told whose service manager is meant.
pub(in crate::host) fn scope_option(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "--system",
        Scope::User => "--user",
    }
}

impl Manager for Systemctl {
    fn state(&mut self, unit: &str) -> Result<State, Problem> {
        let said = self.run(&["show", "--property", PROPERTIES, unit])?.success()?;
        Ok(read(&said))
    }

    fn reload(&mut self) -> Result<(), Problem> {
        self.run(&["daemon-reload"])?.success().map(drop)
    }

    fn enable(&mut self, units: &[&str], lasting: Lasting) -> Result<(), Problem> {
        let verb: &[&str] = match lasting {
            Lasting::Always => &["enable"],
            Lasting::UntilBoot => &["enable", "--runtime"],
        };
        self.run(&[verb, units].concat())?.success().map(drop)
    }

    fn forget_failures(&mut self, unit: &str) -> Result<(), Problem> {
        // It fails for a unit that never ran, which has none; what else may be wrong shows when it is started.
        self.run(&["reset-failed", unit]).map(drop)
    }

    fn start(&mut self, unit: &str) -> Result<(), Problem> {
        self.job = Some(exec::start("systemctl", &self.words(&["start", unit]))?);
        Ok(())
    }

    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, Problem> {
        let Some(job) = &self.job else { return Ok(Some(JobEnd::Unheard)) };
        let began = Instant::now();
        loop {
            let done = job.try_wait().map_err(|e| Problem::doing("wait for `systemctl`", e))?;
            if let Some(output) = done {
                let end = if output.status.success() {
                    JobEnd::Done
                } else {
                    JobEnd::said_by_systemctl(&String::from_utf8_lossy(&output.stderr))
                };
                self.job = None;
                return Ok(Some(end));
            }
            if began.elapsed() >= wait {
                return Ok(None);
            }
            sleep(LOOK_EVERY);
        }
    }

    fn stop(&mut self, unit: &str) -> Result<(), Problem> {
        self.job = Some(exec::start("systemctl", &self.words(&["stop", unit]))?);
        Ok(())
    }

    fn interrupt(&mut self, unit: &str) -> Result<(), Problem> {
        self.run(&["kill", "--kill-whom=main", "--signal=SIGINT", unit])?.success().map(drop)
    }

    fn goes_down(&mut self) -> Result<bool, Problem> {
        // It says so by its exit status too.
        Ok(self.run(&["is-system-running"])?.stdout.trim() == STOPPING)
    }
}

/// What `systemctl show` says.
fn read(said: &str) -> State {
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    State {
        load: value("LoadState"),
        active: value("ActiveState"),
        status: value("StatusText"),
        result: value("Result"),
        tasks: value("TasksCurrent").parse().ok(),
        // Absent before its first start.
        restarts: value("NRestarts").parse().unwrap_or_default(),
        main: value("MainPID").parse().ok().filter(|pid| *pid != 0),
    }
}

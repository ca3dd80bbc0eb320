//! systemd through `systemctl`, which reaches its manager by a socket of its own where there is no message
//! bus.

use super::transport::{
    CallError, EffectiveSettings, Invocation, NOT_FOUND, Persistence, STOPPING, State, Transport, Verb,
};
use crate::{
    domain::{
        problem::Problem,
        service::{active_state::ActiveState, job::JobEnd},
        store::layout::Scope,
    },
    host::process::exec::{self, Finished},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    thread::sleep,
    time::{Duration, Instant},
};

/// The time between two looks at a running command.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The properties in a [`State`].
const PROPERTIES: &str = "LoadState,ActiveState,InvocationID,StatusText,Result,TasksCurrent,NRestarts,MainPID,ControlGroup,\
     StateChangeTimestampMonotonic";
/// The properties that make an [`EffectiveSettings`].
const SETTINGS: &str = "Restart,Environment,DropInPaths";
/// The messages of `systemctl` while its manager is not there: it is being re-executed, or its bus restarted.
/// The words are those of the C library and of sd-bus.
const LOST: [&str; 6] = [
    "Transport endpoint is not connected",
    "Connection reset by peer",
    "Connection refused",
    "Connection timed out",
    "Broken pipe",
    "disconnected",
];

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

    fn run(&self, arguments: &[&str]) -> Result<Finished, CallError> {
        asked("systemctl", &self.words(arguments))
    }
}

/// Runs one of systemd's own programs to its end, and tells one that did not reach its manager.
pub(super) fn asked<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<Finished, CallError> {
    let ended = exec::run(program, arguments, &BTreeMap::new())?;
    if !ended.status.success() && is_lost(&ended.stderr) {
        return Err(CallError::Lost(Problem::doing(
            format_args!("run `{}`", ended.line),
            ended.stderr.trim(),
        )));
    }
    Ok(ended)
}

/// The option that tells systemd's programs, and this one, which service manager is meant.
pub(in crate::host) fn scope_option(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "--system",
        Scope::User => "--user",
    }
}

impl Transport for Systemctl {
    fn state(&mut self, unit: &str) -> Result<State, CallError> {
        let said = self.run(&["show", "--property", PROPERTIES, unit])?.success()?;
        Ok(read(&said))
    }

    fn in_force(&mut self, unit: &str) -> Result<EffectiveSettings, CallError> {
        let said = self.run(&["show", "--property", SETTINGS, unit])?.success()?;
        let words = |name| value(&said, name).split_whitespace().map(str::to_owned).collect();
        Ok(EffectiveSettings {
            restart: value(&said, "Restart").to_owned(),
            environment: words("Environment"),
            drop_ins: words("DropInPaths"),
        })
    }

    fn reload(&mut self) -> Result<(), CallError> {
        Ok(self.run(&["daemon-reload"])?.success().map(drop)?)
    }

    fn enable(&mut self, units: &[&str], lasting: Persistence) -> Result<(), CallError> {
        let verb: &[&str] = match lasting {
            Persistence::Always => &["enable"],
            Persistence::UntilBoot => &["enable", "--runtime"],
        };
        Ok(self.run(&[verb, units].concat())?.success().map(drop)?)
    }

    fn forget_failures(&mut self, unit: &str) -> Result<(), CallError> {
        // Fails for a unit that never ran; other faults show when the unit is started.
        self.run(&["reset-failed", unit]).map(drop)
    }

    fn start(&mut self, unit: &str) -> Result<(), CallError> {
        self.job = Some(exec::start("systemctl", &self.words(&["start", unit]))?);
        Ok(())
    }

    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, CallError> {
        let Some(job) = &self.job else { return Ok(Some(JobEnd::Unheard)) };
        let began = Instant::now();
        loop {
            let done = job.try_wait().map_err(|e| Problem::doing("wait for `systemctl`", e))?;
            if let Some(output) = done {
                let (succeeded, said) =
                    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned());
                self.job = None;
                return if succeeded {
                    Ok(Some(JobEnd::Done))
                } else if is_lost(&said) {
                    Err(CallError::Lost(Problem::doing("wait for `systemctl`", said.trim())))
                } else {
                    Ok(Some(JobEnd::said_by_systemctl(&said)))
                };
            }
            if began.elapsed() >= wait {
                return Ok(None);
            }
            sleep(LOOK_EVERY);
        }
    }

    fn follow(&mut self, unit: &str, verb: Verb) -> Result<(), CallError> {
        // A second request joins a queued job. With none queued it would repeat a job that has ended.
        if self
            .run(&["show", "--value", "--property", "Job", unit])?
            .success()?
            .trim()
            .parse::<u32>()
            .unwrap_or(0)
            > 0
        {
            match verb {
                Verb::Start => self.start(unit)?,
                Verb::Stop => self.stop(unit)?,
            }
        }
        Ok(())
    }

    fn stop(&mut self, unit: &str) -> Result<(), CallError> {
        self.job = Some(exec::start("systemctl", &self.words(&["stop", unit]))?);
        Ok(())
    }

    fn interrupt(&mut self, unit: &str) -> Result<(), CallError> {
        Ok(self.run(&["kill", "--kill-whom=main", "--signal=SIGINT", unit])?.success().map(drop)?)
    }

    fn goes_down(&mut self) -> Result<bool, CallError> {
        // The exit status says so too.
        Ok(self.run(&["is-system-running"])?.stdout.trim() == STOPPING)
    }
}

/// Reads the output of `systemctl show`.
fn read(said: &str) -> State {
    let text = |name| value(said, name).to_owned();
    State {
        found: value(said, "LoadState") != NOT_FOUND,
        active: ActiveState::named(value(said, "ActiveState")),
        invocation: Invocation::of(value(said, "InvocationID")),
        status: text("StatusText"),
        result: text("Result"),
        tasks: value(said, "TasksCurrent").parse().ok(),
        // Absent before its first start.
        restarts: value(said, "NRestarts").parse().unwrap_or_default(),
        main: value(said, "MainPID").parse().ok().filter(|pid| *pid != 0),
        changed: value(said, "StateChangeTimestampMonotonic").parse().ok().filter(|at| *at != 0),
        group: text("ControlGroup"),
    }
}

/// The value of a property in that output.
fn value<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_default()
}

fn is_lost(said: &str) -> bool {
    LOST.iter().any(|words| said.contains(words))
}

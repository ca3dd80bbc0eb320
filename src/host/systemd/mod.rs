//! systemd: over D-Bus where there is a message bus, else by `systemctl`.

mod bus;
pub(crate) mod failure_count;
pub mod host_lock;
pub(crate) mod journald;
mod manager;
mod places;
pub mod service;
mod systemctl;
pub mod transient_unit;
pub mod transport;
pub mod unit_folder;

pub(super) use systemctl::scope_option;

use super::{
    machine::{self, gpu, uptime},
    os::{fs, signals::Interrupt, watchdog},
    process::{
        control_group::ControlGroup,
        exec,
        orphans::{self, OrphanProcess},
        owned::OwnedProcesses,
        running_generation,
    },
};
use crate::domain::{
    activation::{journal::Period, running::Runs},
    problem::{Kind, Problem},
    service::{account::Account, active_state::ActiveState, job::JobEnd, unit::Unit},
    store::layout::{Layout, Scope},
    validation::limits::Limits,
    vllm::startup_log::Reason,
};
use manager::{Manager, reach};
use places::Places;
use service::{Condition, Lines, Services, TRIAL_VARIABLE, Trust};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use transport::{EffectiveSettings, Persistence, State};
use unit_folder::UnitFolder;

/// The drop-in that keeps a candidate from being restarted. A reboot forgets it. Drop-ins are read in the
/// order of their names: this one after a person's `override.conf`.
const CANDIDATE: &str = "zz-awqdeploy-candidate.conf";
/// The name of that drop-in in earlier versions.
const CANDIDATE_BEFORE: &str = "50-awqdeploy-candidate.conf";
/// The time between two looks at a starting service.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after its stop the control group may still hold processes.
const EMPTY_PATIENCE: Duration = Duration::from_mins(1);
/// The log lines that are searched for the cause of a failed start.
const LOG_LINES: u32 = 200;

/// One service of the system's systemd.
#[derive(Debug)]
pub(crate) struct Systemd {
    scope: Scope,
    unit: String,
    places: Places,
    /// The control group before the last stop.
    group: Option<ControlGroup>,
}

impl Systemd {
    /// The service of this name, without suffix, under this manager.
    pub(crate) fn new(service: &str, scope: Scope) -> Self {
        Self { scope, unit: format!("{service}.service"), places: Places::of(scope), group: None }
    }

    /// A problem where there is no systemd, or no right to change its services.
    pub(crate) fn usable(scope: Scope) -> Result<(), Problem> {
        if scope == Scope::User {
            return places::user_manager_runs();
        }
        if !Self::runs_host() {
            return Err(Problem::new(Kind::Usage, "systemd does not run this host")
                .help("see the same migration without it: `awqdeploy rehearse`"));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Problem::new(Kind::Usage, "only root may change the system's services")
                .help("run the same command with `sudo`"));
        }
        Ok(())
    }

    /// Whether systemd runs this host.
    pub(crate) fn runs_host() -> bool {
        Places::of(Scope::System).runtime.is_dir()
    }

    fn drop_in(&self, name: &str) -> PathBuf {
        self.places.runtime.join(format!("{}.d", self.unit)).join(name)
    }

    /// The control group of this service, which identifies its processes. Nothing while it has none.
    fn group(&self) -> Result<Option<ControlGroup>, Problem> {
        Ok(ControlGroup::named(&self.manager()?.state(&self.unit)?.group))
    }

    /// A problem where something overrides the candidate's drop-in: the candidate would be restarted by
    /// itself, or refuse to start.
    fn on_trial_in_force(&self) -> Result<(), Problem> {
        let EffectiveSettings { restart, environment, drop_ins } = self.manager()?.in_force(&self.unit)?;
        let trial = format!("{TRIAL_VARIABLE}=1");
        let overridden = match (restart.as_str(), environment.contains(&trial)) {
            ("no", true) => return Ok(()),
            ("no", false) => "Environment=".to_owned(),
            (restart, _) => format!("Restart={restart}"),
        };
        let ours = self.drop_in(CANDIDATE);
        let later = drop_ins.iter().skip_while(|path| Path::new(path) != ours).skip(1);
        let later: Vec<_> = later.map(|path| format!("`{path}`")).collect();
        let by = if later.is_empty() { "another drop-in of that name".to_owned() } else { later.join(", ") };
        Err(Problem::new(
            Kind::Refused,
            format!("`{}` is not on trial: `{overridden}` is in force, by {by}", self.unit),
        )
        .help("a candidate must not be restarted by itself: take that setting out, then `systemctl daemon-reload`"))
    }

    /// The runtime folder of the user's own manager; nothing where there is none.
    pub(super) fn user_runtime() -> Option<PathBuf> {
        places::runtime()
    }

    /// Connects anew for each action: a bus that went away must not stop a rollback.
    fn manager(&self) -> Result<Manager, Problem> {
        reach(self.scope)
    }

    /// Whether this unit runs, or is about to. A missing unit does not.
    pub(super) fn is_up(&self) -> Result<bool, Problem> {
        let active = self.manager()?.state(&self.unit)?.active;
        Ok(!matches!(active, ActiveState::Inactive | ActiveState::Failed))
    }

    /// Sends its main process what Ctrl-C sends.
    pub(super) fn interrupt(&self) -> Result<(), Problem> {
        self.manager()?.interrupt(&self.unit)
    }

    /// The end of the job that is waited for, if it came within a moment. Where its signal was lost, the
    /// unit's state tells whether it has ended.
    fn ended(&self, manager: &mut Manager) -> Result<Option<JobEnd>, Problem> {
        let end = manager.ended(LOOK_EVERY)?;
        if end == Some(JobEnd::Unheard)
            && matches!(manager.state(&self.unit)?.condition(), Condition::Changing(_))
        {
            watchdog::pause(LOOK_EVERY);
            return Ok(None);
        }
        Ok(end)
    }

    /// The option of `journalctl` for units of this manager.
    fn whose_log(&self) -> &'static str {
        match self.scope {
            Scope::System => "--unit",
            Scope::User => "--user-unit",
        }
    }

    /// Why the last start failed, as far as it can be told.
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
        let (folder, lasting) = self.places.writable();
        if lasting == Persistence::UntilBoot {
            for unit in units {
                let winning = self.places.lasting.join(&unit.name);
                if winning.exists() {
                    return Err(hidden(&winning, &self.places.runtime));
                }
            }
        }
        folder.claim(units)?;
        // Our unit would win over the one here; that is no reason to hide somebody else's.
        UnitFolder::Plain(self.places.runtime.clone()).claim(units)
    }

    fn installed(&mut self, unit: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        match self.places.writable().0.found(unit)? {
            Some(found) => Ok(Some(found)),
            None => UnitFolder::Plain(self.places.runtime.clone()).found(unit),
        }
    }

    fn install(&mut self, units: &[Unit]) -> Result<(), Problem> {
        self.claim(units)?;
        let (folder, lasting) = self.places.writable();
        let mut manager = self.manager()?;
        if folder.place(units)? {
            manager.reload()?;
        }
        if !folder.enables() {
            return Ok(());
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        manager.enable(&names, lasting)
    }

    fn remember(&mut self, units: &[Unit]) -> Result<(), Problem> {
        if self.places.writable().1 == Persistence::Always {
            return Ok(());
        }
        self.install(units)?;
        // Not waited for: the service may be ordered after the caller.
        self.manager()?.start(&self.unit)
    }

    fn keep(&mut self, units: &[Unit]) -> Result<(), Problem> {
        if self.places.writable().0.enables() {
            return Ok(());
        }
        self.install(units)
    }

    fn trust(&mut self, trust: Trust) -> Result<(), Problem> {
        let (path, before) = (self.drop_in(CANDIDATE), self.drop_in(CANDIDATE_BEFORE));
        let (is, was) = (path.exists(), before.exists());
        fs::remove(&before)?;
        match trust {
            Trust::Candidate if !is => {
                fs::make_directory(path.parent().unwrap_or(&path))?;
                fs::write(&path, format!("[Service]\nRestart=no\nEnvironment={TRIAL_VARIABLE}=1\n"))?;
            }
            Trust::Committed if is => fs::remove(&path)?,
            Trust::Candidate => {}
            Trust::Committed if was => {}
            Trust::Committed => return Ok(()),
        }
        self.manager()?.reload()?;
        match trust {
            Trust::Candidate => self.on_trial_in_force(),
            Trust::Committed => Ok(()),
        }
    }

    fn start(&mut self, interrupt: &Interrupt, said: &mut dyn FnMut(String)) -> Result<(), Problem> {
        let mut manager = self.manager()?;
        // Earlier failures, and starts that count towards the limit, must not count against this start.
        manager.forget_failures(&self.unit)?;
        // The status of the service's last run is not repeated.
        let mut last = manager.state(&self.unit)?.status;
        manager.start(&self.unit)?;
        let end = loop {
            if let Some(end) = self.ended(&mut manager)? {
                break end;
            }
            if interrupt.came() {
                // Stopping the unit cancels its start job; a rollback does that first.
                manager.stop(&self.unit)?;
                return Err(Problem::doing(format_args!("start `{}`", self.unit), "stopped by a signal"));
            }
            let State { status, .. } = manager.state(&self.unit)?;
            if !status.is_empty() && status != last {
                said(status.clone());
                last = status;
            }
        };
        // A job can succeed and leave the unit down: a failed condition does that.
        let state = manager.state(&self.unit)?;
        if state.condition() == Condition::Active {
            return Ok(());
        }
        let why = self.why(&end, &state)?;
        let problem = Problem::doing(format_args!("start `{}`", self.unit), why);
        // A stop by somebody is not a failure.
        Err(if end == JobEnd::Canceled { Problem { kind: Kind::Interrupted, ..problem } } else { problem })
    }

    fn stop(&mut self) -> Result<(), Problem> {
        let mut manager = self.manager()?;
        let State { found, group, .. } = manager.state(&self.unit)?;
        if !found {
            return Ok(());
        }
        self.group = ControlGroup::named(&group).or(self.group.take());
        manager.stop(&self.unit)?;
        // The unit's `TimeoutStopSec=` is what limits this.
        let end = loop {
            if let Some(end) = self.ended(&mut manager)? {
                break end;
            }
            watchdog::beat();
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
            watchdog::pause(LOOK_EVERY);
        }
    }

    fn clear(&mut self, runtimes: &Path, tell: &mut dyn FnMut(&OrphanProcess)) -> Result<(), Problem> {
        let group = self.group()?.or(self.group.clone());
        orphans::end(group.as_ref(), runtimes, tell)?;
        gpu::wait_until_free(group.as_ref())
    }

    fn processes(&mut self) -> Result<OwnedProcesses, Problem> {
        let runs = match self.scope {
            Scope::System if !rustix::process::geteuid().is_root() => return Ok(OwnedProcesses::Anybody),
            Scope::System => Self::runs_host(),
            Scope::User => places::user_manager_runs().is_ok(),
        };
        if !runs {
            return Ok(OwnedProcesses::Nobody);
        }
        Ok(self.group()?.map_or(OwnedProcesses::Nobody, OwnedProcesses::Group))
    }

    fn condition(&mut self) -> Result<Condition, Problem> {
        Ok(self.manager()?.state(&self.unit)?.condition())
    }

    fn log_tail(&mut self, lines: u32) -> Result<String, Problem> {
        // Unbounded, the lines of the generation before it would be taken for its own.
        let Some(invocation) = self.manager()?.state(&self.unit)?.invocation else {
            return Ok(String::new());
        };
        let (lines, matches) = (lines.to_string(), invocation.matches());
        let mut arguments = vec!["--lines", &lines, "--output", "short-iso", "--no-pager", "--quiet"];
        arguments.extend(matches.iter().map(String::as_str));
        exec::run("journalctl", &arguments, &BTreeMap::new())?.success()
    }

    fn log(&mut self, period: &Period, lines: Lines, said: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        let at =
            |name: &str, at: Option<jiff::Timestamp>| at.map(|at| format!("--{name}=@{}", at.as_second()));
        let count = format!("--lines={}", lines.at_most());
        let mut arguments =
            vec![self.whose_log(), &self.unit, "--output=short-iso", "--no-pager", "--quiet", &count];
        let (from, until) = (at("since", period.from), at("until", period.until));
        arguments.extend(from.iter().chain(&until).map(String::as_str));
        if lines == Lines::Follow {
            arguments.push("--follow");
        }
        exec::stream("journalctl", &arguments, said)
    }

    fn restarts(&mut self) -> Result<u32, Problem> {
        Ok(self.manager()?.state(&self.unit)?.restarts)
    }

    fn account(&mut self) -> Result<Account, Problem> {
        let State { result, restarts, changed, status, .. } = self.manager()?.state(&self.unit)?;
        let since = changed.and_then(|at| uptime::monotonic().checked_sub(Duration::from_micros(at)));
        Ok(Account { result, restarts, since, said: status })
    }

    fn runs(&mut self, layout: &Layout) -> Result<Runs, Problem> {
        let state = self.manager()?.state(&self.unit)?;
        Ok(state.main.map_or(Runs::Nothing, |pid| running_generation::of_process(pid, layout)))
    }

    fn limits(&mut self) -> Result<Option<Limits>, Problem> {
        Ok(self.manager()?.state(&self.unit)?.main.and_then(machine::limits::of_process))
    }

    fn goes_down(&mut self) -> bool {
        // A manager that answers nobody is asked through `systemctl` in vain, too.
        self.manager().and_then(|mut manager| manager.goes_down()).unwrap_or_default()
    }
}

/// The problem of a unit in `/etc`, which wins over one in `/run`: another generation could not be started.
fn hidden(winning: &Path, folder: &Path) -> Problem {
    let (winning, folder) = (winning.display(), folder.display());
    Problem::new(Kind::Refused, format!("`{winning}` cannot be written, and wins over units in `{folder}`"))
        .help("remove it from what that folder is made of, or make the folder writable")
}

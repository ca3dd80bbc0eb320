//! Runs an activation in a transient unit: it needs no terminal, outlives its caller, and is restarted when
//! it dies.

use super::{
    Systemd,
    manager::{LOOK_AGAIN_EVERY, RETURN_PATIENCE},
    scope_option,
    systemctl::asked,
    transport::CallError,
};
use crate::{
    domain::{
        problem::Problem,
        service::unit,
        store::layout::{Layout, Scope},
    },
    host::os::watchdog,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The properties of the unit.
///
/// Whatever kills the deployer (a person, the kernel, systemd-oomd), its group is cleared and `ExecStopPost=`
/// rolls back at once. Where that is killed too, restarts without a limit roll back. An exit status is final,
/// and leads to no restart.
const PROPERTIES: [&str; 13] = [
    "Restart=on-failure",
    "RestartSec=1s",
    "RestartPreventExitStatus=1 2 3 4 5 6 7 130",
    "StartLimitIntervalSec=0",
    // A hanging worker is killed, and rolls back like one that died. Each wait has a limit of its own and
    // reports progress; the longest time in between is a call to the service manager.
    "WatchdogSec=10min",
    "NotifyAccess=main",
    "TimeoutAbortSec=1min",
    // The deployer decides what becomes of its children, and how long a rollback takes.
    "KillMode=mixed",
    "TimeoutStopSec=infinity",
    // The engine must give memory back first. A user's manager may not allow this, and goes on without.
    "OOMScoreAdjust=-900",
    "OOMPolicy=continue",
    "ManagedOOMPreference=omit",
    "SyslogIdentifier=awqdeploy",
];

/// Has the service manager carry out the activation of this number. Returns once its process runs. A manager that goes
/// away in the middle (`daemon-reexec`, a restarted bus) is asked again.
pub(crate) fn start(service: &str, activation: u64, program: &Path, layout: &Layout) -> Result<(), Problem> {
    let name = unit::activation_name(service, activation);
    let number = activation.to_string();
    let mut arguments = vec![
        scope_option(layout.scope()).to_owned(),
        "--quiet".into(),
        "--no-ask-password".into(),
        // The unit is removed when it has ended; its events stay with the activation.
        "--collect".into(),
        "--service-type=exec".into(),
        format!("--unit={name}.service"),
        format!("--description=awqdeploy: activation {number} of {service}"),
        format!("--property=ExecStopPost={}", unit::activation_rest(program, layout, activation)),
    ];
    arguments.extend(PROPERTIES.iter().map(|property| format!("--property={property}")));
    let (program, root) = (program.to_string_lossy(), layout.root().to_string_lossy());
    arguments.extend(["--", &program].map(Into::into));
    if layout.scope() == Scope::User {
        arguments.push(scope_option(Scope::User).into());
    }
    arguments.extend(["--root", &root, "--progress", "plain", "activate", &number].map(Into::into));
    let order = || Ok(asked("systemd-run", &arguments)?.success().map(drop)?);
    heard(RETURN_PATIENCE, order, || runs(service, activation, layout.scope()))
}

/// Gives an order until the manager has heard it. One that went away may have heard it before: `is_up` tells.
///
/// # Errors
/// What the manager said; or that it did not come back within `patience`.
pub fn heard(
    patience: Duration,
    mut order: impl FnMut() -> Result<(), CallError>,
    mut is_up: impl FnMut() -> Result<bool, Problem>,
) -> Result<(), Problem> {
    let began = Instant::now();
    loop {
        match order() {
            Ok(()) => return Ok(()),
            Err(CallError::Said(problem)) => return Err(problem),
            Err(CallError::Lost(problem)) if began.elapsed() >= patience => return Err(problem),
            Err(CallError::Lost(_)) => watchdog::pause(LOOK_AGAIN_EVERY),
        }
        if is_up()? {
            return Ok(());
        }
    }
}

/// Whether this activation is running, on probation, or about to be restarted.
pub(crate) fn runs(service: &str, activation: u64, scope: Scope) -> Result<bool, Problem> {
    Systemd::new(&unit::activation_name(service, activation), scope).is_up()
}

/// Asks this activation to stop and roll back, as Ctrl-C does.
pub(crate) fn interrupt(service: &str, activation: u64, scope: Scope) -> Result<(), Problem> {
    Systemd::new(&unit::activation_name(service, activation), scope).interrupt()
}

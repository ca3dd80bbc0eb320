//! Where the runs of the service are counted: a file of root's, which neither the engine nor a crash of the host can
//! change or lose.

use super::scope_option;
use crate::{
    domain::{
        activation::failure_count::{Ending, FailureCount, Moment},
        problem::Problem,
        service::unit,
        store::layout::{Layout, Scope},
    },
    host::{os::fs, process::exec},
};
use std::{collections::BTreeMap, env, path::Path};

/// How systemd tells `ExecStopPost=` how the service ended.
const RESULT: &str = "SERVICE_RESULT";

/// What was counted. A file that cannot be understood is none: to count anew is better than not to serve.
pub(crate) fn read(layout: &Layout) -> Result<FailureCount, Problem> {
    let text = fs::read(&layout.tally())?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// Keeps it, synced.
pub(crate) fn write(layout: &Layout, tally: &FailureCount) -> Result<(), Problem> {
    let text =
        serde_json::to_string(tally).map_err(|e| Problem::doing("write down the runs of the service", e))?;
    fs::write_unlocked(&layout.tally(), text)
}

/// Now.
pub(crate) fn now() -> Moment {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // It goes on while the host sleeps, and no wall clock moves it.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    Moment { boot: boot.trim().to_owned(), seconds }
}

/// How the service that has just stopped ended, as systemd tells its `ExecStopPost=`.
pub(crate) fn ending() -> Ending {
    match env::var(RESULT).as_deref() {
        Ok("success") => Ending::Asked,
        _ => Ending::Failed,
    }
}

/// Has the service manager go back from a generation that fails. It returns at once: whoever asks for it belongs to the
/// service, which is stopped for it. One that is at it already is enough.
pub(crate) fn go_back(service: &str, program: &Path, layout: &Layout) -> Result<(), Problem> {
    let root = layout.root().to_string_lossy();
    let (unit, description) = (
        format!("--unit={}", unit::fallback_name(service)),
        format!("--description=awqdeploy: {service} goes back"),
    );
    let mut words = vec![
        scope_option(layout.scope()),
        "--quiet",
        "--no-ask-password",
        "--no-block",
        "--collect",
        &unit,
        &description,
        "--property=SyslogIdentifier=awqdeploy",
        // Somebody else may hold the lock, and the unit may be killed. Other exit statuses are ends.
        "--property=Restart=on-failure",
        "--property=RestartSec=30s",
        "--property=RestartPreventExitStatus=1 2 3 4 6 7 130",
        "--property=StartLimitIntervalSec=0",
        "--",
    ];
    let program = program.to_string_lossy();
    words.push(&program);
    if layout.scope() == Scope::User {
        words.push(scope_option(Scope::User));
    }
    words.extend(["--root", &*root, "--progress", "plain", "fallback"]);
    // It says so where that unit is there already.
    exec::run("systemd-run", &words, &BTreeMap::new()).map(drop)
}

//! Reads and writes the failure count of the service: a file of root's, which neither the engine nor a crash
//! of the host can change or lose.

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

/// The variable in which systemd tells `ExecStopPost=` how the service ended.
const RESULT: &str = "SERVICE_RESULT";

/// Reads the failure count. A damaged file counts as an empty one: to count anew is better than not to serve.
pub(crate) fn read(layout: &Layout) -> Result<FailureCount, Problem> {
    Ok(fs::read_record(&layout.tally())?.unwrap_or_default())
}

/// Writes the failure count, synced.
pub(crate) fn write(layout: &Layout, tally: &FailureCount) -> Result<(), Problem> {
    let text =
        serde_json::to_string(tally).map_err(|e| Problem::doing("write down the runs of the service", e))?;
    fs::write_unlocked(&layout.tally(), text)
}

/// The time now.
pub(crate) fn now() -> Moment {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // The uptime goes on while the host sleeps, and nobody sets it.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    Moment { boot: boot.trim().to_owned(), seconds }
}

/// The end of the service that has just stopped, as systemd tells its `ExecStopPost=`.
pub(crate) fn ending() -> Ending {
    match env::var(RESULT).as_deref() {
        Ok("success") => Ending::Asked,
        _ => Ending::Failed,
    }
}

/// Asks the service manager to roll back from a failing generation. Returns at once: the caller belongs to
/// the service, which the rollback stops. One rollback at a time is enough.
pub(crate) fn go_back(service: &str, program: &Path, layout: &Layout) -> Result<(), Problem> {
    let root = layout.root().to_string_lossy();
    let (unit, description) = (
        format!("--unit={}", unit::fallback_name(service)),
        format!("--description=awqdeploy: {service} is rolled back"),
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
        // Somebody else may hold the lock, and the unit may be killed. Other exit statuses are final.
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
    // `systemd-run` reports a unit that is there already.
    exec::run("systemd-run", &words, &BTreeMap::new()).map(drop)
}

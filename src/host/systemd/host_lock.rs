//! The right to stop and start servers on this host: one root at a time, and one for each GPU.

use super::Systemd;
use crate::{
    domain::{machine::visible::Claim, problem::Problem, store::layout::Scope},
    host::os::{
        fs,
        lock_file::{HeldLock, enter_alone, hold, only_ours},
    },
};
use std::{path::Path, time::Duration};

/// The folder of the host's locks: one activation at a time on each GPU, whatever its root. They go with a
/// reboot, and with the process that holds them.
const HOST: &str = "/run/awqdeploy";
/// The folder of a user's locks, for all roots of that user: below `$XDG_RUNTIME_DIR`.
const USER: &str = "awqdeploy";
/// The lock of the whole host. Others hold it while they take the locks of their GPUs.
const ALL: &str = "activation.lock";
/// The longest that others may take for that.
const TAKING: Duration = Duration::from_secs(2);

/// The right to use these GPUs of the host, for an activation below `root`. It is held until all files are
/// dropped.
///
/// # Errors
/// As [`hold`].
pub(crate) fn hold_host(
    scope: Scope,
    root: &Path,
    claim: &Claim,
    command: &str,
) -> Result<Vec<HeldLock>, Problem> {
    let folder = match scope {
        Scope::System => HOST.into(),
        Scope::User => Systemd::user_runtime().unwrap_or_default().join(USER),
    };
    enter_alone(&folder)?;
    only_ours(&[&folder])?;
    hold_gpus(&folder, claim, &format!("{command} --root {}", root.display()))
}

/// Takes the locks of these GPUs in this folder. They are taken in one order by all, so that no two wait for each other.
///
/// # Errors
/// As [`hold`].
pub fn hold_gpus(folder: &Path, claim: &Claim, command: &str) -> Result<Vec<HeldLock>, Problem> {
    // While this is held, no other lock is taken.
    let whole = hold(&folder.join(ALL), TAKING, command)?;
    let one = |gpu: u32| hold(&folder.join(lock_of(gpu)), Duration::ZERO, command);
    match claim {
        Claim::Gpus(gpus) => gpus.iter().copied().map(one).collect(),
        Claim::Host => {
            let mut gpus: Vec<u32> = fs::names(folder)?.iter().filter_map(|name| gpu_of(name)).collect();
            gpus.sort_unstable();
            let mut held = gpus.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
            held.push(whole);
            Ok(held)
        }
    }
}

fn lock_of(gpu: u32) -> String {
    format!("gpu-{gpu}.lock")
}

fn gpu_of(name: &str) -> Option<u32> {
    name.strip_prefix("gpu-")?.strip_suffix(".lock")?.parse().ok()
}

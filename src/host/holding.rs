//! Locks that one process of a host holds, with its name for whoever finds them held.

use super::{fs, systemd::Systemd};
use crate::domain::{
    layout::Scope,
    problem::{Kind, Problem},
    visible::Claim,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How often a held lock is tried again.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// Whoever may write to a directory may put a link in a file's place.
const OTHERS_WRITE: u32 = 0o022;

/// Where the locks of the host lie: one activation at a time on each GPU, whatever its root. They go with a reboot, and
/// with the process that holds them.
const HOST: &str = "/run/awqdeploy";
/// The same for all roots of one user, below `$XDG_RUNTIME_DIR`.
const USER: &str = "awqdeploy";
/// Held by whoever needs the whole host; by others while they take the locks of their GPUs.
const ALL: &str = "activation.lock";
/// How long others may take for that.
const TAKING: Duration = Duration::from_secs(2);

/// Who holds a lock; the lock file's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    command: String,
    since: jiff::Timestamp,
}

/// Takes the lock of a file, waiting for at most `wait`. `command` is what another process is told meanwhile. It is
/// held until the file is closed.
///
/// # Errors
/// [`Kind::Busy`] with the holder's name.
pub fn hold(path: &Path, wait: Duration, command: &str) -> Result<File, Problem> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|e| fs::failed("open", path, e))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if began.elapsed() < wait => sleep(TRY_EVERY),
            Err(TryLockError::WouldBlock) => return Err(busy(&mut file)),
            Err(TryLockError::Error(e)) => return Err(fs::failed("lock", path, e)),
        }
    }
    let holder =
        Holder { pid: std::process::id(), command: command.to_owned(), since: jiff::Timestamp::now() };
    // Only for people who find the lock held: it need not survive a power cut, and a full disk must not
    // keep anybody from going back.
    let _unnamed = file
        .set_len(0)
        .and_then(|()| serde_json::to_vec(&holder).map_err(Into::into))
        .and_then(|text| file.write_all(&text));
    Ok(file)
}

/// The right to use these GPUs of the host, for an activation below `root`. It is held until all of it is dropped.
///
/// # Errors
/// As [`hold`].
pub fn hold_host(scope: Scope, root: &Path, claim: &Claim, command: &str) -> Result<Vec<File>, Problem> {
    let folder = match scope {
        Scope::System => HOST.into(),
        Scope::User => Systemd::user_runtime().unwrap_or_default().join(USER),
    };
    fs::make_directory(&folder)?;
    hold_gpus(&folder, claim, &format!("{command} --root {}", root.display()))
}

/// The same, by locks in this folder. They are taken in one order by all, so that no two wait for each other.
///
/// # Errors
/// As [`hold`].
pub fn hold_gpus(folder: &Path, claim: &Claim, command: &str) -> Result<Vec<File>, Problem> {
    // While this is held, no other lock comes to be.
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

/// A problem with directories that somebody else may write to: a link there would lead what root writes elsewhere,
/// and what they put there would be run.
///
/// # Errors
/// [`Kind::Refused`] that names the directory.
pub fn only_ours(directories: &[&Path]) -> Result<(), Problem> {
    let us = rustix::process::geteuid().as_raw();
    for path in directories {
        let Ok(found) = std::fs::metadata(path) else { continue };
        if (found.uid() != us && found.uid() != 0) || found.mode() & OTHERS_WRITE != 0 {
            let what =
                format!("`{}` can be written to by others than its owner, or is not yours", path.display());
            return Err(Problem::new(Kind::Refused, what).help(
                "what lies there is run as a service: `chown root:root` and `chmod 755` it, once nothing in it is a \
                 stranger's; or name another root with `--root DIR`",
            ));
        }
    }
    Ok(())
}

fn busy(file: &mut File) -> Problem {
    let mut text = String::new();
    let holder = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    let who = holder.map_or_else(
        || "another awqdeploy is at work".to_owned(),
        |Holder { pid, command, since }| {
            format!("`{command}` (process {pid}) has been at work since {since:.0}")
        },
    );
    Problem::new(Kind::Busy, who).help("wait until it is done; `awqdeploy status` shows how far it is")
}

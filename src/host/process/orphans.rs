//! Processes of an engine that outlived their service. A killed API server leaves its engine core and its workers
//! behind, and they hold the GPUs' memory.

use super::{
    control_group::{self, ControlGroup, is_a_service},
    pidfd::ProcessHandle,
};
use crate::{domain::problem::Problem, host::os::watchdog};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process, all_processes};
use rustix::process::{Signal, geteuid};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::{Duration, Instant},
};

/// How long killed processes may take to be gone. One inside the GPU driver takes its time.
const GONE_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process that outlived its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanProcess {
    /// The number of the process.
    pub pid: i32,
    /// The command line, as the process shows it.
    pub(crate) name: String,
}

impl fmt::Display for OrphanProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {})", self.name, self.pid)
    }
}

/// Ends the processes of a stopped service that are ours without doubt: those in its unit's control group,
/// and orphans of our own user that run code of our store's runtimes and belong to no other service. Reports
/// each. A problem names those that do not end.
pub fn end(
    group: Option<&ControlGroup>,
    runtimes: &Path,
    tell: &mut dyn FnMut(&OrphanProcess),
) -> Result<(), Problem> {
    let mut told = BTreeSet::new();
    let began = Instant::now();
    loop {
        let left = ours(group, runtimes)?;
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > GONE_PATIENCE {
            let names: Vec<_> = left.iter().map(|(_, leftover)| leftover.to_string()).collect();
            return Err(Problem::doing(
                "end what the service left behind",
                format!("still there after {} s: {}", GONE_PATIENCE.as_secs(), names.join(", ")),
            ));
        }
        for (known, leftover) in left {
            if told.insert(leftover.pid) {
                tell(&leftover);
            }
            known.signal(Signal::KILL);
        }
        watchdog::pause(LOOK_EVERY);
    }
}

fn ours(
    group: Option<&ControlGroup>,
    runtimes: &Path,
) -> Result<Vec<(ProcessHandle, OrphanProcess)>, Problem> {
    let all = all_processes().map_err(|e| Problem::doing("list processes", e))?;
    // The kernel names programs and mapped files by their real paths.
    let runtimes = std::fs::canonicalize(runtimes).unwrap_or_else(|_| runtimes.to_owned());
    let own = control_group::own();
    let mut found = Vec::new();
    let mut parents = BTreeMap::new();
    // A process may end between being listed and being read.
    for process in all.flatten() {
        let Ok(stat) = process.stat() else { continue };
        if stat.state == 'Z' {
            continue;
        }
        parents.insert(process.pid, (stat.ppid, stat.comm.clone()));
        let membership = control_group::membership(process.pid);
        let inside = group.is_some_and(|group| group.is_in(&membership));
        let of_another = is_a_service(&membership) && membership != own;
        if inside || (!of_another && is_our_users(&process) && runs_from(&process, &runtimes)) {
            let Some(known) = ProcessHandle::started_at(process.pid, stat.starttime) else { continue };
            let name = name(&process).unwrap_or(stat.comm);
            found.push((inside, known, OrphanProcess { pid: process.pid, name }));
        }
    }
    let runs: BTreeSet<i32> = found.iter().map(|(_, _, leftover)| leftover.pid).collect();
    let orphan = |mut pid: i32| loop {
        match parents.get(&pid) {
            Some((parent, _)) if runs.contains(parent) => pid = *parent,
            // Adopted by the system's init, or by a user's service manager.
            Some((1, _)) | None => return true,
            Some((parent, _)) => return parents.get(parent).is_some_and(|(_, name)| name == "systemd"),
        }
    };
    let kept = found.into_iter().filter(|(inside, _, leftover)| *inside || orphan(leftover.pid));
    Ok(kept.map(|(_, known, leftover)| (known, leftover)).collect())
}

/// Whether it runs as the user who asks. A process of another user is never ours: anybody can run what
/// everybody can read.
fn is_our_users(process: &Process) -> bool {
    let us = geteuid().as_raw();
    process.status().is_ok_and(|status| [status.ruid, status.euid, status.suid] == [us; 3])
}

/// Whether it runs code of our runtimes. That finds renamed workers, too, and environments whose interpreter
/// is the system's. The name of a process proves nothing.
fn runs_from(process: &Process, runtimes: &Path) -> bool {
    if process.exe().is_ok_and(|program| program.starts_with(runtimes)) {
        return true;
    }
    let code = |map: &MemoryMap| {
        map.perms.contains(MMPermissions::EXECUTE)
            && matches!(&map.pathname, MMapPath::Path(path) if path.starts_with(runtimes))
    };
    process.maps().is_ok_and(|maps| maps.iter().any(code))
}

/// The command line with the program's name alone, since the path of a runtime is long.
fn name(process: &Process) -> Option<String> {
    const SHOWN: usize = 80;
    let words = process.cmdline().ok()?;
    let (program, arguments) = words.split_first()?;
    let program =
        Path::new(program).file_name().map_or_else(|| program.clone(), |name| name.to_string_lossy().into());
    let words: Vec<String> = [program].into_iter().chain(arguments.iter().cloned()).collect();
    Some(words.join(" ").chars().take(SHOWN).collect())
}

//! Processes of an engine that outlived their service. A killed API server leaves its engine core and its workers
//! behind, and they hold the GPUs' memory.

use crate::domain::problem::Problem;
use procfs::process::{MMapPath, Process, all_processes};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long killed processes may take to be gone. One inside the GPU driver takes its time.
const GONE_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process that outlived its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub pid: i32,
    /// Its command line, as it shows itself.
    pub name: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {})", self.name, self.pid)
    }
}

/// Ends what is left of a stopped service that is ours without doubt: what is in its unit's control group, and
/// orphans that run a runtime of our store. Tells each. A problem names what does not go.
pub fn end(unit: &str, runtimes: &Path, tell: &mut dyn FnMut(&Leftover)) -> Result<(), Problem> {
    let mut told = BTreeSet::new();
    let began = Instant::now();
    loop {
        let left = ours(unit, runtimes)?;
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > GONE_PATIENCE {
            let names: Vec<_> = left.iter().map(ToString::to_string).collect();
            return Err(Problem::doing(
                "end what the service left behind",
                format!("still there after {} s: {}", GONE_PATIENCE.as_secs(), names.join(", ")),
            ));
        }
        for leftover in left {
            if told.insert(leftover.pid) {
                tell(&leftover);
            }
            if let Some(pid) = Pid::from_raw(leftover.pid) {
                // Gone already is what is wanted.
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        sleep(LOOK_EVERY);
    }
}

fn ours(unit: &str, runtimes: &Path) -> Result<Vec<Leftover>, Problem> {
    let all = all_processes().map_err(|e| Problem::doing("list processes", e))?;
    let mut found = Vec::new();
    let mut parents = BTreeMap::new();
    // A process may end between being listed and being read.
    for process in all.flatten() {
        let Ok(stat) = process.stat() else { continue };
        if stat.state == 'Z' {
            continue;
        }
        parents.insert(process.pid, (stat.ppid, stat.comm.clone()));
        let group = in_group(&process, unit);
        if group || runs_from(&process, runtimes) {
            let name = name(&process).unwrap_or(stat.comm);
            found.push((group, Leftover { pid: process.pid, name }));
        }
    }
    let runs: BTreeSet<i32> = found.iter().map(|(_, leftover)| leftover.pid).collect();
    let orphan = |mut pid: i32| loop {
        match parents.get(&pid) {
            Some((parent, _)) if runs.contains(parent) => pid = *parent,
            // Adopted by the system's init, or by a user's service manager.
            Some((1, _)) | None => return true,
            Some((parent, _)) => return parents.get(parent).is_some_and(|(_, name)| name == "systemd"),
        }
    };
    let kept = found.into_iter().filter(|(group, leftover)| *group || orphan(leftover.pid));
    Ok(kept.map(|(_, leftover)| leftover).collect())
}

fn in_group(process: &Process, unit: &str) -> bool {
    let inside = |path: &str| path.split('/').any(|part| part == unit);
    process.cgroups().is_ok_and(|groups| groups.into_iter().any(|group| inside(&group.pathname)))
}

/// Whether it has files of our runtimes mapped: that is true of a renamed worker, too.
fn runs_from(process: &Process, runtimes: &Path) -> bool {
    if process
        .cmdline()
        .is_ok_and(|words| words.first().is_some_and(|word| Path::new(word).starts_with(runtimes)))
    {
        return true;
    }
    let mapped = |path: &MMapPath| matches!(path, MMapPath::Path(path) if path.starts_with(runtimes));
    process.maps().is_ok_and(|maps| maps.into_iter().any(|map| mapped(&map.pathname)))
}

/// Its command line with the program's name alone: the path of a runtime would be all that one sees.
fn name(process: &Process) -> Option<String> {
    const SHOWN: usize = 80;
    let words = process.cmdline().ok()?;
    let (program, arguments) = words.split_first()?;
    let program =
        Path::new(program).file_name().map_or_else(|| program.clone(), |name| name.to_string_lossy().into());
    let words: Vec<String> = [program].into_iter().chain(arguments.iter().cloned()).collect();
    Some(words.join(" ").chars().take(SHOWN).collect())
}

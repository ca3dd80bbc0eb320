//! This process and all that descends from it.
//!
//! vLLM's API server leaves its engine and workers behind when it is killed. A subreaper inherits
//! such orphans, so that they can be found and ended.

use super::pidfd::ProcessHandle;
use crate::{domain::problem::Problem, host::os::watchdog};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, set_child_subreaper, set_parent_process_death_signal, wait,
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    time::{Duration, Instant},
};

/// How long killed processes may take to be gone. A process in uninterruptible sleep, such as one
/// inside the GPU driver, takes its time.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// The time between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Makes this process inherit the orphans among its descendants.
pub(crate) fn adopt_orphans() -> Result<(), Problem> {
    set_child_subreaper(Some(getpid())).map_err(|e| Problem::doing("adopt orphaned processes", e))
}

/// Has this process told to stop when its parent dies. A problem if it died already.
pub(crate) fn die_with_parent(parent: u32) -> Result<(), Problem> {
    let doing = "follow the parent process";
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|e| Problem::doing(doing, e))?;
    let now = getppid().map(|now| now.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) { Ok(()) } else { Err(Problem::doing(doing, "it is gone already")) }
}

/// Everything that descends from a process, nearest first.
pub(crate) fn descendants_of(ancestor: Pid) -> Result<Vec<Pid>, Problem> {
    Ok(family_of(ancestor)?.into_iter().map(ProcessHandle::pid).collect())
}

fn family_of(ancestor: Pid) -> Result<Vec<ProcessHandle>, Problem> {
    let mut parents = Vec::new();
    for process in procfs::process::all_processes().map_err(|e| Problem::doing("list processes", e))? {
        // A process may end between being listed and being read.
        if let Ok(stat) = process.and_then(|process| process.stat()) {
            parents.push((stat.pid, stat.ppid, stat.starttime));
        }
    }
    let mut family = BTreeSet::from([ancestor.as_raw_nonzero().get()]);
    let mut found = Vec::new();
    loop {
        let next: Vec<(i32, u64)> = parents
            .iter()
            .filter(|(pid, parent, _)| family.contains(parent) && !family.contains(pid))
            .map(|(pid, _, started)| (*pid, *started))
            .collect();
        if next.is_empty() {
            return Ok(found);
        }
        found.extend(next.iter().filter_map(|(pid, started)| ProcessHandle::started_at(*pid, *started)));
        family.extend(next.iter().map(|(pid, _)| *pid));
    }
}

/// Every process that inherited this variable with this value, wherever it is in the tree now.
fn inheritors(name: &str, value: &str) -> Result<Vec<ProcessHandle>, Problem> {
    let all = procfs::process::all_processes().map_err(|e| Problem::doing("list processes", e))?;
    let inherits = |process: &procfs::process::Process| {
        // The start is read first: the variable then belongs to that process, or to none.
        let started = process.stat().ok()?.starttime;
        // Other users' processes may not be asked, and are not ours.
        let environment = process.environ().unwrap_or_default();
        let inherits = environment.get(OsStr::new(name)).is_some_and(|found| found == value);
        inherits.then(|| ProcessHandle::started_at(process.pid, started))?
    };
    Ok(all.flatten().filter_map(|process| inherits(&process)).collect())
}

/// Ends everything that descends from this process and waits until it is gone.
pub(crate) fn kill_descendants() -> Result<(), Problem> {
    kill_all(|| {
        reap();
        family_of(getpid())
    })
}

/// Ends every process that inherited this variable with this value, and waits until they are gone.
pub(crate) fn kill_marked(name: &str, value: &str) -> Result<(), Problem> {
    kill_all(|| inheritors(name, value))
}

fn kill_all(left: impl Fn() -> Result<Vec<ProcessHandle>, Problem>) -> Result<(), Problem> {
    let began = Instant::now();
    loop {
        let left = left()?;
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > KILL_PATIENCE {
            let pids: Vec<_> = left.iter().map(|known| known.pid().as_raw_nonzero().to_string()).collect();
            return Err(Problem::doing(
                "end the service's processes",
                format!("still there after {} s: {}", KILL_PATIENCE.as_secs(), pids.join(", ")),
            ));
        }
        for known in left {
            known.signal(Signal::KILL);
        }
        watchdog::pause(LOOK_EVERY);
    }
}

/// Reaps ended children, so that they do not stay as zombies.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

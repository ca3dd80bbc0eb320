//! Real processes that outlived a service: ours are ended and named, others are left alone.

use crate::{scratch::tempdir, stand::NEVER, store::trust::as_root};
use awqdeploy::host::process::orphans::{OrphanProcess, end};
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

fn lives(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

/// Set in what only waits.
const PART: &str = "AWQDEPLOY_LEFTOVERS_PART";
/// How this test program is told to wait.
const WAITS: [&str; 3] = ["--exact", "process::orphans::part_waits", "--nocapture"];

/// The work of a worker: this test program, under another name.
#[test]
fn part_waits() {
    if std::env::var_os(PART).is_some() {
        sleep(Duration::from_secs(1000));
    }
}

/// A process that belongs to nobody: its parent has ended.
fn orphan(program: &Path, by: &[&str]) -> i32 {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" >/dev/null 2>&1 & echo $!", "sh"]).args(by).arg(program).args(WAITS);
    let output = shell.env(PART, "1").process_group(0).stdin(Stdio::null()).output().unwrap();
    let pid = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let began = Instant::now();
    // Between fork and exec it is still the shell.
    let begins = program.to_str().unwrap();
    while !fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().starts_with(begins) {
        assert!(began.elapsed() < NEVER, "it never runs");
        sleep(Duration::from_millis(5));
    }
    pid
}

fn child(program: &Path) -> Child {
    Command::new(program).args(WAITS).env(PART, "1").stdout(Stdio::null()).spawn().unwrap()
}

fn kill(pid: i32) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

/// A worker in a runtime of ours, in a folder that goes.
fn ours() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let worker = folder.path().join("runtimes/x/bin/worker");
    program(&worker);
    (folder, worker)
}

fn program(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let own = std::env::current_exe().unwrap();
    fs::hard_link(&own, path).or_else(|_| fs::copy(&own, path).map(drop)).unwrap();
}

/// Those that were ended.
fn ended(folder: &TempDir) -> Vec<OrphanProcess> {
    let mut told = Vec::new();
    end(None, &folder.path().join("runtimes"), &mut |leftover| told.push(leftover.clone())).unwrap();
    told
}

#[test]
fn orphans_of_our_runtimes_are_ended_and_nobody_else() {
    let (folder, worker) = ours();
    let others = folder.path().join("others/worker");
    program(&others);
    let orphaned = orphan(&worker, &[]);
    let stranger = orphan(&others, &[]);
    // Somebody looks after this one: `plan --ask-engine` does.
    let mut owned = child(&worker);
    // The name that it gives itself says nothing.
    let called = worker.with_file_name("called");
    symlink(std::env::current_exe().unwrap(), &called).unwrap();
    let named = orphan(&called, &[]);

    let told = ended(&folder);
    let pids: Vec<i32> = told.iter().map(|leftover| leftover.pid).collect();
    assert_eq!(pids, [orphaned]);
    let name = format!("`worker {}` (process {orphaned})", WAITS.join(" "));
    assert_eq!(told[0].to_string(), name);
    assert!(lives(stranger), "another's process was ended");
    assert!(lives(named), "a process was ended for its name");
    assert!(matches!(owned.try_wait(), Ok(None)), "a process that has an owner was ended");

    kill(stranger);
    kill(named);
    owned.kill().unwrap();
    owned.wait().unwrap();
}

/// A process of another user is that user's.
#[test]
#[ignore = "needs root: tests/real/all"]
fn what_another_user_runs_of_our_runtimes_is_left_alone() {
    let Some(_root) = as_root() else { return };
    let (folder, worker) = ours();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobodys = orphan(&worker, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    assert_eq!(ended(&folder), []);
    assert!(lives(nobodys), "another user's process was ended");
    kill(nobodys);
}

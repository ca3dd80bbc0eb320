//! Real processes that outlived a service: ours are ended and named, others are left alone.

use awqdeploy::host::leftovers::end;
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// No unit of this name is on any machine.
const UNIT: &str = "awqdeploy-test-of-leftovers.service";

fn lives(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

/// A process that runs this program and belongs to nobody: its parent has ended.
fn orphan(program: &Path) -> i32 {
    let script = format!("'{}' 1000 >/dev/null 2>&1 & echo $!", program.display());
    let output = Command::new("setsid").args(["sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
    let pid = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let began = Instant::now();
    // Between fork and exec it is still the shell.
    while !fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("worker") {
        assert!(began.elapsed() < Duration::from_secs(10), "it never runs");
        sleep(Duration::from_millis(5));
    }
    pid
}

fn child(program: &Path) -> Child {
    Command::new(program).arg("1000").spawn().unwrap()
}

#[test]
fn orphans_of_our_runtimes_are_ended_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (folder.path().join("runtimes/x/bin"), folder.path().join("others"));
    for bin in [&ours, &others] {
        fs::create_dir_all(bin).unwrap();
        fs::copy("/bin/sleep", bin.join("worker")).unwrap();
    }
    let orphaned = orphan(&ours.join("worker"));
    let stranger = orphan(&others.join("worker"));
    // Somebody looks after this one: `plan --ask-engine` does.
    let mut owned = child(&ours.join("worker"));

    let mut told = Vec::new();
    end(UNIT, &folder.path().join("runtimes"), &mut |leftover| told.push(leftover.clone())).unwrap();
    let pids: Vec<i32> = told.iter().map(|leftover| leftover.pid).collect();
    assert_eq!(pids, [orphaned]);
    assert!(told[0].to_string().ends_with(&format!("worker 1000` (process {orphaned})")), "{told:?}");
    assert!(lives(stranger), "another's process was ended");
    assert!(matches!(owned.try_wait(), Ok(None)), "a process that has an owner was ended");

    rustix::process::kill_process(Pid::from_raw(stranger).unwrap(), rustix::process::Signal::KILL).unwrap();
    owned.kill().unwrap();
    owned.wait().unwrap();
}

//! Real processes that outlived a service: ours are ended and named, others are left alone.

use awqdeploy::host::leftovers::end;
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

fn lives(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

/// A process that runs this program and belongs to nobody: its parent has ended.
fn orphan(program: &Path) -> i32 {
    orphan_by(&format!("exec '{}' 1000", program.display()))
}

/// The same by a command of bash.
fn orphan_by(command: &str) -> i32 {
    let script = format!("{{ {command}; }} >/dev/null 2>&1 & echo $!");
    let output = Command::new("setsid").args(["bash", "-c", &script]).stdin(Stdio::null()).output().unwrap();
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

    // What it calls itself says nothing, and what another user runs is that user's.
    let named = orphan_by(&format!("exec -a '{}' sleep 1000", ours.join("worker").display()));
    let nobodys = rustix::process::geteuid().is_root().then(|| {
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).unwrap();
        let program = ours.join("worker");
        let becomes = "exec setpriv --reuid=65534 --regid=65534 --clear-groups";
        orphan_by(&format!("{becomes} '{}' 1000", program.display()))
    });

    let mut told = Vec::new();
    end(None, &folder.path().join("runtimes"), &mut |leftover| told.push(leftover.clone())).unwrap();
    let pids: Vec<i32> = told.iter().map(|leftover| leftover.pid).collect();
    assert_eq!(pids, [orphaned]);
    assert!(told[0].to_string().ends_with(&format!("worker 1000` (process {orphaned})")), "{told:?}");
    assert!(lives(stranger), "another's process was ended");
    assert!(lives(named), "a process was ended for its name");
    assert!(nobodys.is_none_or(lives), "another user's process was ended");
    assert!(matches!(owned.try_wait(), Ok(None)), "a process that has an owner was ended");

    for pid in [Some(stranger), Some(named), nobodys].into_iter().flatten() {
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    }
    owned.kill().unwrap();
    owned.wait().unwrap();
}

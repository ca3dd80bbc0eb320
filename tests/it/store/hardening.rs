//! A root that others can write to, a generation that was changed, a stale lock, a disk that takes nothing.

use crate::{
    inputs::facts,
    program::Said,
    running_engine::plan,
    scratch::tempdir,
    skipped::skipped,
    stand::{FORKED, NEW, OLD, Stand, patiently},
};
use awqdeploy::{
    domain::{
        generation_id::GenerationId,
        problem::Kind,
        size::ByteSize,
        store::{
            layout::Layout,
            page_cache::{Back, ahead, back},
        },
    },
    flow::deploy::rollback::{Target, rollback},
    host::{
        machine::page_cache,
        os::{lock_file, signals::Interrupt},
        store::Store,
    },
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
    time::Duration,
};

const ONE: GenerationId = GenerationId(1);

/// Whatever is changed in a generation is noticed before anything is stopped.
#[test]
fn a_generation_that_was_changed_is_not_run() {
    for name in ["generation.json", "vllm.service", "profile.toml", "awqdeploy", "SHA256SUMS"] {
        let mut stand = Stand::serving();
        stand.deploy(NEW).unwrap();
        let path = stand.context.layout().generation(ONE).join(name);
        let mut bytes = fs::read(&path).unwrap();
        // A copy: the binary is a second name of a file that others use.
        fs::remove_file(&path).unwrap();
        bytes.push(b'\n');
        fs::write(&path, bytes).unwrap();
        let target = Target::Generation(ONE);
        let problem = patiently(|| rollback(&mut stand.context, &target)).unwrap_err();
        assert_eq!(problem.kind, Kind::Unverified, "{name}: {problem:?}");
        assert!(
            problem.what.contains(name) && problem.what.ends_with("since generation 1 was made"),
            "{}",
            problem.what
        );
        stand.serves(NEW);
    }
}

/// The damaged generation is what a failed deployment would return to.
#[test]
fn a_rollback_target_that_was_changed_stops_the_deployment_before_anything_is_touched() {
    let mut stand = Stand::serving();
    fs::remove_file(stand.context.layout().generation(ONE).join("vllm.service")).unwrap();
    let problem = stand.deploy(NEW).unwrap_err();
    assert_eq!(problem.kind, Kind::Refused, "no way back");
    assert!(problem.what.contains("vllm.service` was removed since generation 1"), "{}", problem.what);
    stand.serves(OLD);
}

#[test]
fn its_seal_is_what_sha256sum_reads() {
    let stand = Stand::serving();
    let folder = stand.context.layout().generation(ONE);
    let checked =
        Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(checked.unwrap().success());
    let listed = fs::read_to_string(folder.join("SHA256SUMS")).unwrap().lines().count();
    assert_eq!(listed, fs::read_dir(&folder).unwrap().count() - 1);
    // Generations of before there were seals can be returned to.
    fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    stand.context.store.intact(ONE).unwrap();
}

#[test]
fn a_root_that_others_can_write_to_is_refused() {
    let folder = tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    for open in [0o777, 0o775] {
        fs::set_permissions(&root, fs::Permissions::from_mode(open)).unwrap();
        let problem = Store::new(Layout::new(&root)).writer(FORKED, "test").unwrap_err();
        assert_eq!(problem.kind, Kind::Refused, "{open:o}");
        assert!(!root.join("lock").exists());
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.join("generations")).unwrap();
    fs::set_permissions(root.join("generations"), fs::Permissions::from_mode(0o757)).unwrap();
    let problem = Store::new(Layout::new(&root)).writer(FORKED, "test").unwrap_err();
    assert!(problem.what.contains("/generations`"), "{}", problem.what);
}

/// Somebody's link in the lock's place must not make root write elsewhere.
#[test]
fn links_in_the_place_of_our_files_are_not_followed() {
    let folder = tempdir().unwrap();
    let (root, victim) = (folder.path().join("root"), folder.path().join("victim"));
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&victim, "precious").unwrap();
    let store = Store::new(Layout::new(&root));
    symlink(&victim, root.join("lock")).unwrap();
    assert!(store.writer(FORKED, "test").is_err());
    fs::remove_file(root.join("lock")).unwrap();

    let writer = store.writer(FORKED, "test").unwrap();
    // The name under which a file is written before it gets its own.
    fs::create_dir_all(root.join("activations/1")).unwrap();
    symlink(&victim, root.join("activations/1/.service.log.new")).unwrap();
    let kept = writer.keep_log(1, "text");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{kept:?}");
}

/// A lock is held by a process, not by the text in its file: what a reboot or a crash left is no holder.
#[test]
fn a_stale_lock_holds_nobody_up() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("lock");
    fs::write(&path, r#"{"pid":1,"command":"awqdeploy deploy awq","since":"2020-01-01T00:00:00Z"}"#).unwrap();
    let held = lock_file::hold(&path, FORKED, "awqdeploy recover").unwrap();
    let busy = lock_file::hold(&path, Duration::ZERO, "another").unwrap_err();
    assert_eq!(busy.kind, Kind::Busy);
    assert!(busy.what.starts_with("`awqdeploy recover` (process "), "{}", busy.what);
    drop(held);
    // Another test's child may hold it for a moment, too.
    lock_file::hold(&path, FORKED, "another").unwrap();
}

/// The running server goes on, and the records can be read.
#[test]
fn a_read_only_disk_changes_nothing_and_is_named() {
    let folder = tempdir().unwrap();
    let root = folder.path().join("root");
    {
        let store = Store::new(Layout::new(&root));
        let writer = store.writer(FORKED, "test").unwrap();
        let id = writer.add_generation(plan(([127, 0, 0, 1], 1).into()), "", "/bin/true".as_ref()).unwrap();
        writer.point(Some(id)).unwrap();
    }
    let inside = |arguments: &str| {
        let script = format!(
            "mount --bind {root} {root} && mount -o remount,bind,ro {root} && exec {program} --root {root} {arguments}",
            root = root.display(),
            program = crate::stand::PROGRAM
        );
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script]);
        command
    };
    if !inside("generations").output().is_ok_and(|tried| tried.status.success()) {
        skipped("a read-only mount needs user namespaces, or to be root");
        return;
    }
    assert!(Said::by(&mut inside("generations")).text().contains("candidate"));
    let said = Said::by(&mut inside("pin 1")).complaint(1);
    assert!(said.contains("Read-only file system") && said.contains("writable file system"), "{said}");
}

#[test]
fn the_page_cache_gets_what_ram_is_left() {
    let gib = ByteSize::gib;
    assert_eq!(ahead(gib(45), gib(100)), gib(45));
    assert_eq!(ahead(gib(45), gib(20)), gib(18));
    assert_eq!(ahead(gib(45), gib(1)), gib(0));
    // Four GPUs, nothing offloaded: both models stay. One GPU with 30 GiB in RAM: what is left goes to the old.
    assert_eq!(back(gib(120), gib(12), gib(43), gib(41)), Back::BothStay);
    assert_eq!(back(gib(120), gib(40), gib(43), gib(41)), Back::Read(gib(41)));
    assert_eq!(back(gib(64), gib(40), gib(43), gib(41)), Back::Read(gib(22)));
    assert_eq!(back(gib(40), gib(40), gib(43), gib(41)), Back::Read(gib(0)));
    assert!(facts("four-16gb").ram_total > gib(100), "the example is that of the fixture");
}

#[test]
fn reading_ahead_is_bounded_and_ends_with_a_signal() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("b"), vec![1; 9 << 20]).unwrap();
    fs::write(folder.path().join("sub/a"), vec![1; 3 << 20]).unwrap();
    let files = page_cache::files(folder.path()).unwrap();
    assert_eq!(files.iter().map(|(_, length)| length.0 >> 20).collect::<Vec<_>>(), [9, 3]);
    let mut seen = Vec::new();
    let read = page_cache::read(&files, ByteSize::mib(10), &Interrupt::default(), &mut |done| {
        seen.push(done.0 >> 20);
    });
    assert_eq!((read.unwrap(), seen), (ByteSize::mib(10), vec![8, 9, 10]));
    let interrupt = Interrupt::default();
    let stopped = page_cache::read(&files, ByteSize::mib(10), &interrupt, &mut |_| interrupt.raise());
    assert_eq!(stopped.unwrap_err().kind, Kind::Interrupted);
}

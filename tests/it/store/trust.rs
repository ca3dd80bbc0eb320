//! Whose files root believes, and whose locks it waits for.

use crate::{scratch::tempdir, skipped::skipped, stand::FORKED};
use awqdeploy::{
    domain::{
        problem::{Kind, Problem},
        store::{
            layout::Layout,
            trust::{Distrust, Group, Owner, Owners, PathPart, Step, group, judge, outside},
        },
    },
    host::{
        checkpoint::{self, Presence},
        os::{
            fs::{Transfer, copy, link_or_copy, reflink_or_copy},
            lock_file::hold,
            trust::{believe, ours},
        },
        store::Store,
    },
};
use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const NOBODY: u32 = 65534;
const ALICE: u32 = 1000;

/// A way of folders and, where it begins with `@`, links: `(path, owner, mode)`.
fn way(steps: &[(&str, u32, u32)]) -> Vec<Step> {
    let step = |(path, owner, mode): &(&str, u32, u32)| {
        let (met, path) = match path.strip_prefix('@') {
            Some(path) => (PathPart::Link, path),
            None if path.contains(".toml") => (PathPart::File, *path),
            None => (PathPart::Folder, *path),
        };
        Step { path: path.into(), met, owner: *owner, mode: *mode, group: Group::Shared }
    };
    steps.iter().map(step).collect()
}

#[test]
fn a_way_is_believed_where_nobody_else_can_change_what_it_leads_to() {
    let root = Owners::of(0).and_caller(Some(ALICE));
    let stranger = |path: &str, owner| Err(Distrust::Stranger { path: path.into(), owner });
    let writable = |path: &str, mode| Err(Distrust::Writable { path: path.into(), mode });
    let alices = Ok(Owner::Callers { caller: ALICE });
    let table = [
        (way(&[("/", 0, 0o755), ("/etc", 0, 0o755), ("/etc/a.toml", 0, 0o644)]), Ok(Owner::Own)),
        // The attack: her folder in a folder where anybody may make one.
        (
            way(&[("/", 0, 0o755), ("/tmp", 0, 0o1777), ("/tmp/profiles", NOBODY, 0o755)]),
            stranger("/tmp/profiles", NOBODY),
        ),
        (way(&[("/", 0, 0o755), ("/tmp", 0, 0o1777), ("/tmp/mine", 0, 0o700)]), Ok(Owner::Own)),
        // The folder is not there yet, and anybody can make it.
        (way(&[("/", 0, 0o755), ("/tmp", 0, 0o1777)]), writable("/tmp", 0o1777)),
        (way(&[("/", 0, 0o755), ("/open", 0, 0o777), ("/open/mine", 0, 0o700)]), writable("/open", 0o777)),
        (way(&[("/", 0, 0o755), ("/group", 0, 0o2775), ("/group/x", 0, 0o755)]), writable("/group", 0o2775)),
        // Nix: the store belongs to root, and its builders may add to it.
        (way(&[("/", 0, 0o755), ("/nix/store", 0, 0o1775), ("/nix/store/x", 0, 0o555)]), Ok(Owner::Own)),
        // A sticky folder of a stranger's keeps nothing in its place.
        (
            way(&[("/", 0, 0o755), ("/hers", NOBODY, 0o1777), ("/hers/x", 0, 0o755)]),
            stranger("/hers", NOBODY),
        ),
        // Ours below theirs: they can rename it away.
        (
            way(&[("/", 0, 0o755), ("/srv/hers", NOBODY, 0o755), ("/srv/hers/awq", 0, 0o755)]),
            stranger("/srv/hers", NOBODY),
        ),
        // Both sides of a link count, and a link's own permissions mean nothing.
        (way(&[("@/etc/awq", 0, 0o777), ("/", 0, 0o755), ("/srv", 0, 0o755)]), Ok(Owner::Own)),
        (way(&[("@/tmp/awq", NOBODY, 0o777), ("/", 0, 0o755)]), stranger("/tmp/awq", NOBODY)),
        (way(&[("@/etc/awq", 0, 0o777), ("/home/bob", NOBODY, 0o755)]), stranger("/home/bob", NOBODY)),
        (
            way(&[("/", 0, 0o755), ("/home/alice", ALICE, 0o700), ("/home/alice/a.toml", ALICE, 0o644)]),
            alices.clone(),
        ),
        (
            way(&[("/home/alice", ALICE, 0o755), ("/home/alice/a.toml", ALICE, 0o664)]),
            writable("/home/alice/a.toml", 0o664),
        ),
        (
            way(&[("/home/alice", ALICE, 0o755), ("/home/alice/a.toml", NOBODY, 0o644)]),
            stranger("/home/alice/a.toml", NOBODY),
        ),
    ];
    for (way, expected) in table {
        assert_eq!(judge(&way, &root), expected, "{way:#?}");
    }
    // Nobody called `sudo`.
    let hers = way(&[("/", 0, 0o755), ("/home/alice", ALICE, 0o700)]);
    assert_eq!(judge(&hers, &Owners::of(0)), stranger("/home/alice", ALICE));
    assert_eq!(judge(&hers, &Owners::of(ALICE)), Ok(Owner::Own), "alice herself");
}

/// Most systems make a group for each user, who then lets it write.
#[test]
fn a_group_of_the_callers_alone_is_the_caller() {
    let passwd = "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:100::/:\ncarol:x:1002:100::/:\nbroken\n";
    let table = [
        ("alice:x:1000:\n", 1000, Group::OwnersAlone),
        ("alice:x:1000:alice\n", 1000, Group::OwnersAlone),
        ("alice:x:1000:bob\n", 1000, Group::Shared),
        ("alice:x:1000:alice,bob\n", 1000, Group::Shared),
        ("staff:x:1000:\n", 1000, Group::Shared),
        ("alice:x:1000:\nalias:x:1000:bob\n", 1000, Group::Shared),
        ("users:x:100:\n", 100, Group::Shared),
        ("", 1000, Group::Shared),
    ];
    for (groups, number, expected) in table {
        assert_eq!(group(ALICE, number, passwd, groups), expected, "{groups}");
    }
    assert_eq!(group(1001, 100, passwd, "bob:x:100:\n"), Group::Shared, "carol has it, too");
    assert_eq!(group(4711, 4711, passwd, "x:x:4711:\n"), Group::Shared, "nobody knows");

    let mut hers = way(&[("/home/alice", ALICE, 0o775), ("/home/alice/a.toml", ALICE, 0o664)]);
    for step in &mut hers {
        step.group = Group::OwnersAlone;
    }
    assert_eq!(judge(&hers, &Owners::of(0).and_caller(Some(ALICE))), Ok(Owner::Callers { caller: ALICE }));
    hers[0].mode = 0o777;
    assert!(judge(&hers, &Owners::of(0).and_caller(Some(ALICE))).is_err(), "that is not the group alone");
    let mut roots = way(&[("/srv", 0, 0o775), ("/srv/x", 0, 0o755)]);
    roots[0].group = Group::OwnersAlone;
    assert!(judge(&roots, &Owners::of(0)).is_err(), "what is root's is to be so plainly");
}

/// In a user namespace the kernel shows one number for all whom it does not know.
#[test]
fn whom_a_namespace_does_not_know_is_the_hosts() {
    let everybody = "         0          0 4294967295\n";
    assert_eq!(outside(everybody, NOBODY), None, "here it is a user");
    assert_eq!(outside("         0       1000          1\n", NOBODY), Some(NOBODY));
    assert_eq!(outside("0 1000 1\n1 100000 65535\n", NOBODY), None, "a container's own nobody");
    assert_eq!(outside("0 1000 1\n1 100000 65533\n", NOBODY), Some(NOBODY));
    assert_eq!(outside("what is this", NOBODY), None);
    let namespaced = Owners::of(0).and_outside(Some(NOBODY));
    assert_eq!(judge(&way(&[("/", NOBODY, 0o755), ("/root", 0, 0o755)]), &namespaced), Ok(Owner::Own));
}

#[test]
fn the_way_is_walked_through_links_and_back_up() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("real/inner")).unwrap();
    fs::set_permissions(path("real"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path("real/inner"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("real/inner", path("link")).unwrap();
    symlink("loop", path("loop")).unwrap();
    let ours = ours();
    for whole in ["real/inner", "link", "link/../inner", "real/../link"] {
        assert_eq!(believe(&path(whole), &ours).unwrap(), Some(Owner::Own), "{whole}");
    }
    assert_eq!(believe(&path("real/none"), &ours).unwrap(), None);
    assert!(believe(&path("loop"), &ours).unwrap_err().to_string().contains("find the way to"));
    fs::set_permissions(path("real"), fs::Permissions::from_mode(0o777)).unwrap();
    for open in ["real/inner", "link", "link/../inner", "link/.."] {
        let problem = believe(&path(open), &ours).unwrap_err();
        assert_eq!(problem.kind, Kind::Refused);
        assert!(problem.what.contains("/real` can be written to by others"), "{open}: {}", problem.what);
        assert!(problem.help.unwrap().contains("chmod go-w"));
    }
}

/// A missing part can be put there by whoever may write to the folder.
#[test]
fn what_anybody_could_put_there_is_not_merely_absent() {
    let folder = tempdir().unwrap();
    assert_eq!(believe(&folder.path().join("none/below"), &ours()).unwrap(), None);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let problem = believe(&folder.path().join("none/below"), &ours()).unwrap_err();
    assert!(problem.what.contains("can be written to by others"), "{}", problem.what);
}

/// Defect 8: between two boots a folder's owner can put another in the place of what is below it.
#[test]
#[ignore = "needs root: tests/real/all"]
fn a_root_below_somebody_elses_folder_is_refused() {
    let Some(folder) = as_root() else { return };
    let hers = folder.path().join("hers");
    fs::create_dir_all(hers.join("awq")).unwrap();
    fs::set_permissions(hers.join("awq"), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&hers, Some(NOBODY), Some(NOBODY)).unwrap();
    let problem = Store::new(Layout::new(hers.join("awq"))).writer(Duration::ZERO, "test").unwrap_err();
    assert_eq!(problem.kind, Kind::Refused);
    assert!(problem.what.contains("/hers` belongs to user 65534"), "{}", problem.what);
    assert!(!hers.join("awq/lock").exists());
}

/// Defect 4: whoever can open a file can lock it.
#[test]
fn only_we_can_open_a_lock() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("lock");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    drop(hold(&path, FORKED, "new").unwrap());
    assert_eq!(mode(&path), 0o600);
    for old in [0o644, 0o666, 0o640, 0o604] {
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let _held = hold(&path, FORKED, "old").unwrap();
        assert_eq!(mode(&path), 0o600, "{old:o}");
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "whoever had it open could lock it still");
    }
}

/// The lock of an older version, whoever held it: nobody waits for a stranger.
#[test]
#[ignore = "needs root: tests/real/all"]
fn a_strangers_lock_holds_nobody_up() {
    let Some(folder) = as_root() else { return };
    let path = folder.path().join("lock");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut stranger = flock(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], &path);
    let held = hold(&path, FORKED, "awqdeploy recover").unwrap();
    // And they find no other way in.
    let opened = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock", "-n"])
        .arg(&path)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    assert!(!opened.unwrap().success(), "anybody can lock it still");
    drop(held);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A lock of a process that took it, and ended: its child has it.
#[test]
#[ignore = "needs root: tests/real/all"]
fn a_lock_that_a_strangers_child_holds_is_a_strangers() {
    let Some(folder) = as_root() else { return };
    let path = folder.path().join("lock");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let script = format!("exec 9< {}; flock 9; echo held; exec sleep 60", path.display());
    let mut stranger = told(Command::new("setpriv").args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ]));
    drop(hold(&path, FORKED, "awqdeploy recover").unwrap());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// An older version at work is waited for: two at once would be worse.
#[test]
fn an_older_versions_lock_is_respected_and_its_holder_is_the_one_that_holds() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("lock");
    let text = r#"{"pid":1,"command":"awqdeploy deploy awq","since":"2020-01-01T00:00:00Z"}"#;
    for mode in [0o644, 0o600] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut holder = flock(&[], &path);
        let busy = hold(&path, Duration::ZERO, "another").unwrap_err();
        assert_eq!(busy.kind, Kind::Busy);
        let named = format!("process {} (", holder.id());
        assert!(busy.what.starts_with(&named), "the text is of another holder: {}", busy.what);
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}

/// Defect 9: whoever owns one name of a file can write to all.
#[test]
fn only_a_file_that_nobody_else_can_change_gets_a_second_name() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("ours")).unwrap();
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    for (from, mode, linked) in [
        ("ours/a", 0o644, true),
        ("ours/b", 0o666, false),
        ("ours/c", 0o640, false),
        ("open/d", 0o644, false),
    ] {
        fs::write(path(from), "weights").unwrap();
        fs::set_permissions(path(from), fs::Permissions::from_mode(mode)).unwrap();
        let to = path("ours").join(format!("brought-{mode:o}-{linked}"));
        let how = reflink_or_copy(&path(from), &to).unwrap();
        let same = fs::metadata(&to).unwrap().ino() == fs::metadata(path(from)).unwrap().ino();
        assert_eq!(same, how == Transfer::Linked, "{from}");
        assert!(linked || !same, "{from} {mode:o} was linked");
        let _ = fs::remove_file(&to);
    }
    // The other way round: what is given away is a copy.
    fs::write(path("ours/blob"), "weights").unwrap();
    fs::set_permissions(path("ours/blob"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_ne!(reflink_or_copy(&path("ours/blob"), &path("open/blob")).unwrap(), Transfer::Linked);
}

#[test]
#[ignore = "needs root: tests/real/all"]
fn a_file_of_somebody_elses_is_copied_however_it_is_read() {
    let Some(folder) = as_root() else { return };
    let (from, to) = (folder.path().join("hers"), folder.path().join("ours"));
    fs::write(&from, "weights").unwrap();
    chown(&from, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_ne!(reflink_or_copy(&from, &to).unwrap(), Transfer::Linked);
    assert_eq!(fs::metadata(&to).unwrap().uid(), 0);
}

/// A copy belongs to somebody else than the file did, whose identity it must not lend.
#[test]
fn copies_of_programs_keep_no_bits_but_to_read_and_to_execute() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    for (had, gets) in [
        (0o4755, 0o755),
        (0o2755, 0o755),
        (0o777, 0o755),
        (0o775, 0o755),
        (0o700, 0o755),
        (0o666, 0o644),
        (0o600, 0o644),
    ] {
        fs::write(path("from"), "program").unwrap();
        fs::set_permissions(path("from"), fs::Permissions::from_mode(had)).unwrap();
        copy(&path("from"), &path("copied")).unwrap();
        link_or_copy(&path("from"), &path("second")).unwrap();
        assert_eq!((mode(path("copied")), mode(path("second"))), (gets, gets), "{had:o}");
        for made in ["from", "copied", "second"] {
            fs::remove_file(path(made)).unwrap();
        }
    }
}

/// A pipe in a file's place would be waited for, for ever: a model's folder may be a stranger's.
#[test]
fn a_pipe_is_neither_copied_nor_read() {
    let folder = tempdir().unwrap();
    let pipe = |name: &str| {
        let pipe = folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        pipe
    };
    let weights = pipe("model.safetensors");
    let told = |problem: Problem| {
        let said = problem.in_one_line();
        assert!(said.contains("it is no file"), "{said}");
    };
    told(copy(&weights, &folder.path().join("to")).unwrap_err());
    told(checkpoint::weights(folder.path(), Presence::Whole).unwrap_err());
    pipe("model.safetensors.index.json");
    told(checkpoint::check(folder.path()).unwrap_err());
}

/// A folder whose ancestors are root's; nothing where this test is not root.
pub(crate) fn as_root() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        skipped("to be somebody else takes root, and setpriv");
        return None;
    }
    let folder = tempdir().unwrap();
    // Nobody may look inside, as they may in most roots.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Some(folder)
}

/// A process that holds the lock of a file until it is killed.
fn flock(by: &[&str], path: &Path) -> Child {
    let words = [by, &["flock", "--no-fork", path.to_str().unwrap(), "sh", "-c", "echo held; exec sleep 60"]]
        .concat();
    told(Command::new(words[0]).args(&words[1..]))
}

/// Waits until it has said its first word.
fn told(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    child
}

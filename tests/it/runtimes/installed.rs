//! Runtimes are held against what was installed: before each start, before a stop, and by `verify`.

use crate::{
    program::{Said, awqdeploy},
    scratch::tempdir,
    stand::{FORKED, NEW, OLD, Stand, computed},
};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        activation::machine::{Activation, End, State},
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedInterpreter, Unlocked, needs::Need},
        planning::inputs::PlannedRuntime,
        problem::{Kind, Problem},
        size::ByteSize,
        store::manifest::{Entry, Manifest, Mode},
    },
    flow::{
        models::verify_at_start::{Known, verify_runtime},
        plan::prepare,
    },
    host::{
        os::signals::Interrupt,
        runtimes::installed::{self, Ready},
        store::Store,
    },
};
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

/// An interpreter, a module, its byte code, a link, an empty file.
const FILES: [(&str, &str); 4] = [
    ("bin/python3.12", "#!/bin/sh\n"),
    ("lib/python3.12/site-packages/vllm/__init__.py", "import torch\n"),
    ("lib/python3.12/site-packages/vllm/__pycache__/__init__.cpython-312.pyc", "code"),
    ("lib/python3.12/site-packages/vllm/py.typed", ""),
];

fn runtime() -> PlannedRuntime {
    let version = "3.12".to_owned();
    PlannedRuntime {
        vllm: "0.26.0".to_owned(),
        digest: Some(Sha256Digest::of("runtime")),
        command: vec!["/bin/true".to_owned()],
        python: Some(Interpreter::System { version, why: Unlocked::NotInLock }),
        needs: Vec::new(),
    }
}

/// The runtime with an interpreter in the store.
fn runtime_on_locked() -> PlannedRuntime {
    let [version, build, file] = ["3.12.16", "20261110", "cpython.tar.gz"].map(str::to_owned);
    let sha256 = Sha256Digest::of("python");
    let python = LockedInterpreter { version, build, file, sha256 };
    PlannedRuntime { python: Some(Interpreter::Locked(python)), ..runtime() }
}

fn lay_out(folder: &Path) {
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    fs::set_permissions(folder.join("bin/python3.12"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("python3.12", folder.join("bin/python")).unwrap();
}

/// Puts a runtime into the store as an installation does. Returns its folder.
fn installed_at(store: &Store, name: Sha256Digest, to: &Path) -> PathBuf {
    let writer = store.writer(FORKED, "test").unwrap();
    let staged = writer.stage("made").unwrap();
    let folder = staged.join("env");
    lay_out(&folder);
    let entries = installed::finish(&folder, &Interrupt::default(), &mut |_| ()).unwrap();
    writer.publish(Ready { staged: &folder, entries, name, to }).unwrap();
    to.to_owned()
}

fn installed(store: &Store) -> PathBuf {
    let name = Sha256Digest::of("runtime");
    installed_at(store, name, &store.layout().runtime(name))
}

fn proved(store: &Store, runtime: &PlannedRuntime, known: Known) -> Result<ByteSize, Problem> {
    let mut read = ByteSize(0);
    let see = &mut |done: ByteSize, _| read = ByteSize(read.0.max(done.0));
    verify_runtime(store, runtime, known, &Interrupt::default(), see)?;
    Ok(read)
}

fn scene() -> (tempfile::TempDir, Store) {
    let dir = tempdir().unwrap();
    let store = Store::new(awqdeploy::domain::store::layout::Layout::new(dir.path().join("root")));
    (dir, store)
}

#[test]
fn what_nobody_touched_is_not_read_again() {
    let (_dir, store) = scene();
    let folder = installed(&store);
    assert_eq!(
        proved(&store, &runtime(), Known::Stored).unwrap(),
        ByteSize(0),
        "right after it was installed"
    );
    let all: u64 = FILES.iter().map(|(_, text)| text.len() as u64).sum();
    assert_eq!(proved(&store, &runtime(), Known::Nothing).unwrap(), ByteSize(all));
    // Touched, and put back as it was: read, and right.
    let python = folder.join("bin/python3.12");
    fs::write(&python, FILES[0].1).unwrap();
    assert_eq!(proved(&store, &runtime(), Known::Stored).unwrap(), ByteSize(all));
}

/// Each kind of change that somebody could make, one at a time.
#[test]
fn every_change_is_found() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 9] = [
        ("`bin/python3.12` has another content", |folder| {
            // The length and the times as they were: only the time of change, which nobody can set, tells.
            let path = folder.join("bin/python3.12");
            let before = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "#!/bin/ed\n").unwrap();
            fs::File::open(&path).unwrap().set_modified(before).unwrap();
        }),
        ("`bin/python3.12` has 30 bytes: truncated or replaced", |folder| {
            fs::write(folder.join("bin/python3.12"), "#!/bin/sh\ntouch /tmp/it-ran-us\n".get(..30).unwrap())
                .unwrap();
        }),
        ("`bin/python` has another content", |folder| {
            fs::remove_file(folder.join("bin/python")).unwrap();
            symlink("/tmp/python", folder.join("bin/python")).unwrap();
        }),
        ("`bin/python` has another content", |folder| {
            fs::remove_file(folder.join("bin/python")).unwrap();
            fs::write(folder.join("bin/python"), "#!/bin/sh\n").unwrap();
        }),
        ("`lib/python3.12/site-packages/evil.pth` was added", |folder| {
            fs::write(folder.join("lib/python3.12/site-packages/evil.pth"), "import evil").unwrap();
        }),
        (
            "`lib/python3.12/site-packages/vllm/__pycache__/__init__.cpython-312.pyc` has another content",
            |folder| {
                fs::write(folder.join(FILES[2].0), "evil").unwrap();
            },
        ),
        ("`lib/python3.12/site-packages/vllm/py.typed` is missing", |folder| {
            fs::remove_file(folder.join(FILES[3].0)).unwrap();
        }),
        ("`lib/python3.12/site-packages/vllm/__init__.py` is a link", |folder| {
            let path = folder.join(FILES[1].0);
            fs::rename(&path, folder.join("../moved")).unwrap();
            symlink(folder.join("../moved"), &path).unwrap();
        }),
        ("`lib/python3.12/site-packages/vllm/py.typed` has another mode", |folder| {
            fs::set_permissions(folder.join(FILES[3].0), fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ];
    for (said, change) in changes {
        let (_dir, store) = scene();
        change(&installed(&store));
        let refused = proved(&store, &runtime(), Known::Stored).unwrap_err();
        assert_eq!(refused.kind, Kind::Unverified);
        assert_eq!(refused.to_string(), format!("the runtime is not what was installed: {said}"));
    }
}

/// uv locks the environment that it works on, by a file to which it lets everybody write. An earlier version left that
/// in the store, and on its record: whoever wrote to it kept the service from starting.
#[test]
fn what_anybody_may_write_to_is_no_part_of_a_runtime() {
    let (_dir, store) = scene();
    let writer = store.writer(FORKED, "test").unwrap();
    let staged = writer.stage("made").unwrap();
    lay_out(&staged);
    fs::write(staged.join(".lock"), "").unwrap();
    let modes =
        [(".lock", 0o666), ("lib", 0o777), (FILES[1].0, 0o666), (FILES[2].0, 0o600), ("bin/run", 0o4777)];
    fs::write(staged.join("bin/run"), "#!/bin/sh\n").unwrap();
    for (path, mode) in modes {
        fs::set_permissions(staged.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let entries = installed::finish(&staged, &Interrupt::default(), &mut |_| ()).unwrap();
    assert!(!entries.contains_key(Path::new(".lock")) && !staged.join(".lock").exists());
    for (path, mode) in [("lib", 0o755), (FILES[1].0, 0o644), (FILES[2].0, 0o644), ("bin/run", 0o755)] {
        assert_eq!(fs::metadata(staged.join(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
    }
    // As an earlier version left it.
    let (name, to) = (Sha256Digest::of("runtime"), store.layout().runtime(Sha256Digest::of("runtime")));
    let lock = Entry::File { sha256: Sha256Digest::of(""), size: ByteSize(0), mode: Mode::Plain };
    let entries = entries.into_iter().chain([(".lock".into(), lock)]).collect();
    writer.publish(Ready { staged: &staged, entries, name, to: &to }).unwrap();
    drop(writer);
    for left in [None, Some(""), Some("anything")] {
        if let Some(text) = left {
            fs::write(to.join(".lock"), text).unwrap();
        }
        assert_eq!(proved(&store, &runtime(), Known::Stored).unwrap(), ByteSize(0), "{left:?}");
    }
}

#[test]
fn a_record_that_was_changed_or_removed_is_no_record() {
    let (_dir, store) = scene();
    installed(&store);
    let record = store.layout().manifest(Sha256Digest::of("runtime"));
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("py.typed", "py.other")).unwrap();
    let refused = proved(&store, &runtime(), Known::Stored).unwrap_err().to_string();
    assert!(refused.ends_with("was changed since it was written"), "{refused}");
    fs::remove_file(&record).unwrap();
    let refused = proved(&store, &runtime(), Known::Stored).unwrap_err().to_string();
    assert!(refused.starts_with("there is no record of what `"), "{refused}");
    // One that an earlier version installed has none, and is known for it.
    let old = PlannedRuntime { python: None, ..runtime() };
    let proved = verify_runtime(&store, &old, Known::Stored, &Interrupt::default(), &mut |_, _| ()).unwrap();
    assert_eq!(proved.unrecorded, [store.layout().runtime(Sha256Digest::of("runtime"))]);
}

/// The interpreter of a generation is a part of it: one that changes, and one that vanishes.
#[test]
fn the_interpreter_is_proven_with_the_runtime() {
    let (_dir, store) = scene();
    installed(&store);
    let name = Sha256Digest::of("python");
    let folder = installed_at(&store, name, &store.layout().python(name));
    assert_eq!(proved(&store, &runtime_on_locked(), Known::Stored).unwrap(), ByteSize(0));
    fs::write(folder.join("bin/python3.12"), "#!/bin/ed\n").unwrap();
    let refused = proved(&store, &runtime_on_locked(), Known::Stored).unwrap_err().to_string();
    assert_eq!(refused, "the interpreter is not what was installed: `bin/python3.12` has another content");
    fs::remove_dir_all(&folder).unwrap();
    let refused = proved(&store, &runtime_on_locked(), Known::Stored).unwrap_err().to_string();
    assert_eq!(refused, format!("`{}` is gone", folder.display()));
    // That of another runtime is no concern of this one.
    proved(&store, &runtime(), Known::Stored).unwrap();
}

/// As many files as vLLM with CUDA has.
#[test]
fn a_runtime_of_30_000_files_is_known_again_in_no_time() {
    let (_dir, store) = scene();
    {
        let writer = store.writer(FORKED, "test").unwrap();
        let staged = writer.stage("made").unwrap();
        let folder = staged.join("env");
        for package in 0..150 {
            let package = folder.join(format!("lib/python3.12/site-packages/package{package}/sub"));
            fs::create_dir_all(&package).unwrap();
            (0..200).for_each(|n| fs::write(package.join(format!("module{n}.py")), "pass\n").unwrap());
        }
        let entries = installed::finish(&folder, &Interrupt::default(), &mut |_| ()).unwrap();
        let name = Sha256Digest::of("runtime");
        let to = store.layout().runtime(name);
        writer.publish(Ready { staged: &folder, entries, name, to: &to }).unwrap();
    }
    let took = (0..3).map(|_| {
        let began = computed();
        assert_eq!(proved(&store, &runtime(), Known::Stored).unwrap(), ByteSize(0));
        computed().saturating_sub(began)
    });
    // Without optimisation it takes many times as long.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 1000 });
    let least = took.min().unwrap();
    assert!(least < limit, "{least:?}");
}

/// Generation 1 serves, with a runtime of the store.
fn serving() -> (Stand, PathBuf) {
    serving_with(runtime())
}

fn serving_with(runtime: PlannedRuntime) -> (Stand, PathBuf) {
    let stand = Stand::new();
    let folder = installed(&stand.context.store);
    let mut plan = prepare(&stand.context, OLD).unwrap().plan;
    plan.runtime = runtime;
    awqdeploy::host::models::import(
        &stand.context.store.writer(FORKED, "test").unwrap(),
        &stand.context.library.lock(OLD).unwrap().unwrap(),
        Some(&stand.model(OLD)),
        &Interrupt::default(),
        &mut |_| (),
    )
    .unwrap();
    let writer = stand.context.store.writer(FORKED, "test").unwrap();
    let to = writer.add_generation(plan, "", Path::new(crate::stand::PROGRAM)).unwrap();
    writer.point(Some(to)).unwrap();
    let (_, mut journal) = writer.begin_activation().unwrap();
    journal.record(&Activation { from: None, to, state: State::Done { end: End::Committed } }).unwrap();
    drop(writer);
    (stand, folder)
}

fn said(stand: &Stand, arguments: &[&str]) -> Said {
    let root = stand.context.layout().root().to_str().unwrap().to_owned();
    let profiles = stand.path("profiles");
    let mut command = awqdeploy(&[&["--root", &root], arguments].concat());
    Said::by(command.env("AWQDEPLOY_PROFILES", profiles).env_remove("STATE_DIRECTORY"))
}

/// The attack that was tried: a line more in `bin/python` passed every proof.
#[test]
fn an_edited_interpreter_is_found_by_verify_by_the_start_and_before_the_stop() {
    let (mut stand, folder) = serving();
    let clean = said(&stand, &["verify", "--all", "--json"]).document(0);
    assert_eq!((&clean["damaged"], &clean["runtimes"][0]["by"]), (&json!([]), &json!("record")), "{clean:#}");

    fs::write(folder.join("bin/python3.12"), "#!/bin/sh\ntouch /tmp/changed-runtime-ran\n").unwrap();
    let verified = said(&stand, &["verify", "--all", "--json"]).document(4);
    let damaged = &verified["damaged"][0];
    assert_eq!(
        (&damaged["path"], &damaged["is"]),
        (&json!("bin/python3.12"), &json!("size")),
        "{verified:#}"
    );

    let start = said(&stand, &["supervise"]);
    assert_eq!(start.code, Some(4), "{}", start.stderr);
    assert!(
        start.stderr.contains("the runtime is not what was installed: `bin/python3.12`"),
        "{}",
        start.stderr
    );

    let before = stand.context.store.current().unwrap();
    let problem = stand.deploy(NEW).unwrap_err();
    assert_snapshot!(stand.plain(&render(&problem, Style::Plain)), @r"
    error: there is no rollback to generation 1 (gptq): the runtime is not what was installed: `bin/python3.12` has 41 bytes: truncated or replaced
    help: `awqdeploy verify --all --repair` installs it again; or go on without one: `--no-way-back`
    ");
    assert_eq!(stand.context.store.current().unwrap(), before);
}

/// A loss of the host's since then is found before anything is stopped, too.
#[test]
fn a_host_that_lacks_what_a_generation_needs_is_not_rolled_back() {
    let version = "3.99".to_owned();
    let (mut stand, _) =
        serving_with(PlannedRuntime { needs: vec![Need::PythonHeaders { version }], ..runtime() });
    let problem = stand.deploy(NEW).unwrap_err().to_string();
    let why = "there is no rollback to generation 1 (gptq): it needs the headers of Python 3.99, and this host has none";
    assert_eq!(problem, why);
    // And `status` says what it runs on.
    let status = said(&stand, &["status", "--json"]).document(0);
    assert_eq!(status["current"]["python"], json!({"is": "system", "version": "3.12", "why": "not-in-lock"}));
    let status = said(&stand, &["status"]).text();
    assert!(status.contains("Python 3.12 of the host, since the lock names none"), "{status}");
}

/// A runtime that nothing needs any more goes with what is recorded of it.
#[test]
fn a_collection_takes_runtimes_and_interpreters_with_their_records() {
    let (stand, folder) = serving();
    let store = &stand.context.store;
    let (other, python) = (Sha256Digest::of("other"), Sha256Digest::of("python"));
    installed_at(store, other, &store.layout().runtime(other));
    installed_at(store, python, &store.layout().python(python));
    fs::write(store.layout().manifest(Sha256Digest::of("nothing")), "").unwrap();
    let collected = said(&stand, &["gc", "--json"]).document(0);
    assert_eq!(collected["runtimes"], json!([other.to_string()]), "{collected:#}");
    assert_eq!(collected["interpreters"], json!([python.to_string()]));
    let left = awqdeploy::host::os::fs::names(&store.layout().manifests()).unwrap();
    assert_eq!(left, [Sha256Digest::of("runtime").to_string()]);
    assert!(folder.is_dir() && !store.layout().python(python).exists());
    assert_eq!(proved(store, &runtime(), Known::Stored).unwrap(), ByteSize(0), "it is known still");
    let cache = fs::read_to_string(store.layout().trees()).unwrap();
    assert!(!cache.contains(&python.to_string()), "{cache}");
}

proptest! {
    #[test]
    fn a_manifest_is_read_back_as_it_was_written(
        files in prop::collection::btree_map("[a-z .,é'\"-]{1,9}(/[a-z0-9]{1,5}){0,2}", (any::<u64>(), any::<bool>()), 0..9),
        links in prop::collection::btree_map("L[a-z]{1,9}", "[a-z./]{1,9}", 0..4),
    ) {
        let file = |(size, program): (u64, bool)| Entry::File {
            sha256: Sha256Digest::of(size.to_le_bytes()),
            size: ByteSize(size),
            mode: if program { Mode::Program } else { Mode::Plain },
        };
        let mut entries: BTreeMap<PathBuf, Entry> =
            files.into_iter().map(|(path, said)| (path.into(), file(said))).collect();
        entries.extend(links.into_iter().map(|(path, target)| (path.into(), Entry::Link { target: target.into() })));
        let manifest = Manifest::of(entries).unwrap();
        let read = Manifest::parse(Path::new("m"), &manifest.to_text()).unwrap();
        prop_assert_eq!(read.digest(), manifest.digest());
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn no_text_of_a_manifest_panics(text in any::<String>()) {
        let _ = Manifest::parse(Path::new("m"), &text);
    }
}

#[test]
fn a_name_that_would_say_more_in_a_manifest_is_refused() {
    for name in ["a\tb", "a\nlink\t/etc\t-\tb", "a\rb"] {
        let target = PathBuf::from("b");
        let entries = BTreeMap::from([(PathBuf::from(name), Entry::Link { target })]);
        assert!(Manifest::of(entries).is_err(), "{name:?}");
    }
}

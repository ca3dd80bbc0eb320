//! The interpreter that vLLM runs on: a build that the lock names, or the host's; and what else of the host it needs.

use crate::{
    program::{Said, awqdeploy},
    scratch::tempdir,
};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::Sha256Digest,
        lockfile::{
            Interpreter, Listed, LockedInterpreter, LockedRuntime, LockedWheel, Unlocked,
            needs::{Need, of_wheels},
        },
        profile::{Device, Python},
        size::ByteSize,
    },
    host::runtimes::needs::verify,
};
use insta::assert_snapshot;
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// The shipped profiles.
const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
/// A host that they fit.
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts/four-16gb.json");

fn build() -> LockedInterpreter {
    LockedInterpreter {
        version: "3.12.16".to_owned(),
        build: "20261110".to_owned(),
        file: "cpython-3.12.16+20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz".to_owned(),
        sha256: Sha256Digest::of("archive"),
    }
}

fn lock(interpreter: Option<LockedInterpreter>) -> LockedRuntime {
    LockedRuntime {
        vllm: "0.26.0".to_owned(),
        device: Device::Cuda,
        python: "3.12".to_owned(),
        platform: "x86_64-manylinux_2_31".to_owned(),
        interpreter,
        wheels: vec![LockedWheel {
            name: "vllm".to_owned(),
            version: "0.26.0".to_owned(),
            file: "vllm-0.26.0-py3-none-any.whl".to_owned(),
            size: ByteSize(7),
            sha256: Sha256Digest::of("vllm"),
            url: None,
        }],
    }
}

fn system(why: Unlocked) -> Interpreter {
    Interpreter::System { version: "3.12".to_owned(), why }
}

#[test]
fn the_profile_and_the_lock_say_what_it_runs_on() {
    let of = |interpreter, wanted| Interpreter::of(&lock(interpreter), &wanted);
    assert_eq!(of(Some(build()), Python::Locked), Interpreter::Locked(build()));
    assert_eq!(of(Some(build()), Python::System), system(Unlocked::Chosen));
    assert_eq!(of(None, Python::System), system(Unlocked::Chosen));
    assert_eq!(of(None, Python::Locked), system(Unlocked::NotInLock));
}

/// Names in the store outlive the program: those of before there were interpreters in locks stay what they were.
#[test]
fn another_interpreter_is_another_runtime() {
    let lock = lock(Some(build()));
    assert_eq!(lock.installed_for(&system(Unlocked::Chosen)), lock.digest());
    assert_eq!(
        lock.digest(),
        self::lock(None).digest(),
        "the wheels are the same, and Nix brings a Python of its own"
    );
    let other = LockedInterpreter { sha256: Sha256Digest::of("other"), ..build() };
    let names = [build(), other].map(|python| lock.installed_for(&Interpreter::Locked(python)));
    assert!(names[0] != names[1] && !names.contains(&lock.digest()));
    assert_snapshot!(names[0], @"cfd851e740b8a87b39feb2cb2b9e71b52ec24e180af80377560f82287a2844e8");
}

fn refused(from: &str, to: &str) -> String {
    let text = lock(Some(build())).to_toml();
    assert!(text.contains(from), "{text}");
    let problem = LockedRuntime::parse(Path::new("vllm.toml"), &text.replacen(from, to, 1)).unwrap_err();
    render(&problem, Style::Plain)
}

#[test]
fn a_locked_interpreter_is_one_build_and_its_archive() {
    let text = lock(Some(build())).to_toml();
    assert_eq!(LockedRuntime::parse(Path::new("vllm.toml"), &text).unwrap(), lock(Some(build())));
    assert!(refused("\"3.12.16\"", "\"3.11.16\"").contains("not a version of Python 3.12"));
    assert!(refused("\"3.12.16\"", "\"3.12\"").contains("not a version of Python 3.12"));
    assert!(refused("\"20261110\"", "\"20261111\"").contains("not the archive of this build"));
    assert!(refused(".tar.gz\"", ".zip\"").contains("not the archive of this build"));
    assert!(refused("\"20261110\"", "\"../20261110\"").contains("contains `.`"));
    assert!(refused("build =", "built =").contains("built"));
}

/// As uv 0.13.9 prints it, with another host.
#[test]
fn the_newest_build_is_the_first_that_is_plain() {
    let line = |version: &str, variant: &str, implementation: &str| {
        json!({
            "key": "k", "version": version, "path": null, "os": "linux", "variant": variant,
            "implementation": implementation, "arch": "x86_64", "libc": "gnu",
            "url": format!("https://mirror.example/download/20261110/cpython-{version}%2B20261110-x86_64.tar.gz"),
        })
    };
    let json = json!([
        line("3.12.17", "freethreaded", "cpython"),
        line("3.12.18", "default", "pypy"),
        line("3.12.16", "default", "cpython"),
        line("3.12.15", "default", "cpython"),
    ]);
    let newest = Listed::newest(&json.to_string()).unwrap();
    assert_eq!(
        newest,
        Listed {
            version: "3.12.16".to_owned(),
            build: "20261110".to_owned(),
            file: "cpython-3.12.16+20261110-x86_64.tar.gz".to_owned(),
            base: "https://mirror.example/download".to_owned(),
        }
    );
    // Of another build of before, which this uv may not list any more.
    let url = newest.url_of(&LockedInterpreter { build: "20250101".to_owned(), ..build() });
    let file = "cpython-3.12.16%2B20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz";
    assert_eq!(url, format!("https://mirror.example/download/20250101/{file}"));
    for none in ["", "[]", "{}", "[{\"version\": 1}]"] {
        assert_eq!(Listed::newest(none), None, "{none}");
    }
}

fn planned(profile: &str, lock: impl Fn(String) -> String) -> (String, serde_json::Value) {
    let folder = tempdir().unwrap();
    fs::create_dir_all(folder.path().join("runtimes")).unwrap();
    let shipped = Path::new(PROFILES);
    let text = fs::read_to_string(shipped.join("awq.toml")).unwrap();
    let text = text.replace("[runtime]\n", profile);
    fs::write(folder.path().join("awq.toml"), text).unwrap();
    fs::copy(shipped.join("gptq.toml"), folder.path().join("gptq.toml")).unwrap();
    let name = "runtimes/vllm-0.26.0.toml";
    let shipped = fs::read_to_string(shipped.join(name)).unwrap();
    fs::write(folder.path().join(name), lock(shipped)).unwrap();
    let plan = |more: &[&str]| {
        let profiles = folder.path().to_str().unwrap();
        let arguments = ["--profiles", profiles, "plan", "awq", "--facts", FACTS];
        Said::by(&mut awqdeploy(&[&arguments[..], more].concat()))
    };
    let text = plan(&[]).text();
    let rows = text.lines().filter(|line| line.contains("runs on") || line.contains("needs of"));
    let rows: Vec<String> = rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (rows.join("\n"), plan(&["--json"]).document(0))
}

#[test]
fn a_plan_names_the_interpreter_and_what_it_needs_of_the_host() {
    let (text, plan) = planned("[runtime]\n", |lock| lock);
    assert_snapshot!(text, @r"
    runs on Python 3.12.14, build 20260814, of the lock
    needs of the host glibc 2.31 or newer, a C compiler, the NVIDIA driver
    ");
    assert_eq!(
        (&plan["python"]["is"], &plan["needs"][0]),
        (&json!("locked"), &json!({"need": "glibc", "least": "2.31"}))
    );
    let (text, plan) = planned("[runtime]\npython = \"system\"\n", |lock| lock);
    assert_snapshot!(text, @r"
    runs on Python 3.12 of the host, as the profile says
    needs of the host glibc 2.31 or newer, a C compiler, the headers of Python 3.12, the NVIDIA driver
    ");
    assert_eq!(plan["python"], json!({"is": "system", "version": "3.12", "why": "chosen"}));
    // A lock of before there were interpreters in locks.
    let without = |lock: String| {
        let (head, rest) = lock.split_once("\n[interpreter]").unwrap();
        format!("{head}\n[[wheel]]{}", rest.split_once("\n[[wheel]]").unwrap().1)
    };
    let (text, _) = planned("[runtime]\n", without);
    assert_snapshot!(text, @r"
    runs on Python 3.12 of the host, since the lock names none
    needs of the host glibc 2.31 or newer, a C compiler, the headers of Python 3.12, the NVIDIA driver
    ");
}

#[test]
fn what_a_host_lacks_is_named() {
    let path = |path: &str| BTreeMap::from([("PATH".to_owned(), path.to_owned())]);
    let folder = tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let lacks = verify(&[Need::Driver, Need::Compiler], &path(empty)).unwrap_err();
    assert_eq!(lacks.to_string(), "it needs a C compiler, and this host has none");
    fs::write(folder.path().join("gcc"), "").unwrap();
    verify(&[Need::Compiler], &path(empty)).unwrap();
    let named = BTreeMap::from([("CC".to_owned(), "/nonexistent/cc".to_owned())]);
    assert!(verify(&[Need::Compiler], &named).is_err(), "the one that it is told to take is gone");
    let glibc = |least: &str| verify(&[Need::Glibc { least: least.to_owned() }], &BTreeMap::new());
    glibc("2.17").unwrap();
    let known = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    if known.is_ok_and(|known| known.status.success()) {
        let lacks = glibc("2.99").unwrap_err();
        assert_eq!(lacks.to_string(), "it needs glibc 2.99 or newer, and this host has none");
    } else {
        glibc("2.99").expect("what a host does not say is not held against it");
    }
    let headers = Need::PythonHeaders { version: "3.99".to_owned() };
    let lacks = verify(&[headers], &BTreeMap::new()).unwrap_err();
    assert_eq!(lacks.to_string(), "it needs the headers of Python 3.99, and this host has none");
}

#[test]
fn what_is_needed_of_the_host_depends_on_the_interpreter() {
    let needs = |python: &Interpreter| {
        of_wheels(&lock(None), python).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(needs(&Interpreter::Locked(build())), "glibc 2.31 or newer, a C compiler, the NVIDIA driver");
    let headers = "glibc 2.31 or newer, a C compiler, the headers of Python 3.12, the NVIDIA driver";
    assert_eq!(needs(&system(Unlocked::Chosen)), headers);
}

//! Finding profiles and locks in a folder, and in the program.

use crate::scratch::tempdir;
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        profile::{Device, Python, Runtime},
        size::ByteSize,
    },
    host::profiles::ProfileLibrary,
};
use insta::assert_snapshot;
use std::{fs, path::Path};
use tempfile::TempDir;

const LEAST: &str =
    "service = 'vllm'\n[model]\nrepo = 'owner/name'\nserved-name = 'name'\n[runtime]\nvllm = '0.26.0'\n";

/// A folder of these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn library(dir: &TempDir) -> ProfileLibrary {
    ProfileLibrary::at(dir.path().to_owned())
}

/// The problem as shown, with the folder's name made plain.
fn shown(dir: &TempDir, problem: &Problem) -> String {
    render(problem, Style::Plain).replace(dir.path().to_str().unwrap(), "DIR")
}

fn runtime(vllm: &str, device: Device) -> Runtime {
    Runtime { vllm: vllm.to_owned(), device, python: Python::Locked }
}

fn runtime_lock(vllm: &str, device: &str) -> String {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    format!(
        "version = 1\nvllm = '{vllm}'\ndevice = '{device}'\npython = '3.12'\nplatform = 'p'\n\
         [[wheel]]\nname = 'vllm'\nversion = '{vllm}'\nfile = 'vllm-{vllm}-py3-none-any.whl'\nsize = 1\nsha256 = '{hash}'\n"
    )
}

#[test]
fn a_name_finds_its_file() {
    let dir = folder(&[("b.toml", LEAST), ("a.toml", LEAST), ("locks/c.toml", ""), ("notes.md", "")]);
    assert_eq!(library(&dir).names().unwrap(), ["a", "b"]);
    assert_eq!(library(&dir).load("b").unwrap().name(), "b");
    assert_eq!(library(&dir).text("a").unwrap(), LEAST);
    assert_eq!(library(&dir).load_all().unwrap().len(), 2);
}

#[test]
fn a_path_finds_its_file_wherever_it_is() {
    let dir = folder(&[("sub/mine.toml", LEAST)]);
    let path = dir.path().join("sub/mine.toml");
    let elsewhere = ProfileLibrary::at("/nonexistent".into());
    assert_eq!(elsewhere.load(path.to_str().unwrap()).unwrap().name(), "mine");
    let problem = elsewhere.load("missing.toml").unwrap_err();
    assert_snapshot!(render(&problem, Style::Plain), @r"
    error: no file `missing.toml`
    help: give the path of a profile, or its name alone to find it among the profiles
    ");
}

#[test]
fn what_is_missing_is_said_with_what_there_is() {
    let dir = folder(&[("awq.toml", LEAST), ("gptq.toml", LEAST)]);
    assert_snapshot!(shown(&dir, &library(&dir).load("awk").unwrap_err()), @r"
    error: no profile named `awk`
    help: did you mean `awq`? there are `awq` and `gptq` in `DIR`
    ");
    assert_snapshot!(shown(&dir, &library(&dir).load("llama").unwrap_err()), @r"
    error: no profile named `llama`
    help: there are `awq` and `gptq` in `DIR`
    ");
    assert_snapshot!(shown(&dir, &library(&dir).load("lock").unwrap_err()), @r"
    error: no profile named `lock`
    help: there are `awq` and `gptq` in `DIR`
    ");
    let empty = folder(&[]);
    assert_snapshot!(shown(&empty, &library(&empty).load("awq").unwrap_err()), @r"
    error: no profile named `awq`
    help: there are no profiles in `DIR`
    ");
    let nowhere = ProfileLibrary::at("/nonexistent/profiles".into());
    assert_snapshot!(render(&nowhere.load("awq").unwrap_err(), Style::Plain), @r"
    error: no folder of profiles at `/nonexistent/profiles`
    help: `awqdeploy init OWNER/MODEL` writes a first profile there; or name another folder: `--profiles DIR`
    ");
}

#[test]
fn a_mistake_names_the_file_as_it_was_found() {
    let dir = folder(&[("awq.toml", "service = 3")]);
    let problem = library(&dir).load("awq").unwrap_err();
    assert_eq!(problem.place.as_ref().unwrap().path, dir.path().join("awq.toml"));
}

#[test]
fn runtimes_are_found_by_version_and_device() {
    let dir = folder(&[
        ("runtimes/vllm-0.26.0.toml", &runtime_lock("0.26.0", "cuda")),
        ("runtimes/vllm-0.32.0-cpu.toml", &runtime_lock("0.32.0", "cpu")),
        ("runtimes/vllm-0.30.0.toml", &runtime_lock("0.31.0", "cuda")),
    ]);
    let library = library(&dir);
    let cpu = library.locked_runtime(&runtime("0.32.0", Device::Cpu)).unwrap();
    assert_eq!((cpu.vllm.as_str(), cpu.device), ("0.32.0", Device::Cpu));
    assert!(library.locked_runtime(&runtime("0.26.0", Device::Cuda)).is_ok());
    let missing = library.locked_runtime(&runtime("0.26.0", Device::Cpu)).unwrap_err();
    assert_snapshot!(shown(&dir, &missing), @r"
    error: vLLM 0.26.0 for the CPU is not locked
    help: add `DIR/runtimes/vllm-0.26.0-cpu.toml`, or name another runtime in `[runtime]`; locked there: `vllm-0.26.0`, `vllm-0.30.0` and `vllm-0.32.0-cpu`
    ");
    let misnamed = library.locked_runtime(&runtime("0.30.0", Device::Cuda)).unwrap_err();
    assert_snapshot!(shown(&dir, &misnamed), @r"
    error: `DIR/runtimes/vllm-0.30.0.toml` locks another runtime: `vllm-0.31.0`
    help: a runtime's lock is named after the version and device in it: rename it
    ");
}

fn locked() -> LockedModel {
    let file = LockedFile::new("config.json", ByteSize(1), awqdeploy::domain::digest::Sha256Digest::of("x"));
    LockedModel::of("owner/name".into(), "main".into(), None, vec![file]).unwrap()
}

#[test]
fn each_profile_has_a_lock_once_it_is_saved() {
    let dir = folder(&[("awq.toml", LEAST), ("locks/gptq.toml", "")]);
    let library = library(&dir);
    assert_eq!(library.lock("awq").unwrap(), None);
    library
        .save_lock("awq", &locked(), |path, bytes| {
            fs::write(path, bytes).map_err(|e| Problem::doing("write", e))
        })
        .unwrap();
    assert_eq!(library.lock("awq").unwrap(), Some(locked()));
    assert_eq!(library.locked().unwrap(), ["awq", "gptq"]);
    assert_eq!(library.names().unwrap(), ["awq"]);
    let empty = library.lock("gptq").unwrap_err();
    assert_eq!(empty.place.unwrap().path, dir.path().join("locks/gptq.toml"));
}

#[test]
fn the_program_brings_profiles_along() {
    let library = ProfileLibrary::embedded();
    assert_eq!(library.names().unwrap(), ["awq", "gptq"]);
    for profile in library.load_all().unwrap() {
        let shipped = Path::new("profiles").join(format!("{}.toml", profile.name()));
        assert_eq!(library.text(profile.name()).unwrap(), fs::read_to_string(shipped).unwrap());
    }
    assert_eq!(library.lock("awq").unwrap(), None);
    let refused = library.save_lock("awq", &locked(), |_, _| unreachable!("there is no file to write"));
    assert_eq!(refused.unwrap_err().kind, Kind::Usage);
    let refused = library.load("apq").unwrap_err();
    assert_snapshot!(render(&refused, Style::Plain), @r"
    error: no profile named `apq`
    help: did you mean `awq`? there are `awq` and `gptq` in `<embedded>`
    ");
}

#[test]
fn what_is_no_text_is_refused() {
    let dir = folder(&[]);
    fs::write(dir.path().join("awq.toml"), [0x61, 0xff]).unwrap();
    assert_snapshot!(shown(&dir, &library(&dir).load("awq").unwrap_err()), @r"
    error: `DIR/awq.toml` is not UTF-8 text
    caused by: invalid utf-8 sequence of 1 bytes from index 1
    help: save it as UTF-8
    ");
    let endless = fs::File::create(dir.path().join("big.toml")).unwrap();
    endless.set_len((64 << 20) + 1).unwrap();
    assert_snapshot!(shown(&dir, &library(&dir).load("big").unwrap_err()), @r"
    error: `DIR/big.toml` is larger than 64 MiB
    help: no profile and no lock is: look whether it is the right file
    ");
}

/// A limit that would never fail, since there is nothing to compare with, is a mistake.
#[test]
fn a_baseline_is_a_profile_that_there_is() {
    let dir = tempdir().unwrap();
    let with = |name: &str, baseline: &str| {
        let text = include_str!("../../../profiles/awq.toml").replace("profile = \"gptq\"", baseline);
        fs::write(dir.path().join(name), text).unwrap();
    };
    fs::write(dir.path().join("gptq.toml"), include_str!("../../../profiles/gptq.toml")).unwrap();
    with("right.toml", "profile = \"gptq\"");
    with("typo.toml", "profile = \"gtpq\"");
    with("other.toml", "profile = \"something-else\"");
    let library = library(&dir);
    assert!(library.load_to_plan("right").is_ok());
    let typo = shown(&dir, &library.load_to_plan("typo").unwrap_err());
    assert!(typo.contains("no profile has this name") && typo.contains("typo.toml:9"), "{typo}");
    assert!(typo.contains("did you mean `gptq`?"), "{typo}");
    let other = shown(&dir, &library.load_to_plan("other").unwrap_err());
    assert!(other.contains("there are `gptq`, `right` and `typo`"), "{other}");
    // Its model can be locked before that profile is written.
    assert!(library.load("other").is_ok());
    // A file that lies elsewhere has its neighbours there.
    let path = dir.path().join("right.toml").display().to_string();
    assert!(ProfileLibrary::embedded().load_to_plan(&path).is_ok());
    assert!(ProfileLibrary::embedded().load_to_plan("awq").is_ok());
}

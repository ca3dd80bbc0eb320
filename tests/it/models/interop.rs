//! The hub's own client against the hub of these tests, so that both are known to speak the same; and
//! against what we make of a model.
//!
//! It is installed from the Python package index into `target/`. `tests/real/all` runs these tests.

use crate::{
    fetch::{Bench, LARGE, REPO, killed::program, model, same},
    skipped::skipped,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

/// The client that is installed. It speaks to the hub as of 2026.
const CLIENT: &str = "huggingface_hub==2.4.0";

/// The program `hf`; nothing where it cannot be installed.
static HF: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/huggingface_hub");
    let hf = venv.join("bin/hf");
    if hf.is_file() {
        return Some(hf);
    }
    let python = |arguments: &[&str], program: &Path| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let installed = python(&["-m", "venv", venv.to_str()?], Path::new("python3"))
        && python(&["-m", "pip", "install", "--quiet", CLIENT], &venv.join("bin/python"));
    if !installed {
        skipped(&format!("`{CLIENT}` cannot be installed here: nothing was compared with the real client"));
    }
    installed.then_some(hf)
});

fn hf(bench: &Bench, arguments: &[&str]) -> Option<Output> {
    let home = bench.root.path().join("hf");
    let mut command = Command::new(HF.as_ref()?);
    command.args(arguments).env("HF_ENDPOINT", bench.hub.endpoint()).env("HF_HOME", home);
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_TELEMETRY", "1").env_remove("HF_TOKEN");
    Some(command.output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
#[ignore = "downloads the hub's own client: tests/real/all"]
fn what_hf_downloads_we_fetch_and_its_cache_serves_us() {
    let mut bench = Bench::new();
    let folder = bench.root.path().join("downloaded");
    let Some(output) = hf(&bench, &["download", REPO, "--local-dir", folder.to_str().unwrap()]) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
    same(&folder, &model());
    bench.lock().unwrap();
    let ours = bench.fetched();
    let mut theirs: Vec<String> = names(&folder);
    theirs.retain(|name| !name.starts_with(".cache/"));
    assert_eq!(names(&ours.path), theirs, "the same files, neither more nor less");

    // Into its own cache: what is there is not downloaded again.
    assert!(hf(&bench, &["download", REPO]).unwrap().status.success());
    bench.empty();
    bench.settings.cache = Some(bench.root.path().join("hf/hub"));
    bench.hub.sent();
    assert_eq!(bench.fetched().downloaded.0, 0);
    assert_eq!(bench.hub.sent(), 0);
}

#[test]
#[ignore = "downloads the hub's own client: tests/real/all"]
fn hf_accepts_the_folder_that_we_make_and_sees_a_wrong_byte_in_it() {
    let bench = Bench::new();
    bench.lock().unwrap();
    let ours = bench.fetched();
    let verify =
        |folder: &Path| hf(&bench, &["cache", "verify", REPO, "--local-dir", folder.to_str().unwrap()]);
    let Some(output) = verify(&ours.path) else { return };
    assert!(output.status.success(), "{}", text(&output));
    let exported = bench.root.path().join("exported");
    let said = program(&bench, &["export", "awq", exported.to_str().unwrap()]).output().unwrap();
    assert!(said.status.success(), "{}", text(&said));
    same(&exported, &model());
    let strict = ["--fail-on-missing-files", "--fail-on-extra-files"];
    let verify = |folder: &Path| {
        let words = ["cache", "verify", REPO, "--local-dir", folder.to_str().unwrap()];
        hf(&bench, &[&words[..], &strict].concat()).unwrap()
    };
    let output = verify(&exported);
    assert!(output.status.success(), "{}", text(&output));

    let path = exported.join(LARGE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[12345] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let output = verify(&exported);
    assert!(!output.status.success() && text(&output).contains(LARGE), "{}", text(&output));
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

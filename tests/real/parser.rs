//! Our tables of flags and variables against the installed vLLM's own.

use super::{
    machine::{HERE, prepare},
    skipped::skipped,
};
use awqdeploy::domain::vllm::{
    env_vars,
    flags::{self, Knowledge},
    version::Version,
};
use serde::Deserialize;
use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

/// The version that `prepare` installs.
const VLLM: &str = "0.32.0";
/// The version that the shipped profiles run, for GPUs: `tests/nix/check whole` installs it.
const SHIPPED: &str = "0.26.0";
/// The versions whose Python files `prepare` brings on demand: that one, and the newest that is known.
pub(crate) const OTHERS: [&str; 2] = [SHIPPED, "0.33.0"];
/// Every flag that the plan itself may write.
const PLANNED: [&str; 12] = [
    "--served-model-name",
    "--host",
    "--port",
    "--tensor-parallel-size",
    "--max-model-len",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--gpu-memory-utilization",
    "--offload-backend",
    "--cpu-offload-gb",
    "--cpu-offload-params",
    "--disable-custom-all-reduce",
];

#[derive(Deserialize)]
struct Known {
    engine: BTreeSet<String>,
    serve: BTreeSet<String>,
    switches: BTreeSet<String>,
    variables: BTreeSet<String>,
}

#[test]
#[ignore = "needs vLLM: tests/real/all"]
fn our_tables_are_those_of_the_real_parser() {
    if !rustix::process::geteuid().is_root() {
        skipped("the real vLLM is prepared as root");
        return;
    }
    same_tables(VLLM, &known());
}

/// Those of other versions, without what needs a GPU.
#[test]
#[ignore = "on demand, with AWQDEPLOY_REAL_CLASSES=1: needs other versions of vLLM"]
fn our_tables_are_those_of_other_versions() {
    let parts = prepare();
    for version in OTHERS {
        same_tables(version, &read(&script_of(Some(version), &parts, "parsers.py", &[])));
    }
}

#[test]
#[ignore = "`tests/nix/check whole` runs it, with what it asked the build for GPUs"]
fn our_tables_are_those_of_the_build_for_gpus() {
    let file = env::var("AWQDEPLOY_KNOWN").expect("the file that tests/nix/whole.sh has written");
    same_tables(SHIPPED, &read(&fs::read_to_string(file).expect("its text")));
}

fn same_tables(vllm: &str, known: &Known) {
    let version = Version::of(vllm).expect("a version");
    let ours: BTreeSet<&str> = flags::known_to(version).collect();
    let gone: Vec<_> = ours.iter().filter(|flag| !known.serve.contains(**flag)).collect();
    assert!(gone.is_empty(), "vLLM does not know {gone:?}");
    // `--no-x` is the negation of `--x`.
    let positive = |flag: &str| flag.strip_prefix("--no-").map(|rest| format!("--{rest}"));
    let ours_too = |flag: &&String| {
        ours.contains(flag.as_str())
            || positive(flag).is_some_and(|flag| ours.contains(flag.as_str()))
            || flags::look_up(flag, version) == Knowledge::Known
    };
    let missing: Vec<_> = known.serve.iter().filter(|flag| !ours_too(flag)).collect();
    assert!(missing.is_empty(), "the table lacks {missing:?}");
    let engine: Vec<_> = known.engine.iter().filter(|flag| !ours_too(flag)).collect();
    assert!(engine.is_empty(), "the table lacks {engine:?}");
    for flag in &known.serve {
        assert_eq!(flags::is_switch(flag), known.switches.contains(flag), "whether `{flag}` takes a value");
    }
    for flag in known.switches.iter().filter(|flag| flag.starts_with("--") && !flag.starts_with("--no-")) {
        let negation = flag.replacen("--", "--no-", 1);
        let ours = ours.contains(flag.as_str()) && flags::has_negation(flag);
        assert_eq!(ours, known.switches.contains(&negation), "whether there is `{negation}`");
    }
    assert!(PLANNED.iter().all(|flag| known.serve.contains(*flag)));
    let read: BTreeSet<&str> = env_vars::read_by(version).collect();
    let named = known.variables.iter().map(String::as_str).filter(|name| name.starts_with("VLLM_"));
    assert_eq!(read, named.collect(), "envs.py");
}

fn known() -> Known {
    read(&script(&prepare(), "parsers.py", &[]))
}

/// The output of one of the scripts here, in the environment that has vLLM, and its errors after that.
pub(crate) fn script(parts: &Path, name: &str, arguments: &[&str]) -> String {
    script_of(None, parts, name, arguments)
}

/// Its output in the Python files of another version.
pub(crate) fn script_of(version: Option<&str>, parts: &Path, name: &str, arguments: &[&str]) -> String {
    let first = version.map_or("plug".to_owned(), |version| format!("classes/{version}"));
    let output = Command::new(parts.join("venv/bin/python"))
        .arg(format!("{HERE}/{name}"))
        .args(arguments)
        .env("LD_LIBRARY_PATH", parts.join("stubs"))
        .env("PYTHONPATH", parts.join(first))
        .env("TORCHDYNAMO_DISABLE", "1")
        .env("VLLM_NO_USAGE_STATS", "1")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .expect("Python starts");
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{said}{errors}")
}

/// The output of the script: one line beside what vLLM logs.
fn read(said: &str) -> Known {
    let line = said.lines().find_map(|line| line.strip_prefix("known "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{said}"))).expect("the script prints JSON")
}

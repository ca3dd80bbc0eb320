//! Our tables of flags and variables against the installed vLLM's own.

use crate::machine::{HERE, prepare, tell};
use awqdeploy::domain::{flags, variables, version::Version};
use serde::Deserialize;
use std::{collections::BTreeSet, process::Command};

/// What `prepare` installs.
const VLLM: &str = "0.32.0";
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
    variables: BTreeSet<String>,
}

#[test]
fn our_tables_are_those_of_the_real_parser() {
    if !rustix::process::geteuid().is_root() {
        tell("SKIPPED: the real vLLM is prepared as root");
        return;
    }
    let known = known();
    let version = Version::of(VLLM).expect("a version");
    let ours: BTreeSet<&str> = flags::known_to(version).collect();
    let gone: Vec<_> = ours.iter().filter(|flag| !known.serve.contains(**flag)).collect();
    assert!(gone.is_empty(), "vLLM does not know {gone:?}");
    // `--no-x` is the negation of `--x`.
    let positive = |flag: &str| flag.strip_prefix("--no-").map(|rest| format!("--{rest}"));
    let ours_too = |flag: &&String| {
        ours.contains(flag.as_str()) || positive(flag).is_some_and(|flag| ours.contains(flag.as_str()))
    };
    let missing: Vec<_> = known.serve.iter().filter(|flag| !ours_too(flag)).collect();
    assert!(missing.is_empty(), "the table lacks {missing:?}");
    let engine: Vec<_> = known.engine.iter().filter(|flag| !ours_too(flag)).collect();
    assert!(engine.is_empty(), "the table lacks {engine:?}");
    assert!(PLANNED.iter().all(|flag| known.serve.contains(*flag)));
    let read: BTreeSet<&str> = variables::read_by(version).collect();
    let named = known.variables.iter().map(String::as_str).filter(|name| name.starts_with("VLLM_"));
    assert_eq!(read, named.collect(), "envs.py");
}

fn known() -> Known {
    let parts = prepare();
    let output = Command::new(parts.join("venv/bin/python"))
        .arg(format!("{HERE}/parsers.py"))
        .env("LD_LIBRARY_PATH", parts.join("stubs"))
        .env("PYTHONPATH", parts.join("plug"))
        .env("TORCHDYNAMO_DISABLE", "1")
        .env("VLLM_NO_USAGE_STATS", "1")
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("known "));
    let line = line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).expect("the script prints JSON")
}

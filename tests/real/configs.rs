//! Each configuration that vLLM's own classes accept we read, or say that it is not modelled.

use super::{
    as_vllm::{Answer, all, differences},
    machine::{HERE, prepare},
    parser::{OTHERS, script_of},
    skipped::skipped,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Read {
    name: String,
    vllm: Answer,
}

/// `tests/it/checkpoint` holds ours against what is recorded: here that is held against the real one.
#[test]
#[ignore = "needs vLLM: tests/real/all"]
fn configurations_are_read_as_the_real_vllm_reads_them() {
    if !rustix::process::geteuid().is_root() {
        skipped("the real vLLM is prepared as root");
        return;
    }
    let mut wrong = Vec::new();
    for (found, read) in all().iter().zip(&read_by(None)) {
        assert_eq!(found.name, read.name);
        if found.vllm != read.vllm {
            wrong.push(format!("{}: recorded {:?}, is {:?}", found.name, found.vllm, read.vllm));
        }
        wrong.extend(differences(found, &read.vllm));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The version of the shipped profiles, and the newest: what they make of the same configurations.
#[test]
#[ignore = "on demand, with AWQDEPLOY_REAL_CLASSES=1: needs other versions of vLLM, and minutes"]
fn configurations_are_read_as_other_versions_read_them() {
    for version in OTHERS {
        let read = read_by(Some(version));
        let wrong: Vec<_> =
            all().iter().zip(&read).flat_map(|(found, read)| differences(found, &read.vllm)).collect();
        assert!(wrong.is_empty(), "vLLM {version}:\n{}", wrong.join("\n"));
    }
}

/// The answers of the classes of this version, or of the installed one.
fn read_by(version: Option<&str>) -> Vec<Read> {
    let file = format!("{HERE}/../fixtures/wild/configs.json");
    let said = script_of(version, &prepare(), "configs.py", &[&file]);
    let read: Vec<Read> =
        said.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("read ")?).ok()).collect();
    assert_eq!(read.len(), all().len(), "{said}");
    read
}

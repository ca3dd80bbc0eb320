//! Each configuration that vLLM's own classes accept we read, or say that it is not modelled.

use super::{
    as_vllm::{Answer, all, differences},
    machine::{HERE, prepare},
    parser::script,
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
    let parts = prepare();
    let file = format!("{HERE}/../fixtures/wild/configs.json");
    let said = script(&parts, "configs.py", &[&file]);
    let read: Vec<Read> =
        said.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("read ")?).ok()).collect();
    let found = all();
    assert_eq!(read.len(), found.len(), "{said}");
    let mut wrong = Vec::new();
    for (found, read) in found.iter().zip(&read) {
        assert_eq!(found.name, read.name);
        if found.vllm != read.vllm {
            wrong.push(format!("{}: recorded {:?}, is {:?}", found.name, found.vllm, read.vllm));
        }
        wrong.extend(differences(found, &read.vllm));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

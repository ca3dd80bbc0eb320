//! Plans as others reported them: sequences that wait, pinned memory, the runner of layers in RAM.

use super::families::checkpoint;
use crate::inputs::{AWQ, h100, plan_of, profile};
use awqdeploy::domain::{machine::facts::Facts, planning::memory::Budget, size::ByteSize};

/// So many H100 that have this much VRAM.
fn cards(count: usize, gib: f64) -> Facts {
    let mut facts = h100();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let memory = ByteSize((gib * f64::from(1 << 30)) as u64);
    let gpu = &mut facts.gpus[0];
    (gpu.memory_total, gpu.memory_reserved, gpu.memory_free) = (memory, ByteSize(0), memory);
    facts.gpus = vec![facts.gpus[0].clone(); count];
    facts.ram_total = ByteSize::gib(256);
    facts
}

fn settings(version: &str, ranks: usize, share: f64, limits: [u32; 3]) -> String {
    let [length, sequences, tokens] = limits;
    AWQ.replace("0.26.0", version)
        .replace("size = 4", &format!("size = {ranks}"))
        .replace("gpu = \"16GiB\"", &format!("gpu-memory-utilization = {share}"))
        + &format!(
            "[limits]\nmax-model-len = {length}\nmax-num-seqs = {sequences}\nmax-num-batched-tokens = {tokens}\n"
        )
}

#[test]
fn more_sequences_than_fit_wait() {
    let text = settings("0.26.0", 1, 0.9, [32_768, 16, 2048]);
    let plan = plan_of(&text, &cards(1, 23.53), Some(checkpoint("qwen3-30b-a3b-awq"))).unwrap();
    assert_eq!(plan.memory.offload, ByteSize(0), "nothing is moved to RAM for sequences that may wait");
    assert!(plan.findings.iter().any(|finding| finding.code == "sequences-wait"));
}

#[test]
fn pinned_memory_is_rounded_up_to_powers_of_two() {
    let text =
        settings("0.26.0", 1, 0.9, [4096, 1, 2048]).replace("[memory]", "[memory]\noffload = \"12GiB\"");
    for (name, factor) in [("qwen3-30b-a3b-awq", 1.333), ("mixtral-8x7b-awq", 1.143)] {
        let budget = Budget::of(&checkpoint(name), &profile(&text), &cards(1, 79.0), 1);
        // Beside it 4 GiB of processes, and a layer that exists twice while it is repacked.
        let pinned = budget.ram.as_gib() - 4.0;
        assert!((12.0 * factor - 0.2..12.0 * factor + 0.9).contains(&pinned), "{name}: {pinned}");
    }
}

#[test]
fn dense_layers_in_ram_are_served_by_the_runner_that_keeps_them_there() {
    let variable = "VLLM_USE_V2_MODEL_RUNNER";
    let planned = |name: &str, version: &str| {
        let text =
            settings(version, 1, 0.9, [4096, 1, 2048]).replace("[memory]", "[memory]\noffload = \"8GiB\"");
        plan_of(&text, &cards(1, 79.0), Some(checkpoint(name))).unwrap().serve.env.get(variable).cloned()
    };
    assert_eq!(planned("llama31-8b-bf16", "0.26.0").as_deref(), Some("0"));
    assert_eq!(planned("llama31-8b-bf16", "0.28.0"), None);
    assert_eq!(planned("qwen3-30b-a3b-awq", "0.26.0"), None);
}

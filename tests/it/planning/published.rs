//! Plans beside what others published of the same model, GPU and settings, and every rule on every family.

use crate::inputs::{AWQ, h100, plan_of, profile};
use awqdeploy::domain::{
    checkpoint::Checkpoint, machine::facts::Facts, planning::memory::Budget, size::ByteSize,
};

const FAMILIES: [(&str, &str); 12] = [
    ("llama31-8b-bf16", include_str!("../../fixtures/published/llama31-8b-bf16.json")),
    ("qwen3-4b-awq", include_str!("../../fixtures/published/qwen3-4b-awq.json")),
    ("qwen25-32b-bf16", include_str!("../../fixtures/published/qwen25-32b-bf16.json")),
    ("qwen25-32b-awq", include_str!("../../fixtures/published/qwen25-32b-awq.json")),
    ("qwen25-32b-fp8", include_str!("../../fixtures/published/qwen25-32b-fp8.json")),
    ("qwen3-30b-a3b-awq", include_str!("../../fixtures/published/qwen3-30b-a3b-awq.json")),
    ("qwen3-235b-a22b-gptq", include_str!("../../fixtures/published/qwen3-235b-a22b-gptq.json")),
    ("mixtral-8x7b-awq", include_str!("../../fixtures/published/mixtral-8x7b-awq.json")),
    ("gpt-oss-20b", include_str!("../../fixtures/published/gpt-oss-20b.json")),
    ("gemma3-27b-bf16", include_str!("../../fixtures/published/gemma3-27b-bf16.json")),
    ("deepseek-v2-lite", include_str!("../../fixtures/published/deepseek-v2-lite.json")),
    ("qwen36-35b-a3b-bf16", include_str!("../../fixtures/published/qwen36-35b-a3b-bf16.json")),
];

fn checkpoint(name: &str) -> Checkpoint {
    let (_, config) = FAMILIES.iter().find(|(family, _)| *family == name).unwrap();
    Checkpoint::of(config, Some(ByteSize::gib(20))).unwrap()
}

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

/// Model, VRAM, ranks, share, vLLM, context, sequences, batched tokens; published weights and cache in GiB.
type Case = (&'static str, f64, usize, f64, &'static str, [u32; 3], f64, f64);

const PUBLISHED: [Case; 5] = [
    // vLLM PR 10511.
    ("llama31-8b-bf16", 79.22, 1, 0.9, "0.26.0", [8192, 1, 8192], 14.96, 53.29),
    // vLLM issue 10517.
    ("llama31-8b-bf16", 23.58, 1, 0.9, "0.26.0", [20_000, 1, 20_000], 14.99, 3.81),
    // vLLM PR 57047; its weights are not published.
    ("qwen3-4b-awq", 47.37, 1, 0.85, "0.26.0", [2048, 1, 8192], 2.48, 36.88),
    // A public log of two L40S, with 10,000 batched tokens.
    ("qwen25-32b-bf16", 44.42, 2, 0.9, "0.11.0", [10_000, 1, 10_000], 30.71, 7.71),
    // vLLM's default of 256 sequences: a cache of 0.54 to 0.58 GiB, too small for 4,096 tokens.
    ("qwen25-32b-awq", 23.53, 1, 0.9, "0.26.0", [2048, 256, 2048], 18.14, 0.58),
];

#[test]
fn weights_and_cache_are_what_others_published() {
    for (name, gib, ranks, share, version, limits, weights, cache) in PUBLISHED {
        let facts = cards(ranks, gib);
        let profile = profile(&settings(version, ranks, share, limits));
        let budget = Budget::of(&checkpoint(name), &profile, &facts, u32::try_from(ranks).unwrap());
        let (found, left) = (budget.weights.unwrap().as_gib(), budget.kv_cache.unwrap().as_gib());
        assert!((found / weights - 1.0).abs() < 0.015, "{name}: {found} GiB of weights, published {weights}");
        // A tenth, or the tenth of a GiB to which such a log is rounded and repeated.
        assert!(
            (left - cache).abs() < (cache / 10.0).max(0.3),
            "{name}: a cache of {left} GiB, published {cache}"
        );
    }
}

/// Qwen3-235B in FP8 on four H100 with vLLM's own 1,024 sequences, whose sampler takes 3.7 GiB (vLLM issue 21348).
#[test]
fn the_sampler_of_many_sequences_is_counted() {
    let (_, config) = FAMILIES.iter().find(|(family, _)| *family == "qwen3-235b-a22b-gptq").unwrap();
    let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
    config["quantization_config"] =
        serde_json::json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    let checkpoint = Checkpoint::of(&config.to_string(), Some(ByteSize::mib(4 * 56_443))).unwrap();
    let mut facts = cards(4, 79.18);
    facts.gpus.iter_mut().for_each(|gpu| gpu.nvlinks = 18);
    let profile = profile(&settings("0.11.0", 4, 0.9, [40_960, 1024, 8192]));
    let left = Budget::of(&checkpoint, &profile, &facts, 4).kv_cache.unwrap().as_gib();
    assert!((left / 8.11 - 1.0).abs() < 0.1, "a cache of {left} GiB, published 8.11");
}

#[test]
fn a_start_that_failed_for_others_is_tight_or_refused() {
    for sequences in [1, 256] {
        let text = settings("0.26.0", 1, 0.9, [4096, sequences, 2048]);
        match plan_of(&text, &cards(1, 23.53), Some(checkpoint("qwen25-32b-awq"))) {
            Ok(plan) => assert!(plan.findings.iter().any(|finding| finding.code.starts_with("tight"))),
            Err(refusal) => assert_eq!(refusal.code, "does-not-fit"),
        }
    }
}

#[test]
fn more_sequences_than_fit_wait() {
    let text = settings("0.26.0", 1, 0.9, [32_768, 16, 2048]);
    let plan = plan_of(&text, &cards(1, 23.53), Some(checkpoint("qwen3-30b-a3b-awq"))).unwrap();
    assert_eq!(plan.memory.offload, ByteSize(0), "nothing is moved to RAM for sequences that may wait");
    assert!(plan.findings.iter().any(|finding| finding.code == "sequences-wait"));
}

#[test]
fn no_rule_asks_of_what_a_family_does_not_have() {
    for (name, _) in FAMILIES {
        let parts = ["gdn-gates-without-kernel", "shared-expert-without-kernel", "shared-expert-not-found"];
        for version in ["0.11.0", "0.22.1", "0.26.0"] {
            let planned = plan_of(
                &settings(version, 2, 0.9, [4096, 1, 2048]),
                &cards(2, 139.0),
                Some(checkpoint(name)),
            );
            if let Err(refusal) = planned {
                let hybrid = name.starts_with("qwen36");
                assert!(
                    hybrid || !parts.contains(&refusal.code.as_str()),
                    "{name}, {version}: {}",
                    refusal.message
                );
            }
        }
    }
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

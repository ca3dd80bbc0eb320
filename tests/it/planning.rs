//! docs/planning.md: its table of planned against measured is what the program computes, within what it says.

use crate::inputs::{AUTO, awq, h100, plan_of};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, known_config},
    memory::Paging,
    prediction::{self, Rates, Traffic},
    rules::RULES,
    size::Bytes,
};
use serde_json::{Value, json};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../docs/planning.md");

fn checkpoint(quantization: Value) -> Checkpoint {
    let mut config: Value =
        serde_json::from_str(known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap()).unwrap();
    config["quantization_config"] = quantization;
    Checkpoint::of(&config.to_string(), None).unwrap()
}

/// The three checkpoints that were measured, as they were written for it.
fn measured() -> [Checkpoint; 3] {
    let a = json!({"quant_method": "compressed-tensors",
        "ignore": ["lm_head", "re:.*gate$", "re:.*in_proj_ba$"],
        "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 4, "group_size": 32, "symmetric": true}}}});
    // Its dense layers had stayed in 16 bits.
    let b = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true,
        "dynamic": {"-:.*(self_attn|linear_attn|shared_expert).*": {}}});
    let c = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true,
        "modules_to_not_convert": ["mlp.gate", "shared_expert_gate", "linear_attn.in_proj_ba", "lm_head"]});
    [a, b, c].map(checkpoint)
}

/// A row of the table. `within` is the difference in percent that the figure may have.
fn row(
    configuration: &str,
    figure: &str,
    [planned, measured]: [f64; 2],
    digits: usize,
    within: f64,
) -> String {
    let difference = (planned / measured - 1.0) * 100.0;
    assert!(difference.abs() <= within, "{configuration}, {figure}: {planned} against {measured}");
    format!("| {configuration} | {figure} | {planned:.digits$} | {measured:.digits$} | {difference:+.1} % |")
}

fn rows() -> Vec<String> {
    let [a, b, c] = measured();
    let gib = |checkpoint: &Checkpoint| checkpoint.weights(1).unwrap().as_gib();
    let weights = "weights, GiB";
    let tokens = Paging::of(a.shape.as_ref().unwrap(), 1).unwrap();
    let tokens = tokens.tokens(Bytes(29_050 * Bytes::gib(1).0 / 1000), 4096);
    let resident = awq(AUTO.0, AUTO.1).replace("gpu = \"16GiB\"", "");
    let decode = |checkpoint: Checkpoint| {
        plan_of(&resident, &h100(), Some(checkpoint)).unwrap().prediction.expected().unwrap()
    };
    // 35.2 of 48 layers lay in RAM, in vLLM's default order: 88.8 MB of each for a token.
    let rates = Rates { memory: 3.35e12 * 0.88, link: 49.3e9, fixed: Duration::from_micros(4_100) };
    let traffic = Traffic { resident: Bytes(1_760_000_000), linked: Bytes(3_120_000_000) };
    let offloaded = prediction::steps_per_second(traffic, rates);
    vec![
        row("A, compressed-tensors g32", weights, [gib(&a), 42.70], 2, 2.0),
        row("A, 33 GiB offloaded", "weights in VRAM and RAM, GiB", [gib(&a), 9.93 + 33.0], 2, 2.0),
        row(
            "B, gptq g128, dense layers in 16 bits, 29.5 GiB offloaded",
            "weights in VRAM and RAM, GiB",
            [gib(&b), 12.46 + 29.5],
            2,
            2.0,
        ),
        row("C, awq g128", weights, [gib(&c), 39.55], 2, 2.0),
        row("A, 29.05 GiB of cache", "KV cache, tokens", [tokens as f64, 868_352.0], 0, 5.0),
        row("A, resident", "decode, tokens/s", [decode(a), 199.6], 1, 5.0),
        row("B, 29.5 GiB offloaded", "decode, tokens/s", [offloaded, 14.56], 2, 5.0),
        row("C, resident, beside two idle servers", "decode, tokens/s", [decode(c), 167.6], 1, 25.0),
    ]
}

#[test]
fn the_table_of_planned_against_measured_is_computed() {
    let rows = rows();
    let missing: Vec<_> = rows.iter().filter(|row| !DOCUMENT.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/planning.md lacks, or has otherwise:\n{}", rows.join("\n"));
}

#[test]
fn the_document_names_every_rule() {
    let row = |rule: &awqdeploy::domain::rules::Rule| {
        format!("| {} | `{}` | {} | {} |", rule.number, rule.code, rule.severity, rule.condition)
    };
    let rows: Vec<_> = RULES.iter().map(row).collect();
    let missing = rows.iter().any(|row| !DOCUMENT.contains(row.as_str()));
    assert!(!missing, "docs/planning.md lacks a rule; all of them are:\n{}", rows.join("\n"));
}

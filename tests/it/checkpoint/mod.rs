//! Checkpoints: the arithmetic of vLLM's shards against the values that were computed, and
//! measured, elsewhere.

mod architecture;
mod found;
pub(crate) mod safetensors;

use awqdeploy::domain::{
    checkpoint::{Checkpoint, architecture::LayerKind, known_config, tensors::Class},
    size::ByteSize,
};
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

const AWQ: &str = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
const GPTQ: &str = "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ";

/// The dimensions of Qwen3-Next-80B with this quantisation.
fn config(quantization: Option<Value>) -> String {
    let mut config: Value = serde_json::from_str(known_config(AWQ).unwrap()).unwrap();
    config["quantization_config"] = quantization.unwrap_or(Value::Null);
    config.to_string()
}

fn compressed(group_size: u32, ignore: &[&str]) -> Value {
    json!({
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ignore,
        "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
            "weights": {"num_bits": 4, "group_size": group_size, "symmetric": true, "type": "int"}}},
    })
}

fn gib(config: &str, ranks: u32) -> f64 {
    let checkpoint = Checkpoint::of(config, None).unwrap();
    checkpoint.weights(ranks).unwrap().as_gib()
}

const DENSE: [&str; 2] = [r"re:.*mlp\.gate$", r"re:.*mlp\.shared_expert_gate$"];

#[test]
fn weights_per_rank_are_those_of_the_published_arithmetic() {
    let experts_only =
        [&DENSE[..], &["lm_head", "re:.*self_attn.*", "re:.*linear_attn.*", r"re:.*shared_expert\..*"]]
            .concat();
    let all_linear = [&DENSE[..], &["lm_head"]].concat();
    let experts_and_attention =
        [&DENSE[..], &["lm_head", "re:.*linear_attn.*", r"re:.*shared_expert\..*"]].concat();
    for (ignore, group_size, expected) in [
        (&experts_only, 32, ["44.91", "22.50", "11.31"]),
        (&experts_only, 128, ["41.53", "20.81", "10.46"]),
        (&all_linear, 32, ["42.64", "21.37", "10.73"]),
        (&all_linear, 128, ["39.19", "19.64", "9.87"]),
        (&experts_and_attention, 32, ["44.47", "22.28", "11.19"]),
        (&experts_and_attention, 128, ["41.08", "20.59", "10.34"]),
    ] {
        let config = config(Some(compressed(group_size, ignore)));
        let found = [1, 2, 4].map(|ranks| format!("{:.2}", gib(&config, ranks)));
        assert_eq!(found, expected, "g{group_size} without {ignore:?}");
    }
}

#[test]
fn weights_are_those_that_a_gpu_logged() {
    // vLLM 0.26.0 logged 42.70 and 39.55 GiB for these two; the arithmetic without loading overhead
    // is 42.65 and 39.48.
    let compressed = compressed(32, &[&DENSE[..], &["lm_head", "re:.*in_proj_ba$"]].concat());
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true,
        "modules_to_not_convert": ["mlp.gate", "shared_expert_gate", "linear_attn.in_proj_ba", "lm_head"]});
    for (quantization, computed, logged) in [(compressed, 42.65, 42.70), (awq, 39.48, 39.55)] {
        let found = gib(&config(Some(quantization)), 1);
        assert!((found - computed).abs() < 0.015, "{found} GiB against {computed}");
        assert!((found / logged - 1.0).abs() < 0.002, "{found} GiB against {logged}");
    }
}

#[test]
fn the_known_awq_adds_up_to_its_published_tensors_to_the_byte() {
    let checkpoint = Checkpoint::known(AWQ).unwrap();
    // On disk each packed matrix has a `weight_shape` of two 64-bit numbers beside it, which vLLM
    // does not keep.
    let packed = 48 * 512 * 3 + 12 * 4 + 36 * 2;
    assert_eq!(checkpoint.weights(1).unwrap() + ByteSize(16 * packed), ByteSize(46_010_957_184));
}

#[test]
fn known_repositories_have_a_shape_and_others_do_not() {
    let gptq = Checkpoint::known(GPTQ).unwrap();
    assert_eq!(gptq.quantization.as_ref().unwrap().method, "gptq");
    assert!((gib(known_config(GPTQ).unwrap(), 1) - 39.2).abs() < 0.01);
    let shape = gptq.shape.as_ref().unwrap();
    assert_eq!((shape.count(LayerKind::Full), shape.count(LayerKind::Linear)), (12, 36));
    assert!(Checkpoint::known("someone/else").is_none());
}

#[test]
fn what_a_method_leaves_out_stays_in_sixteen_bits() {
    let gptq = |more: Value| {
        let mut config = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let attention = |quantization: Value| {
        let checkpoint = Checkpoint::of(&config(Some(quantization)), None).unwrap();
        checkpoint.tensors.unwrap().bytes_of(Class::Attention, 1).0
    };
    let whole = 2 * (226_492_416 + 100_663_296);
    let packed = whole / 4 + whole / 128;
    assert_eq!(attention(gptq(json!({}))), packed);
    assert_eq!(
        attention(gptq(json!({"dynamic": {r"+:.*self_attn.*": {"bits": 8}}}))),
        whole / 2 + whole / 128
    );
    assert_eq!(
        attention(gptq(json!({"modules_in_block_to_quantize": [["mlp.shared_expert.up_proj"]]}))),
        whole
    );
    let auto_round = json!({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": true,
        "extra_config": {r".*self_attn\.[qkvo]_proj": {"bits": 16}}});
    assert_eq!(attention(auto_round), whole);
}

#[test]
fn of_several_patterns_the_first_that_matches_decides() {
    let attention = |dynamic: &str| {
        let config =
            config(Some(json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": "HERE"})));
        let config = config.replace(r#""HERE""#, dynamic);
        let checkpoint = Checkpoint::of(&config, None).unwrap();
        checkpoint.tensors.unwrap().bytes_of(Class::Attention, 1).0
    };
    let whole = 2 * (226_492_416 + 100_663_296);
    // Patterns may look ahead as Python's can.
    let left_out = r#""-:.*[.](?!linear)self_attn[.].*": {}"#;
    let eight = r#""+:.*attn.*": {"bits": 8}"#;
    assert_eq!(attention(&format!("{{{left_out}, {eight}}}")), whole);
    assert_eq!(attention(&format!("{{{eight}, {left_out}}}")), whole / 2 + whole / 128);
}

#[test]
fn other_architectures_and_methods_are_told_by_their_files() {
    let llama = r#"{"architectures": ["FalconForCausalLM"], "num_experts": "none of them"}"#;
    let checkpoint = Checkpoint::of(llama, Some(ByteSize::gib(8))).unwrap();
    assert!(checkpoint.shape.is_none());
    assert_eq!(checkpoint.weights(4), Some(ByteSize::gib(2)));
    assert_eq!(Checkpoint::of(llama, None).unwrap().weights(1), None);
    let exotic = config(Some(json!({"quant_method": "nvfp4_next", "bits": "four"})));
    let checkpoint = Checkpoint::of(&exotic, Some(ByteSize::gib(40))).unwrap();
    assert_eq!(checkpoint.weights(1), Some(ByteSize::gib(40)));
    assert_eq!(checkpoint.experts(1), None);
}

fn problem(config: &str) -> String {
    Checkpoint::of(config, None).unwrap_err().to_string()
}

#[test]
fn a_broken_configuration_is_named() {
    let mut config: Value = serde_json::from_str(&config(None)).unwrap();
    config["head_dim"] = json!(256);
    config["num_experts"] = json!(u64::MAX);
    config["vocab_size"] = json!(0);
    assert_snapshot!(problem(&config.to_string()), @"`config.json` of a Qwen3-Next says `vocab_size` = 0, `num_experts` = 18446744073709551615");
    assert_snapshot!(problem("{}"), @"`config.json` lacks `architectures`");
    assert_snapshot!(problem("{"), @"cannot read the model's `config.json`");
    let no_bits = super::checkpoint::config(Some(json!({"quant_method": "awq"})));
    assert_snapshot!(problem(&no_bits), @"`config.json` lacks `quantization_config.bits`");
}

proptest! {
    #[test]
    fn shards_hold_the_whole_and_more_ranks_never_hold_more_each(ranks in 1u32..=16, group in prop::sample::select(vec![32u32, 64, 128])) {
        let checkpoint = Checkpoint::of(&config(Some(compressed(group, &DENSE))), None).unwrap();
        let whole = checkpoint.weights(1).unwrap();
        let shard = checkpoint.weights(ranks).unwrap();
        prop_assert!(shard <= whole);
        // Replicated parts may add to the whole; rounding a tensor down loses less than a byte per
        // tensor and rank.
        prop_assert!(shard.0 * u64::from(ranks) + 1_000_000 * u64::from(ranks) >= whole.0);
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"\{"architectures": \["Qwen3NextForCausalLM"\](, "[a-z_]{1,20}": [0-9]{1,25}){0,5}\}"#) {
        let _ = Checkpoint::of(&text, None);
    }
}

//! Architectures: their weights against the published numbers of parameters, and their caches.

use crate::inputs::{AUTO, awq, facts, plan_of};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, tensors::Class},
    planning::memory::Paging,
    size::ByteSize,
};
use insta::assert_snapshot;
use serde_json::{Value, json};

const LLAMA_8B: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": false}"#;
const QWEN2_7B: &str = r#"{"architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "tie_word_embeddings": false}"#;
const QWEN3_8B: &str = r#"{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 4096, "intermediate_size": 12288,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false}"#;
const QWEN3_30B: &str = r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
    "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false}"#;
const MIXTRAL: &str = r#"{"architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
    "tie_word_embeddings": false}"#;

fn checkpoint(config: &str) -> Checkpoint {
    Checkpoint::of(config, None).unwrap()
}

#[test]
fn weights_are_the_published_parameters_in_sixteen_bits() {
    for (config, parameters) in [
        (LLAMA_8B, 8_030_261_248),
        (QWEN2_7B, 7_615_616_512),
        (QWEN3_8B, 8_190_735_360),
        (QWEN3_30B, 30_532_122_624),
        (MIXTRAL, 46_702_792_704_u64),
    ] {
        assert_eq!(checkpoint(config).weights(1), Some(ByteSize(2 * parameters)), "{config}");
    }
}

#[test]
fn a_tied_head_is_counted_once() {
    let tied = LLAMA_8B.replace(r#"embeddings": false"#, r#"embeddings": true"#);
    let saved = checkpoint(LLAMA_8B).weights(1).unwrap().less(checkpoint(&tied).weights(1).unwrap());
    assert_eq!(saved, ByteSize(2 * 128_256 * 4096));
}

#[test]
fn the_cache_of_full_attention_has_blocks_of_sixteen_tokens() {
    // 128 KiB a token for Llama 3 8B: 2 (key, value) × 8 heads × 128 × 2 bytes × 32 layers.
    for (ranks, token) in [(1, 128 << 10), (2, 64 << 10), (8, 16 << 10), (16, 16 << 10)] {
        let paging = Paging::of(checkpoint(LLAMA_8B).shape.as_ref().unwrap(), ranks).unwrap();
        assert_eq!((paging.block_tokens, paging.block), (16, ByteSize(16 * token)), "TP {ranks}");
        assert_eq!(paging.tokens(ByteSize(8192 * token), 8192), 8192);
        assert_eq!(paging.tokens(ByteSize(8192 * token - 1), 8192), 8192 - 16, "a block less");
    }
}

#[test]
fn a_dense_model_is_planned_without_offload() {
    let text = awq(AUTO.0, AUTO.1);
    let plan = plan_of(&text, &facts("four-16gb"), Some(checkpoint(LLAMA_8B))).unwrap();
    assert_eq!((plan.memory.tensor_parallel_size, plan.memory.offload), (4, ByteSize(0)));
    assert!(plan.findings.iter().all(|finding| finding.code != "architecture-not-modelled"));
    let refusal = plan_of(&text, &facts("one-16gb"), Some(checkpoint(LLAMA_8B))).unwrap_err();
    assert_snapshot!(refusal.message, @"with TP 1 2.5 GiB of VRAM are missing, with nothing that can be offloaded: weights 15.0 GiB, overhead 944.0 MiB, KV cache 1.0 GiB do not fit into 14.4 GiB, beside which vLLM takes 544.0 MiB");
    let fixed = text.replace("[memory]", "[memory]\noffload = \"12GiB\"");
    let plan = plan_of(&fixed, &facts("one-16gb"), Some(checkpoint(LLAMA_8B))).unwrap();
    assert!(
        plan.serve.argv.iter().all(|word| word != "--cpu-offload-params"),
        "there are no experts to name"
    );
    let decode = plan.prediction.decode_tokens_per_second.unwrap();
    assert!(decode.expected < 2.5 && decode.ceiling > decode.expected, "12 GiB for each token: {decode:?}");
}

#[test]
fn a_sparse_model_offloads_its_experts() {
    let checkpoint = checkpoint(QWEN3_30B);
    let experts = 48 * 128 * 3 * 2048 * 768 * 2;
    assert_eq!(checkpoint.experts(1), Some(ByteSize(experts)));
    let plan = plan_of(&awq(AUTO.0, AUTO.1), &facts("one-16gb"), Some(checkpoint)).unwrap();
    assert!(plan.memory.offload > ByteSize::gib(40));
    assert!(plan.serve.argv.windows(2).any(|words| words == ["--cpu-offload-params", "experts"]));
}

#[test]
fn quantised_dense_layers_have_a_class_of_their_own() {
    let mut config: Value = serde_json::from_str(LLAMA_8B).unwrap();
    config["quantization_config"] =
        json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true});
    let tensors = checkpoint(&config.to_string()).tensors.unwrap();
    let weights: u64 = 32 * 3 * 4096 * 14_336;
    assert_eq!(
        tensors.bytes_of(Class::Mlp, 1),
        ByteSize(weights / 2 + weights / 128 * 2 + weights / 128 / 2)
    );
    assert_eq!(
        tensors.bytes_of(Class::LmHead, 1),
        ByteSize(128_256 * 4096 * 2),
        "the head is never quantised"
    );
}

#[test]
fn latent_attention_is_named_as_not_modelled() {
    let config = r#"{"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512}"#;
    let deepseek = Checkpoint::of(config, Some(ByteSize::gib(30))).unwrap();
    let plan = plan_of(
        &awq("tensor-parallel-size = 4", "tensor-parallel-size = 4"),
        &facts("four-16gb"),
        Some(deepseek),
    )
    .unwrap();
    let finding = plan.findings.iter().find(|finding| finding.code == "architecture-not-modelled").unwrap();
    assert_snapshot!(finding.message, @"`DeepseekV3ForCausalLM` and its latent attention (MLA) are not modelled (`config.json` leaves out `hidden_size`, `num_attention_heads`, `num_hidden_layers`, `vocab_size`, `max_position_embeddings`, `n_routed_experts`, `moe_intermediate_size`, `qk_rope_head_dim`, `num_experts_per_tok`): memory is estimated from file sizes, the KV cache not counted");
}

#[test]
fn what_a_family_needs_and_lacks_is_named() {
    let problem = |config: &str| Checkpoint::of(config, None).unwrap_err().to_string();
    let without = Checkpoint::of(&MIXTRAL.replace("num_local_experts", "num_locals"), None).unwrap();
    assert_eq!(without.unmodelled.as_deref(), Some("`config.json` leaves out `num_local_experts`"));
    assert_snapshot!(problem(&LLAMA_8B.replace(r#""num_key_value_heads": 8"#, r#""num_key_value_heads": 64"#)), @"`config.json` of a Llama has more key-value heads than heads, or routes to more experts than there are");
    assert_snapshot!(problem(&MIXTRAL.replace(r#"per_tok": 2"#, r#"per_tok": 20"#)), @"`config.json` of a Mixtral has more key-value heads than heads, or routes to more experts than there are");
}

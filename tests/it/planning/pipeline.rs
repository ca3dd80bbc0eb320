//! Pipelines: stages as vLLM splits them, the memory of each, and where `"auto"` takes one.

use super::families::{FAMILIES, checkpoint};
use crate::inputs::{AWQ, h100, plan_of};
use awqdeploy::domain::{
    findings::refusal::Refusal, machine::facts::Facts, planning::plan::Plan, size::ByteSize,
};

/// So many cards without NVLink, with this much VRAM.
fn cards(count: usize, gib: u64) -> Facts {
    let mut facts = h100();
    let gpu = &mut facts.gpus[0];
    "NVIDIA GeForce RTX 3090".clone_into(&mut gpu.name);
    (gpu.compute_capability, gpu.pcie_generation, gpu.nvlinks) = ((8, 6), 4, 0);
    (gpu.memory_total, gpu.memory_reserved, gpu.memory_free) =
        (ByteSize::gib(gib), ByteSize(0), ByteSize::gib(gib));
    facts.gpus = vec![facts.gpus[0].clone(); count];
    facts.ram_total = ByteSize::gib(256);
    facts
}

fn plan(model: &str, facts: &Facts, sizes: &str, more: &str) -> Result<Plan, Refusal> {
    let text = AWQ
        .replace("tensor-parallel-size = 4", sizes)
        .replace("gpu = \"16GiB\"\nram = \"120GiB\"", "")
        .replace("\"vllm\"]", &format!("\"vllm\"]\n{more}"));
    plan_of(&text, facts, Some(checkpoint(model)))
}

fn sizes(tensor: u32, pipeline: u32) -> String {
    format!("tensor-parallel-size = {tensor}\npipeline-parallel-size = {pipeline}")
}

fn grid(plan: &Plan) -> (u32, u32) {
    (plan.memory.tensor_parallel_size, plan.memory.pipeline_parallel_size)
}

#[test]
fn stages_sum_to_the_whole_and_share_the_cache() {
    for (family, ..) in FAMILIES {
        for stages in [2, 3, 5] {
            let whole = plan(family, &cards(1, 700), &sizes(1, 1), "").unwrap().memory;
            let split = plan(family, &cards(stages, 700), &sizes(1, u32::try_from(stages).unwrap()), "");
            let split = split.unwrap_or_else(|refusal| panic!("{family}: {refusal:?}")).memory;
            let (one, all) = (split.shard.unwrap().as_gib(), whole.shard.unwrap().as_gib());
            // The stage with least room may hold more of the cache, and less beside it.
            assert!(one >= all / stages as f64 * 0.7, "{family} in {stages}: the fullest has {one} of {all}");
            assert!(one < all, "{family} in {stages}: {one} of {all}");
            let (block, blocks) = (split.kv_cache_needed.unwrap(), whole.kv_cache_needed.unwrap());
            assert!(block < blocks, "{family}: a stage keeps the cache of its own layers");
            // The stage with least room need not be the one with most of the cache.
            let share = blocks.0 as f64 / stages as f64;
            assert!(block.0 as f64 >= share * 0.7, "{family} in {stages}: {block} of {blocks}");
        }
    }
}

#[test]
fn the_command_line_says_both_sizes_and_all_gpus_count() {
    let planned = plan("qwen3-32b-awq", &cards(4, 24), &sizes(2, 2), "").unwrap();
    let argv = planned.serve.argv.join(" ");
    assert!(argv.contains("--tensor-parallel-size 2 --pipeline-parallel-size 2"), "{argv}");
    assert!(planned.findings.iter().all(|finding| finding.code != "gpus-idle"), "{:?}", planned.findings);
    let alone = plan("qwen3-32b-awq", &cards(4, 24), &sizes(4, 1), "").unwrap();
    assert!(!alone.serve.argv.join(" ").contains("pipeline"), "nothing changes for who has no pipeline");
    let refusal = plan("qwen3-32b-awq", &cards(3, 24), &sizes(2, 2), "").unwrap_err();
    assert_eq!(refusal.code, "tensor-parallel-exceeds-gpus");
    assert!(refusal.message.contains("need 4 GPUs, and this host has 3"), "{}", refusal.message);
}

#[test]
fn auto_takes_a_pipeline_where_nothing_else_fits_or_the_link_is_slow() {
    let auto = "tensor-parallel-size = \"auto\"";
    let placed = |model: &str, facts: &Facts| plan(model, facts, auto, "").map(|plan| grid(&plan));
    // 61 GiB do not go on two cards, nor on the four of which layers could be shared among three.
    assert_eq!(placed("qwen25-32b-bf16", &cards(3, 32)).unwrap(), (1, 3));
    assert_eq!(placed("qwen25-32b-bf16", &cards(6, 16)).unwrap(), (2, 3));
    assert_eq!(placed("qwen25-32b-bf16", &cards(4, 24)).unwrap(), (4, 1), "as long as a layer can be shared");
    assert_eq!(placed("qwen3-32b-awq", &cards(3, 24)).unwrap(), (2, 1));
    let mut slow = cards(4, 24);
    for gpu in &mut slow.gpus {
        (gpu.pcie_generation, gpu.pcie_width) = (3, 1);
    }
    assert_eq!(placed("qwen25-32b-bf16", &slow).unwrap(), (1, 4));
    for gpu in &mut slow.gpus {
        (gpu.pcie_generation, gpu.pcie_width) = (1, 1);
    }
    assert_eq!(placed("qwen25-32b-bf16", &slow).unwrap(), (4, 1), "virtual GPUs do not tell their link");
}

#[test]
fn what_is_not_known_to_run_in_a_pipeline_is_refused_and_says_why() {
    let refused = |model: &str, more: &str, version: &str| {
        let text = AWQ
            .replace("0.26.0", version)
            .replace("tensor-parallel-size = 4", &sizes(1, 2))
            .replace("gpu = \"16GiB\"\nram = \"120GiB\"", "")
            .replace("[vllm]", &format!("{more}\n[vllm]"));
        let refusal = plan_of(&text, &cards(2, 700), Some(checkpoint(model))).unwrap_err();
        assert_eq!(refusal.code, "invalid-pipeline-parallel-size", "{}", refusal.message);
        refusal.message
    };
    assert!(refused("gemma3-27b-bf16", "", "0.11.0").contains("from 0.19.0 on"));
    let variable = |layers: &str| format!("[vllm.environment]\nVLLM_PP_LAYER_PARTITION = \"{layers}\"");
    for layers in ["64", "32,33", "64,0", "a,b", "18446744073709551615,65"] {
        let message = refused("qwen3-32b-awq", &variable(layers), "0.26.0");
        assert!(message.contains("64 together"), "{message}");
    }
    let planned =
        |layers: &str| plan("qwen3-32b-awq", &cards(2, 80), &sizes(1, 2), &variable(layers)).unwrap().memory;
    assert!(planned("48,16").shard > planned("32,32").shard, "the stage with more layers is the fuller");
    let guessing = AWQ
        .replace("tensor-parallel-size = 4", &sizes(1, 2))
        .replace("\"vllm\"]", "\"vllm\", \"--speculative-config\", '{\"method\": \"mtp\"}']");
    let refusal = plan_of(&guessing, &cards(2, 80), Some(checkpoint("qwen36-35b-a3b-nvfp4"))).unwrap_err();
    assert!(refusal.message.contains("guesses tokens ahead"), "{}", refusal.message);
}

#[test]
fn a_stage_takes_its_turn() {
    let rate = |facts: &Facts, sizes: &str| {
        plan("qwen3-32b-awq", facts, sizes, "").unwrap().prediction.decode_tokens_per_second.unwrap()
    };
    let (one, two) = (rate(&cards(1, 24), &sizes(1, 1)), rate(&cards(2, 24), &sizes(1, 2)));
    assert!(two.expected < one.expected && two.expected > one.expected * 0.9, "{one:?} and {two:?}");
    assert!(rate(&cards(2, 24), &sizes(2, 1)).expected > one.expected * 1.2, "sharing layers is faster");
    for decode in [one, two] {
        assert!(decode.ceiling <= decode.low * 2.0 + 1e-9, "{decode:?}");
    }
}

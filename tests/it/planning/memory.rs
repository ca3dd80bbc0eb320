//! Memory and speed: the formulas against what was computed elsewhere and measured on a GPU.

use crate::inputs::{AUTO, AWQ, awq, facts, h100, plan_of, profile};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, known_config, tensors::Sharding},
    machine::facts::{Facts, Gpu},
    planning::{
        memory::{Budget, Paging},
        prediction::{self, Rates, Traffic},
    },
    profile::Limits,
    size::ByteSize,
};
use proptest::prelude::*;
use std::time::Duration;

fn paging(ranks: u32) -> Paging {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    Paging::of(&checkpoint.shape.unwrap(), ranks).unwrap()
}

fn limits(max_model_len: u32, max_num_seqs: u32) -> Limits {
    Limits { max_model_len, max_num_seqs, max_num_batched_tokens: 4096 }
}

#[test]
fn the_cache_is_paged_as_vllm_pages_hybrids() {
    for (ranks, block_tokens, block_kib, needed) in [
        (1, 544, 13_056, [242_250, 816_000, 6_183_750]),
        (2, 544, 6_528, [121_125, 408_000, 3_091_875]),
        (4, 272, 3_264, [108_375, 395_250, 3_082_312]),
    ] {
        let paging = paging(ranks);
        assert_eq!(paging.block_tokens, block_tokens);
        assert_eq!(paging.block, ByteSize(block_kib << 10));
        let thousandths_of_mib = |tokens| (paging.needed(limits(tokens, 1)).0 * 1000) >> 20;
        assert_eq!([8192, 32_768, 262_144].map(thousandths_of_mib), needed, "TP {ranks}");
    }
}

#[test]
fn the_cache_holds_the_tokens_that_an_h100_logged() {
    // The cache was given in bytes, so that nothing is rounded: benches/gpu/results.
    for (ranks, memory, logged) in [
        (1, 1_181_990_195, 32_768),
        (1, 2_093_858_099, 58_088),
        (1, 2_641_466_428, 73_355),
        (2, 1_463_983_420, 81_547),
        (2, 1_533_370_316, 85_271),
    ] {
        assert_eq!(paging(ranks).tokens(ByteSize(memory), 4096), logged, "TP {ranks}");
    }
}

fn four_cards(nvlinks: u32) -> Facts {
    let mut facts = facts("four-16gb");
    facts.gpus.iter_mut().for_each(|gpu| gpu.nvlinks = nvlinks);
    facts
}

#[test]
fn ranks_that_nvlink_connects_need_more_beside_their_weights() {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let beside = |ranks, nvlinks| {
        let text = format!("{AWQ}\n[limits]\nmax-num-batched-tokens = 2048\n");
        let budget = Budget::of(&checkpoint, &profile(&text), &four_cards(nvlinks), ranks);
        (budget.overhead.unwrap() + budget.uncounted.unwrap()).as_gib()
    };
    // Two H100 held up to 3.3 GiB each beside weights and cache, four without NVLink 2.1; one held up to 1.8, with
    // what it had grown by.
    assert!(beside(2, 18) >= 3.3 && beside(4, 18) >= 3.3);
    assert!((2.1..3.0).contains(&beside(4, 0)) && beside(2, 0) < beside(2, 18));
    assert!((beside(1, 18) - beside(1, 0)).abs() < f64::EPSILON && beside(1, 0) > 1.6);
}

#[test]
fn the_share_leaves_what_ranks_take_before_vllm_looks_at_what_is_free() {
    // Of 15.9 GiB each of four H100 had 13.96 left when vLLM looked, and a share of 14.22 was refused.
    let text = AWQ.replace("\"16GiB\"", "\"15.9GiB\"");
    let plan = plan_of(&text, &four_cards(18), None).unwrap();
    assert!(plan.memory.gpu.unwrap().as_gib() < 13.96, "{:?}", plan.memory);
    let at = plan.serve.argv.iter().position(|word| word == "--gpu-memory-utilization").unwrap();
    let share: f64 = plan.serve.argv[at + 1].parse().unwrap();
    let card = four_cards(18).gpus[0].usable();
    assert!(share * card.as_gib() < 13.96, "{share}");
    // Without NVLink they take less, and nine tenths leave enough.
    let plan = plan_of(&text, &four_cards(0), None).unwrap();
    assert_eq!(plan.memory.gpu, Some(ByteSize(ByteSize::gib(159).0 / 10 * 9 / 10)));
}

#[test]
fn what_the_driver_keeps_is_not_planned_with() {
    let mut kept = four_cards(0);
    kept.gpus.iter_mut().for_each(|gpu| gpu.memory_reserved = ByteSize::mib(300));
    let share = |facts| plan_of(AWQ, facts, None).unwrap().memory.gpu.unwrap().as_gib();
    let less = share(&four_cards(0)) - share(&kept);
    assert!((less - 0.9 * 300.0 / 1024.0).abs() < 1e-3, "{less}");
}

#[test]
fn a_cache_of_a_size_that_the_profile_fixes_is_planned_of_that_size() {
    let fixed = |bytes: u64| {
        let argument = format!("\"vllm\", \"--kv-cache-memory-bytes={bytes}\"]");
        plan_of(&AWQ.replace("\"vllm\"]", &argument), &facts("four-16gb"), None)
    };
    let memory = fixed(500_000_000).unwrap().memory;
    assert_eq!(memory.kv_cache, Some(ByteSize(500_000_000)));
    assert_eq!(memory.kv_cache_tokens, Some(paging(4).tokens(ByteSize(500_000_000), 8192)));
    assert!(
        memory.offload == ByteSize::default() && fixed(4 << 30).unwrap().memory.offload > ByteSize::gib(2)
    );
}

#[test]
fn longer_steps_have_larger_activations() {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let overhead = |tokens: u32| {
        let limits = format!("{AWQ}\n[limits]\nmax-num-batched-tokens = {tokens}\n");
        Budget::of(&checkpoint, &profile(&limits), &four_cards(0), 1).overhead.unwrap()
    };
    // The figure that vLLM logged for 2048, to a hundredth of a GiB.
    assert!((overhead(2048).as_gib() - 1.14).abs() < 0.005);
    assert_eq!(overhead(512), overhead(2048));
    assert_eq!(overhead(8192), overhead(2048) + ByteSize::mib(3 * 656));
}

#[test]
fn the_byte_model_gives_what_an_h100_measured() {
    let h100 = Rates { memory: 3.35e12 * 0.88, link: 49.3e9, fixed: Duration::from_micros(4_100) };
    let near = |traffic, measured: f64| {
        let found = prediction::steps_per_second(traffic, h100);
        assert!((found / measured - 1.0).abs() < 0.05, "{found} against {measured}");
    };
    // All resident: 2.53 GB a token. GPTQ with dense layers in bf16, 35.2 of 48 layers in RAM: 88.8
    // MB a layer and token.
    near(Traffic { resident: ByteSize(2_530_000_000), linked: ByteSize(0) }, 199.6);
    near(Traffic { resident: ByteSize(1_760_000_000), linked: ByteSize(3_120_000_000) }, 14.56);
}

#[test]
fn a_plan_for_an_h100_predicts_what_it_measured() {
    let mut h100 = h100();
    // The measured checkpoint had its shared expert quantised.
    let config = known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let config = config.replace(r#""re:.*\\.mlp\\.shared_expert\\..*","#, "");
    let text = awq(AUTO.0, AUTO.1).replace("gpu = \"16GiB\"", "");
    let plan = plan_of(&text, &h100, Some(Checkpoint::of(&config, None).unwrap())).unwrap();
    let predicted = plan.prediction.expected().unwrap();
    assert!((predicted / 199.6 - 1.0).abs() < 0.05, "{predicted}");
    h100.gpus[0].name = "NVIDIA GH300 from the future".into();
    let plan = plan_of(&text, &h100, None).unwrap();
    assert_eq!(plan.prediction.decode_tokens_per_second, None);
}

#[test]
fn slower_links_read_experts_slower() {
    let rate = |pcie_generation, pcie_width| {
        let gpu = Gpu { pcie_generation, pcie_width, ..facts("one-16gb").gpus.remove(0) };
        format!("{:.1}", prediction::expert_rate(&gpu) / 1e9)
    };
    assert_eq!(
        [rate(5, 16), rate(4, 16), rate(4, 8), rate(3, 16), rate(1, 1)],
        ["49.3", "24.6", "12.3", "12.3", "0.2"]
    );
    assert_eq!(rate(5, 8), rate(4, 16), "the same wire");
}

#[test]
fn ram_is_what_was_measured_and_the_offload() {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let resident = Budget::of(&checkpoint, &profile(AWQ), &facts("four-16gb"), 4);
    assert_eq!(resident.ram, ByteSize::mib(1536 + 4 * 2560));
    let fixed = profile(&AWQ.replace("[memory]", "[memory]\noffload = \"20GiB\""));
    let offloaded = Budget::of(&checkpoint, &fixed, &facts("one-16gb"), 1);
    // 4 GiB of processes, the offload, and one of 48 layers' experts twice while it is repacked. Of the offload vLLM
    // empties 10 MiB a layer again.
    let layers = 20 * 1024 / (864 + 10);
    assert_eq!(offloaded.ram.0 >> 20, 4096 + 20 * 1024 - 10 * (layers + 1) + 864 + 5);
}

/// Found by the property below: all experts were offloaded to the byte, and a little less than all in whole GiB, which
/// was more.
#[test]
fn offload_is_in_whole_gib_also_where_it_is_all_experts() {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let mut facts = facts("four-16gb");
    facts.gpus.iter_mut().for_each(|gpu| gpu.memory_total = ByteSize::gib(17));
    let text = AWQ.replace("gpu = \"16GiB\"", "");
    let offload = |length: u32| {
        let profile = profile(&format!("{text}\n[limits]\nmax-model-len = {length}\n"));
        Budget::of(&checkpoint, &profile, &facts, 2).offload
    };
    assert_eq!(offload(251_014), offload(255_681));
    assert!(offload(251_014) > ByteSize::gib(8), "and no more than one sequence needs, and a GiB");
}

proptest! {
    #[test]
    fn more_vram_never_needs_more_offload_and_more_context_never_needs_less(
        vram in 3u64..100, more in 0u64..50, length in 16u32..262_144, longer in 0u32..100_000, ranks in prop::sample::select(vec![1u32, 2, 4]),
    ) {
        let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
        let budget = |vram: u64, length: u32| {
            let mut facts = facts("four-16gb");
            for gpu in &mut facts.gpus {
                gpu.memory_total = ByteSize::gib(vram);
            }
            let text = AWQ.replace("gpu = \"16GiB\"", "");
            Budget::of(&checkpoint, &profile(&format!("{text}\n[limits]\nmax-model-len = {length}\n")), &facts, ranks)
        };
        let (base, larger, longer) = (budget(vram, length), budget(vram + more, length), budget(vram, length + longer));
        prop_assert!(larger.missing <= base.missing && base.missing <= longer.missing);
        let in_ram = |budget: &Budget| budget.offload;
        if base.missing == ByteSize(0) {
            prop_assert!(in_ram(&larger) <= in_ram(&base));
            // The plan adds up: nothing is counted twice, and the cache gets what it needs.
            let (gpu, cache) = (base.gpu.unwrap(), base.kv_cache.unwrap());
            prop_assert_eq!(base.weights.unwrap() + base.overhead.unwrap() + cache, gpu);
            prop_assert!(cache >= base.kv_cache_least.unwrap());
            prop_assert!(base.kv_cache_tokens.unwrap() >= u64::from(length));
        }
        if longer.missing == ByteSize(0) {
            prop_assert!(in_ram(&base) <= in_ram(&longer));
        }
    }

    #[test]
    fn more_ram_never_refuses_what_less_took(ram in 8u64..200, more in 0u64..100) {
        let planned = |ram: u64| {
            let mut facts = facts("one-16gb");
            facts.ram_total = ByteSize::gib(ram);
            plan_of(&awq(AUTO.0, AUTO.1), &facts, None)
        };
        let (less, enough) = (planned(ram), planned(ram + more));
        prop_assert!(less.is_err() || enough.is_ok());
        if let Ok(plan) = &less {
            prop_assert_eq!(&plan.memory, &enough.unwrap().memory, "RAM that is not needed changes nothing");
        }
        prop_assert_eq!(less, planned(ram), "deciding is stable");
    }

    #[test]
    fn shards_sum_to_the_whole_and_to_what_is_copied(ranks in prop::sample::select(vec![1u32, 2, 4, 8])) {
        let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
        let tensors = checkpoint.tensors.unwrap();
        let copies = |sharding| match sharding {
            Sharding::Split => 0,
            Sharding::SplitAtMost(most) => u64::from(ranks) / u64::from(ranks).min(most) - 1,
            Sharding::Replicated => u64::from(ranks) - 1,
        };
        let copied: u64 =
            tensors.groups().iter().map(|group| group.bytes * group.copies * copies(group.sharding)).sum();
        prop_assert_eq!(tensors.bytes(ranks).0 * u64::from(ranks), tensors.bytes(1).0 + copied);
    }
}

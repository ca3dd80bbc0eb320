//! Properties of every family, on any machine.

use super::families::{FAMILIES, checkpoint, names};
use crate::inputs::{AWQ, h100, plan_of};
use awqdeploy::domain::{
    checkpoint::tensors::Sharding, findings::refusal::Refusal, machine::facts::Facts, planning::plan::Plan,
    size::ByteSize,
};
use proptest::prelude::*;

fn host(count: usize, vram: u64, ram: u64) -> Facts {
    let mut facts = h100();
    let gpu = &mut facts.gpus[0];
    (gpu.memory_total, gpu.memory_reserved, gpu.memory_free) =
        (ByteSize::gib(vram), ByteSize(0), ByteSize::gib(vram));
    facts.gpus = vec![facts.gpus[0].clone(); count];
    (facts.ram_total, facts.ram_available) = (ByteSize::gib(ram), ByteSize::gib(ram));
    facts
}

fn plan(
    family: &str,
    facts: &Facts,
    size: &str,
    version: &str,
    [length, sequences]: [u32; 2],
) -> Result<Plan, Refusal> {
    let text = AWQ
        .replace("0.26.0", version)
        .replace("size = 4", &format!("size = {size}"))
        .replace("gpu = \"16GiB\"\nram = \"120GiB\"", "");
    let limits = format!("[limits]\nmax-model-len = {length}\nmax-num-seqs = {sequences}\n");
    plan_of(&(text + &limits), facts, Some(checkpoint(family)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn more_memory_never_refuses(
        family in 0..FAMILIES.len(),
        count in prop::sample::select(vec![1_usize, 2, 4]),
        auto: bool,
        vram in 6_u64..100,
        ram in 8_u64..300,
        more in (0_u64..40, 0_u64..200),
        limits in (512_u32..16_384, 1_u32..64),
    ) {
        let size = if auto { "\"auto\"".to_owned() } else { count.to_string() };
        let family = FAMILIES[family].0;
        let planned = |vram, ram| plan(family, &host(count, vram, ram), &size, "0.26.0", [limits.0, limits.1]);
        let first = planned(vram, ram);
        prop_assert_eq!(&first, &planned(vram, ram), "the same question, two answers");
        if let Ok(plan) = first {
            prop_assert!(plan.memory.ram <= ByteSize::gib(ram));
            let needed: ByteSize = [plan.memory.gpu, plan.memory.uncounted].into_iter().flatten().sum();
            prop_assert!(needed <= ByteSize::gib(vram));
            let larger = planned(vram + more.0, ram + more.1);
            prop_assert!(larger.is_ok(), "{family}: {:?}", larger.err());
        }
    }
}

/// The parts of all ranks are the model, and what each of them copies.
#[test]
fn shards_sum_to_the_whole() {
    for (family, ..) in FAMILIES {
        let checkpoint = checkpoint(family);
        let tensors = checkpoint.tensors.as_ref().unwrap();
        let whole = checkpoint.weights(1).unwrap().0;
        for ranks in [2_u32, 4, 8] {
            let of_all = checkpoint.weights(ranks).unwrap().0 * u64::from(ranks);
            let copied = |most: u64| u64::from(ranks) / most.min(u64::from(ranks)) - 1;
            let doubled = tensors.groups().iter().map(|group| match group.sharding {
                Sharding::Split => 0,
                Sharding::SplitAtMost(most) => group.bytes * group.copies * copied(most),
                Sharding::Replicated => group.bytes * group.copies * copied(1),
            });
            let rounded: u64 = tensors.groups().iter().map(|group| group.copies * u64::from(ranks)).sum();
            let expected = whole + doubled.sum::<u64>();
            assert!(
                (expected..=expected + rounded).contains(&of_all),
                "{family} on {ranks}: {of_all}, not {expected}"
            );
        }
    }
}

#[test]
fn no_refusal_names_a_tensor_that_is_not_there() {
    for (family, ..) in FAMILIES {
        let names = names(family);
        for (version, ranks) in
            [("0.10.2", 2), ("0.11.0", 2), ("0.22.1", 2), ("0.22.1", 8), ("0.26.0", 4), ("0.32.0", 2)]
        {
            let Err(refusal) = plan(family, &host(ranks, 139, 500), &ranks.to_string(), version, [4096, 1])
            else {
                continue;
            };
            let quoted = refusal.message.split('`').skip(1).step_by(2);
            for tensor in quoted.filter(|word| word.contains("proj") || word.contains("expert")) {
                let there = names.iter().any(|name| name.contains(tensor));
                assert!(there, "{family}, {version} on {ranks}: {}", refusal.message);
            }
            let shared = refusal.code.starts_with("shared-expert")
                && !names.iter().any(|name| name.contains("shared_expert"));
            assert!(!shared, "{family}, {version} on {ranks}: {}", refusal.message);
        }
    }
}

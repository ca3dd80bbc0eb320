//! Chooses the GPUs of a host that has several kinds: vLLM splits evenly, so that the weakest of them limits all.

use super::{Placement, place};
use crate::domain::{
    findings::Finding,
    machine::{
        facts::{Facts, Gpu},
        visible,
    },
    planning::{inputs::Inputs, prediction::Decode},
    profile::{Device, Profile},
    size::ByteSize,
    vllm::version::Version,
};

/// How much faster other GPUs must be than the first ones to be taken instead.
const WORTH: f64 = 1.05;

/// The profile with its GPUs by UUID: those that it names, or, where it names none and the host has several kinds, those that
/// serve it best. `None` where the profile stays as it is.
pub(crate) fn pinned(inputs: Inputs<'_>, version: Version) -> Option<Profile> {
    let Inputs { profile, facts, .. } = inputs;
    if profile.runtime().device != Device::Cuda {
        return None;
    }
    if !profile.gpus().is_empty() {
        let name = |word: &String| match word.parse::<usize>() {
            Ok(number) => facts.gpus.get(number)?.uuid.clone(),
            Err(_) => Some(word.clone()),
        };
        let names = profile.gpus().iter().map(name).collect::<Option<Vec<_>>>()?;
        return Some(profile.clone().on_gpus(names));
    }
    if profile.environment().contains_key(visible::DEVICES) || kinds(facts).len() < 2 {
        return None;
    }
    let (gpus, Placement { budget, .. }) = best(inputs, version)?;
    let used = &gpus[..gpus.len().min(budget.gpus() as usize)];
    (used.len() < facts.gpus.len()).then(|| profile.clone().on_gpus(names(facts, used)))
}

/// The GPUs that serve best, and how. `None` where none do.
fn best(inputs: Inputs<'_>, version: Version) -> Option<(Vec<usize>, Placement)> {
    let all: Vec<usize> = (0..inputs.facts.gpus.len()).collect();
    let kinds = kinds(inputs.facts);
    let placed = |gpus: Vec<usize>| {
        let facts = only(inputs.facts, &gpus);
        place(Inputs { facts: &facts, ..inputs }, version).ok().map(|placement| (gpus, placement))
    };
    // All of them, each kind alone, and each with all that are as large.
    let larger = kinds.iter().map(|kind| {
        let least = inputs.facts.gpus[kind[0]].usable();
        all.iter().copied().filter(|index| inputs.facts.gpus[*index].usable() >= least).collect()
    });
    let choices = [all.clone()].into_iter().chain(kinds.clone()).chain(larger.collect::<Vec<_>>());
    choices.filter_map(placed).reduce(|first, other| if better(&other.1, &first.1) { other } else { first })
}

/// Whether one placement is worth more: nothing in RAM, else clearly faster. What this host has shown of one of them does not
/// count, so that the choice stays.
fn better(one: &Placement, other: &Placement) -> bool {
    let resident = |placement: &Placement| placement.budget.offload == ByteSize::default();
    let rate = |placement: &Placement| {
        let decode = placement.prediction.decode_tokens_per_second.as_ref();
        decode.map_or(0.0, Decode::computed)
    };
    match (resident(one), resident(other)) {
        (true, false) => true,
        (false, true) => false,
        _ => rate(one) > rate(other) * WORTH,
    }
}

/// GPUs that are alike, by their numbers.
fn kinds(facts: &Facts) -> Vec<Vec<usize>> {
    let kind = |gpu: &Gpu| (gpu.name.clone(), gpu.usable(), gpu.compute_capability);
    let mut kinds: Vec<Vec<usize>> = Vec::new();
    for (index, gpu) in facts.gpus.iter().enumerate() {
        match kinds.iter_mut().find(|others| kind(&facts.gpus[others[0]]) == kind(gpu)) {
            Some(others) => others.push(index),
            None => kinds.push(vec![index]),
        }
    }
    kinds
}

/// The host with these GPUs alone.
fn only(facts: &Facts, gpus: &[usize]) -> Facts {
    Facts { gpus: gpus.iter().map(|index| facts.gpus[*index].clone()).collect(), ..facts.clone() }
}

/// The UUIDs of these GPUs, or their numbers where one of them has none.
fn names(facts: &Facts, gpus: &[usize]) -> Vec<String> {
    let uuids = gpus.iter().map(|index| facts.gpus[*index].uuid.clone()).collect::<Option<Vec<_>>>();
    uuids.unwrap_or_else(|| gpus.iter().map(usize::to_string).collect())
}

/// The GPUs of `seen` that the plan does not use.
pub(crate) fn idle(seen: &Facts, used: &Facts, ranks: u32) -> Option<Finding> {
    let mut idle: Vec<&Gpu> = seen.gpus.iter().collect();
    for gpu in used.gpus.iter().take(ranks as usize) {
        let found = idle.iter().position(|other| *other == gpu)?;
        idle.remove(found);
    }
    let names: Vec<_> = idle.iter().map(|gpu| format!("`{}`", gpu.name)).collect();
    (!names.is_empty()).then(|| {
        let (count, all) = (names.len(), seen.gpus.len());
        Finding::new("gpus-idle", format!("{count} of {all} GPUs stay idle: {}", names.join(", ")))
            .with_remedy()
    })
}

//! Decides on how many GPUs the model goes, and how much of it stays in RAM.

pub(super) mod fitting;
pub(super) mod gpus;
pub(super) mod kernels;
mod offloading;

use super::{
    inputs::Inputs,
    memory::{self, Budget},
    prediction::{self, Prediction},
    preflight,
};
use crate::domain::{
    checkpoint::Checkpoint,
    findings::{Finding, refusal::Refusal},
    profile::{Device, Offload, TensorParallel},
    size::ByteSize,
    vllm::version::Version,
};

/// A placement that fits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placement {
    /// The memory of the placement.
    pub(crate) budget: Budget,
    /// How fast one stream will be.
    pub(crate) prediction: Prediction,
}

/// The sizes that `"auto"` tries: vLLM's kernels want powers of two, and no host holds more.
const SIZES: [u32; 4] = [8, 4, 2, 1];

/// Places the model as the profile asks, or says why that cannot be, and what could.
pub(crate) fn place(inputs: Inputs<'_>, version: Version) -> Result<Placement, Refusal> {
    let wanted = inputs.profile.tensor_parallel();
    if inputs.profile.runtime().device == Device::Cpu {
        let ranks = match wanted {
            TensorParallel::Auto => 1,
            TensorParallel::Fixed(ranks) => ranks,
        };
        return on(inputs, version, ranks);
    }
    if inputs.facts.gpus.is_empty() {
        return Err(no_gpu(inputs));
    }
    match wanted {
        TensorParallel::Auto => best(inputs, version),
        TensorParallel::Fixed(ranks) if ranks > found(inputs) => Err(too_few_gpus(inputs, version, ranks)),
        TensorParallel::Fixed(ranks) => on(inputs, version, ranks),
    }
}

fn found(inputs: Inputs<'_>) -> u32 {
    u32::try_from(inputs.facts.gpus.len()).unwrap_or(u32::MAX)
}

/// The best placement that fits: the most GPUs that need no offload, else the least offload.
fn best(inputs: Inputs<'_>, version: Version) -> Result<Placement, Refusal> {
    let mut fitting: Vec<Placement> = Vec::new();
    let mut refusals = Vec::new();
    let sizes = SIZES.into_iter().filter(|ranks| *ranks <= found(inputs));
    for ranks in sizes.filter(|ranks| divisible(inputs.checkpoint, Device::Cuda, *ranks).is_ok()) {
        match on(inputs, version, ranks) {
            Ok(placement) if placement.budget.offload == ByteSize::default() => return Ok(placement),
            Ok(placement) => fitting.push(placement),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let in_ram = |placement: &Placement| {
        let Budget { offload, tensor_parallel_size, .. } = placement.budget;
        offload.0.saturating_mul(u64::from(tensor_parallel_size))
    };
    match fitting.into_iter().min_by_key(in_ram) {
        Some(placement) => Ok(placement),
        // The first is of the most GPUs: the one that came closest.
        None => Err(refusals.into_iter().next().unwrap_or_else(|| no_gpu(inputs))),
    }
}

/// The placement on exactly this many ranks.
fn on(inputs: Inputs<'_>, version: Version, ranks: u32) -> Result<Placement, Refusal> {
    let Inputs { profile, checkpoint, facts, .. } = inputs;
    let device = profile.runtime().device;
    divisible(checkpoint, device, ranks).map_err(|why| {
        let works = |size: &u32| divisible(checkpoint, device, *size).is_ok();
        let sizes: Vec<_> = SIZES.iter().rev().filter(|size| works(size)).map(u32::to_string).collect();
        Refusal::new(
            "invalid-tensor-parallel-size",
            format!("`tensor-parallel-size = {ranks}` does not work for this model: {why}"),
            format!("sizes that work: {}", sizes.join(", ")),
        )
    })?;
    if device == Device::Cuda {
        preflight::gpus(inputs, version, ranks)?;
        offloading::wsl(inputs, version)?;
        kernels::refuse(inputs, version, ranks)?;
    }
    let budget = Budget::of(checkpoint, profile, facts, ranks);
    if budget.missing > ByteSize::default() {
        return Err(does_not_fit(inputs, &budget));
    }
    if device == Device::Cuda {
        fitting::held_by_others(inputs, &budget)?;
    }
    if budget.offload > ByteSize::default() {
        offloading::offload(inputs, version)?;
    }
    let limit = memory::ram_limit(profile, facts);
    if budget.ram > limit {
        return Err(ram_does_not_fit(&budget, limit));
    }
    let prediction = prediction::predict(inputs, &budget);
    Ok(Placement { budget, prediction })
}

/// Checks that the model divides by the ranks. vLLM splits heads and experts evenly, and Marlin keeps a
/// quantisation group on one rank.
fn divisible(checkpoint: &Checkpoint, device: Device, ranks: u32) -> Result<(), String> {
    let ranks = u64::from(ranks.max(1));
    let Some(shape) = &checkpoint.shape else {
        // vLLM asks this of every model.
        return match checkpoint.attention_heads {
            Some(heads) if heads % ranks != 0 => {
                Err(format!("its {heads} attention heads cannot be split evenly"))
            }
            _ => Ok(()),
        };
    };
    for (count, what) in [
        (shape.num_attention_heads, "attention heads"),
        (shape.linear_num_key_heads, "linear attention key heads"),
        (shape.linear_num_value_heads, "linear attention value heads"),
        (shape.intermediate_size, "columns of a layer"),
        (shape.moe_intermediate_size, "columns of an expert"),
        (shape.shared_expert_intermediate_size, "columns of the shared expert"),
    ] {
        if count % ranks != 0 {
            return Err(format!("its {count} {what} cannot be split evenly"));
        }
    }
    let heads = shape.num_key_value_heads;
    if heads % ranks != 0 && ranks % heads != 0 {
        return Err(format!("its {heads} key-value heads can be neither split nor copied evenly"));
    }
    let group = checkpoint.quantization.as_ref().map_or(0, |q| u64::from(q.group_size));
    let (inner, whose) = match shape.moe_intermediate_size {
        0 => (shape.intermediate_size, "of a layer"),
        inner => (inner, "of an expert"),
    };
    let columns = inner / ranks;
    // The CPU build unpacks instead of running Marlin.
    if device == Device::Cuda && group > 0 && columns % group != 0 {
        return Err(format!(
            "a quantisation group of {group} would straddle two ranks, which hold {columns} \
             columns {whose} each"
        ));
    }
    Ok(())
}

/// The share of a GPU that may stay unused before a finding says so.
const UNUSED: f64 = 0.3;

/// A profile that uses far less of the GPUs than they have, and what using them would give.
pub(crate) fn mostly_unused(inputs: Inputs<'_>, version: Version, budget: &Budget) -> Option<Finding> {
    let Inputs { profile, facts, .. } = inputs;
    let (used, unit) = (budget.vram()?, format!("{}.service", profile.service()));
    let gpus = facts.gpus.iter().take(budget.tensor_parallel_size as usize);
    let has = gpus.map(|gpu| gpu.usable().less(gpu.held_by_others(&unit))).min()?;
    if used >= memory::share(has, 1.0 - UNUSED) {
        return None;
    }
    let whole = profile.clone().with_whole_gpus();
    let remedy = match profile.memory().gpu {
        Some(_) => "take `gpu` out of the profile's `[memory]`",
        None => "raise `memory.gpu-memory-utilization`",
    };
    let instead = place(Inputs { profile: &whole, ..inputs }, version).ok();
    let gives = instead.map_or(String::new(), |placement| {
        format!(": it would plan {}", describe(&placement.budget, &placement.prediction))
    });
    let what = format!("the profile lets vLLM use {used} of the {has} that each GPU has");
    Some(Finding::new("gpu-mostly-unused", what).help(format!("{remedy}{gives}")))
}

/// A placement in words: "TP 1 with 33.0 GiB of experts in RAM, predicted 13 tokens/s".
pub(crate) fn describe(budget: &Budget, prediction: &Prediction) -> String {
    let ranks = budget.tensor_parallel_size;
    let place = match budget.offload {
        ByteSize(0) => "all weights in VRAM".to_owned(),
        offload if ranks == 1 => format!("{offload} of experts in RAM"),
        offload => format!("{offload} of experts per GPU in RAM"),
    };
    let speed = prediction.expected().map_or(String::new(), |rate| format!(", predicted {rate:.0} tokens/s"));
    format!("TP {ranks} with {place}{speed}")
}

fn no_gpu(inputs: Inputs<'_>) -> Refusal {
    let why = inputs.facts.gpus_unknown.as_deref().unwrap_or("the driver lists none");
    Refusal::new(
        "no-gpu",
        format!("this host has no GPU that vLLM could use: {why}"),
        "deploy on a host with an NVIDIA GPU, set `runtime.device = \"cpu\"` for a small \
         model, or try the whole story out with `awqdeploy rehearse`",
    )
}

fn too_few_gpus(inputs: Inputs<'_>, version: Version, ranks: u32) -> Refusal {
    let found = found(inputs);
    let help = match best(inputs, version) {
        Ok(placement) => {
            format!(
                "set `tensor-parallel-size = \"auto\"`: it would plan {}",
                describe(&placement.budget, &placement.prediction)
            )
        }
        Err(refusal) => {
            format!("`\"auto\"` finds no other way on this host: {}; {}", refusal.message, refusal.help)
        }
    };
    Refusal::new(
        "tensor-parallel-exceeds-gpus",
        format!("`tensor-parallel-size = {ranks}` needs {ranks} GPUs, and this host has {found}"),
        help,
    )
}

fn does_not_fit(inputs: Inputs<'_>, budget: &Budget) -> Refusal {
    let Inputs { profile, checkpoint, facts, .. } = inputs;
    let ranks = budget.tensor_parallel_size;
    let limits = profile.limits();
    let offload = match (profile.memory().offload, budget.offloaded) {
        (Offload::None, _) => "without offload".to_owned(),
        (_, ByteSize(0)) => "with nothing that can be offloaded".to_owned(),
        (_, offloaded) => format!("even with {offloaded} of weights in RAM"),
    };
    let parts =
        [("weights", budget.weights), ("overhead", budget.overhead), ("KV cache", budget.kv_cache_least)];
    let parts = parts.iter().filter_map(|(name, size)| size.map(|size| format!("{name} {size}")));
    let on_each = match ranks {
        0 | 1 => String::new(),
        _ => format!(" on each of {ranks} GPUs"),
    };
    let message = format!(
        "with TP {ranks} {} of VRAM are missing{on_each}, {offload}: {} do not fit into {}, beside which vLLM takes {}",
        budget.missing,
        parts.collect::<Vec<_>>().join(", "),
        budget.gpu.unwrap_or_default(),
        budget.uncounted.unwrap_or_default(),
    );
    let longest = memory::longest_context(checkpoint, profile, facts, ranks)
        .filter(|longest| *longest < limits.max_model_len);
    let (spared, tokens) = memory::spared_by_shorter_steps(checkpoint, limits, ranks);
    let help = match (longest, profile.memory().offload) {
        _ if spared >= budget.missing => format!(
            "by this estimate `max-num-batched-tokens = {tokens}` would fit; else use GPUs with more memory, more of \
             them, or a smaller quantisation"
        ),
        (Some(longest), _) => format!(
            "by this estimate `max-model-len = {longest}` would fit; else use GPUs with more memory, more of them, or a \
             smaller quantisation"
        ),
        (None, Offload::Auto) if dense_offload(checkpoint, budget).is_some() => format!(
            "use GPUs with more memory or more of them, a smaller quantisation, or, to keep layers in RAM and be slow, set \
             `memory.offload = \"{} GiB\"`",
            dense_offload(checkpoint, budget).unwrap_or_default()
        ),
        (None, Offload::Auto) => {
            "use GPUs with more memory, more of them, or a smaller quantisation".to_owned()
        }
        (None, _) => "set `memory.offload = \"auto\"` to keep experts in RAM, or use more GPUs".to_owned(),
    };
    Refusal::new("does-not-fit", message, help)
}

/// The whole GiB of layers that would have to leave the GPU, where there are so many and no experts.
fn dense_offload(checkpoint: &Checkpoint, budget: &Budget) -> Option<u64> {
    let layers = memory::layers(checkpoint, budget.tensor_parallel_size)?;
    let wanted = (budget.missing + ByteSize::gib(1)).0.div_ceil(ByteSize::gib(1).0);
    let dense = checkpoint.experts(1).is_none() && budget.offload == ByteSize::default();
    (dense && ByteSize::gib(wanted) <= layers).then_some(wanted)
}

fn ram_does_not_fit(budget: &Budget, limit: ByteSize) -> Refusal {
    let ranks = budget.tensor_parallel_size;
    let offload = match budget.offload {
        ByteSize(0) => String::new(),
        offload => format!(" with {offload} of weights in RAM per GPU"),
    };
    Refusal::new(
        "ram-does-not-fit",
        format!("TP {ranks}{offload} needs {} of RAM, and the service may use {limit}", budget.ram),
        "raise `memory.ram` where the host has more, add RAM, or use a smaller model or more VRAM",
    )
}

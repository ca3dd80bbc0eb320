//! Decides on how many GPUs the model goes, and how much of it stays in RAM.

pub(super) mod fitting;
pub(super) mod gpus;
pub(super) mod kernels;
mod offloading;

use super::{
    grid::Grid,
    inputs::Inputs,
    memory::{self, Budget},
    prediction::{self, Prediction},
    preflight,
};
use crate::domain::{
    checkpoint::Checkpoint,
    findings::{Finding, refusal::Refusal},
    machine::facts::Gpu,
    profile::{Device, Offload, Parallel},
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

impl Placement {
    /// Whether nothing better need be sought: nothing is in RAM, and a pipeline has room to spare.
    fn is_sure(&self) -> bool {
        let Budget { offload, tight_by, .. } = &self.budget;
        *offload == ByteSize::default() && (self.budget.grid().pipeline == 1 || tight_by.is_none())
    }

    /// Whether it is a pipeline with weights in RAM.
    fn offloads_in_stages(&self) -> bool {
        self.budget.grid().pipeline > 1 && self.budget.offload > ByteSize::default()
    }
}

/// The sizes that `"auto"` tries: vLLM's kernels want powers of two, and no host holds more.
const SIZES: [u32; 4] = [8, 4, 2, 1];
/// Bytes per second of a link below which GPUs share no layer by themselves: each shares its results twice a layer. Four
/// lanes of PCIe 3 have less.
const SLOW_LINK: f64 = 4e9;

/// Places the model as the profile asks, or says why that cannot be, and what could.
pub(crate) fn place(inputs: Inputs<'_>, version: Version) -> Result<Placement, Refusal> {
    let (tensor, pipeline) = (inputs.profile.tensor_parallel(), inputs.profile.pipeline_parallel());
    let stages = pipeline.fixed().unwrap_or(1);
    if inputs.profile.runtime().device == Device::Cpu {
        let tensor = tensor.fixed().unwrap_or(1);
        return on(inputs, version, Grid { tensor, pipeline: stages });
    }
    if inputs.facts.gpus.is_empty() {
        return Err(no_gpu(inputs));
    }
    match tensor {
        Parallel::Auto if stages > found(inputs) => {
            Err(too_few_gpus(inputs, version, Grid { tensor: 1, pipeline: stages }))
        }
        Parallel::Auto => best(inputs, version),
        Parallel::Fixed(tensor) => {
            let grid = Grid { tensor, pipeline: stages };
            if grid.gpus() > found(inputs) {
                return Err(too_few_gpus(inputs, version, grid));
            }
            on(inputs, version, grid)
        }
    }
}

fn found(inputs: Inputs<'_>) -> u32 {
    u32::try_from(inputs.facts.gpus.len()).unwrap_or(u32::MAX)
}

/// The best placement that fits: the most GPUs that need no offload, a pipeline where nothing else does; else the least
/// offload.
fn best(inputs: Inputs<'_>, version: Version) -> Result<Placement, Refusal> {
    let mut fitting: Vec<Placement> = Vec::new();
    let mut refusals = Vec::new();
    let asked = inputs.profile.pipeline_parallel() != Parallel::Auto;
    for grid in grids(inputs, version) {
        match on(inputs, version, grid) {
            Ok(placement) if placement.is_sure() => return Ok(placement),
            // That stages keep layers in RAM was never run: only who asks for it gets it.
            Ok(placement) if !asked && placement.offloads_in_stages() => {}
            Ok(placement) => fitting.push(placement),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let in_ram = |placement: &Placement| {
        let Budget { offload, pipeline_parallel_size, .. } = placement.budget;
        (pipeline_parallel_size, offload.0.saturating_mul(u64::from(placement.budget.gpus())))
    };
    match fitting.into_iter().min_by_key(in_ram) {
        Some(placement) => Ok(placement),
        // The first is of the most GPUs: the one that came closest.
        None => Err(refusals.into_iter().next().unwrap_or_else(|| no_gpu(inputs))),
    }
}

/// The grids that may be tried, the best first.
fn grids(inputs: Inputs<'_>, version: Version) -> Vec<Grid> {
    let found = found(inputs);
    let sizes = SIZES.into_iter().filter(|size| divisible(inputs.checkpoint, Device::Cuda, *size).is_ok());
    let stages = match inputs.profile.pipeline_parallel() {
        Parallel::Fixed(stages) => stages..=stages,
        Parallel::Auto => 1..=found,
    };
    let grids = sizes.flat_map(|tensor| stages.clone().map(move |pipeline| Grid { tensor, pipeline }));
    let mut grids: Vec<_> = grids.filter(|grid| grid.gpus() <= found).collect();
    // A pipeline that cannot be is tried only where it is asked for.
    if inputs.profile.pipeline_parallel() == Parallel::Auto {
        grids.retain(|grid| grid.check(inputs, version).is_ok());
    }
    // The more GPUs share a layer, and the fewer stages there are, the faster.
    let slow = slow_link(inputs);
    grids.sort_by_key(|Grid { tensor, pipeline }| {
        if slow { (0, *tensor, *pipeline) } else { (pipeline.min(&2) - 1, SIZES[0] - tensor, *pipeline) }
    });
    grids
}

/// Whether only a slow link connects the GPUs.
fn slow_link(inputs: Inputs<'_>) -> bool {
    // Virtual GPUs do not tell: they are taken for the slowest.
    let told = |gpu: &Gpu| (gpu.pcie_generation, gpu.pcie_width) != (1, 1);
    let slow = |gpu: &Gpu| told(gpu) && prediction::wire(gpu) < SLOW_LINK;
    !inputs.facts.nvlinked(found(inputs)) && inputs.facts.gpus.iter().any(slow)
}

/// The placement on exactly these ranks.
fn on(inputs: Inputs<'_>, version: Version, grid: Grid) -> Result<Placement, Refusal> {
    let Inputs { profile, checkpoint, facts, .. } = inputs;
    let device = profile.runtime().device;
    let ranks = grid.tensor;
    divisible(checkpoint, device, ranks).map_err(|why| {
        let works = |size: &u32| divisible(checkpoint, device, *size).is_ok();
        let sizes: Vec<_> = SIZES.iter().rev().filter(|size| works(size)).map(u32::to_string).collect();
        Refusal::new(
            "invalid-tensor-parallel-size",
            format!("`tensor-parallel-size = {ranks}` does not work for this model: {why}"),
            format!("sizes that work: {}", sizes.join(", ")),
        )
    })?;
    grid.check(inputs, version).map_err(|why| no_pipeline(grid, &why))?;
    if device == Device::Cuda {
        preflight::gpus(inputs, version, grid.gpus())?;
        offloading::wsl(inputs, version)?;
        kernels::refuse(inputs, version, grid)?;
    }
    let budget = Budget::on(checkpoint, profile, facts, grid);
    if budget.missing > ByteSize::default() {
        return Err(does_not_fit(inputs, &budget));
    }
    if device == Device::Cuda {
        fitting::held_by_others(inputs, &budget)?;
    }
    if budget.offload > ByteSize::default() {
        offloading::offload(inputs, version)?;
        if !grid.offloads(version) {
            let why = format!(
                "weights must go to RAM, and whether vLLM `{version}` keeps those of each stage there is unknown"
            );
            return Err(no_pipeline(grid, &why));
        }
    }
    let limit = memory::ram_limit(profile, facts);
    if budget.ram > limit {
        return Err(ram_does_not_fit(&budget, limit));
    }
    let prediction = prediction::predict(inputs, &budget);
    Ok(Placement { budget, prediction })
}

fn no_pipeline(grid: Grid, why: &str) -> Refusal {
    Refusal::new(
        "invalid-pipeline-parallel-size",
        format!("`pipeline-parallel-size = {}` does not work: {why}", grid.pipeline),
        "set `parallelism.pipeline-parallel-size = 1`, and let the GPUs share each layer",
    )
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
    let gpus = facts.gpus.iter().take(budget.gpus() as usize);
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
    let grid = budget.grid();
    let place = match budget.offload {
        ByteSize(0) => "all weights in VRAM".to_owned(),
        offload if grid.gpus() == 1 => format!("{offload} of experts in RAM"),
        offload => format!("{offload} of experts per GPU in RAM"),
    };
    let speed = prediction.expected().map_or(String::new(), |rate| format!(", predicted {rate:.0} tokens/s"));
    format!("{grid} with {place}{speed}")
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

fn too_few_gpus(inputs: Inputs<'_>, version: Version, grid: Grid) -> Refusal {
    let found = found(inputs);
    let help = match best(inputs, version) {
        _ if grid.pipeline > 1 => {
            "use fewer stages, or leave `pipeline-parallel-size` to the plan".to_owned()
        }
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
    let tensor = format!("`tensor-parallel-size = {}`", grid.tensor);
    let (sizes, verb) = match grid.pipeline {
        1 => (tensor, "needs"),
        stages => (format!("{tensor} and `pipeline-parallel-size = {stages}`"), "need"),
    };
    Refusal::new(
        "tensor-parallel-exceeds-gpus",
        format!("{sizes} {verb} {} GPUs, and this host has {found}", grid.gpus()),
        help,
    )
}

fn does_not_fit(inputs: Inputs<'_>, budget: &Budget) -> Refusal {
    let Inputs { profile, checkpoint, facts, .. } = inputs;
    let grid = budget.grid();
    let limits = profile.limits();
    let offload = match (profile.memory().offload, budget.offloaded) {
        (Offload::None, _) => "without offload".to_owned(),
        (_, ByteSize(0)) => "with nothing that can be offloaded".to_owned(),
        (_, offloaded) => format!("even with {offloaded} of weights in RAM"),
    };
    let parts =
        [("weights", budget.weights), ("overhead", budget.overhead), ("KV cache", budget.kv_cache_least)];
    let parts = parts.iter().filter_map(|(name, size)| size.map(|size| format!("{name} {size}")));
    let on_each = match grid.gpus() {
        0 | 1 => String::new(),
        gpus => format!(" on each of {gpus} GPUs"),
    };
    let message = format!(
        "with {grid} {} of VRAM are missing{on_each}, {offload}: {} do not fit into {}, beside which vLLM takes {}",
        budget.missing,
        parts.collect::<Vec<_>>().join(", "),
        budget.gpu.unwrap_or_default(),
        budget.uncounted.unwrap_or_default(),
    );
    let longest = memory::longest_context(checkpoint, profile, facts, grid)
        .filter(|longest| *longest < limits.max_model_len);
    let (spared, tokens) = memory::spared_by_shorter_steps(checkpoint, limits, grid.tensor);
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
    let grid = budget.grid();
    let offload = match budget.offload {
        ByteSize(0) => String::new(),
        offload => format!(" with {offload} of weights in RAM per GPU"),
    };
    Refusal::new(
        "ram-does-not-fit",
        format!("{grid}{offload} needs {} of RAM, and the service may use {limit}", budget.ram),
        "raise `memory.ram` where the host has more, add RAM, or use a smaller model or more VRAM",
    )
}

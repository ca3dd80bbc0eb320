//! Whether a budget fits into what is really free, and how closely.

use crate::domain::planning::{
    inputs::Inputs,
    memory::{self, Budget},
};
use crate::domain::{
    findings::{Finding, refusal::Refusal},
    machine::facts::{Gpu, GpuProcess},
    size::ByteSize,
};

/// Warns of memory that other processes hold on the GPUs: it stays held. The service that is replaced gives its share
/// back.
pub(crate) fn held_by_others(inputs: Inputs<'_>, budget: &Budget) -> Result<(), Refusal> {
    let unit = format!("{}.service", inputs.profile.service());
    let wanted = budget.vram().unwrap_or_default();
    let gpus = inputs.facts.gpus.iter().take(budget.gpus() as usize);
    for (index, gpu) in gpus.enumerate() {
        held_by_nobody(index, gpu, wanted, inputs)?;
        let held = gpu.held_by_others(&unit);
        if inputs.facts.capacity(gpu).less(held) < wanted {
            let holders: Vec<_> = gpu.others(&unit).map(GpuProcess::to_string).collect();
            return Err(Refusal::new(
                "vram-held-by-others",
                format!(
                    "{held} of GPU {index} are held by {}, and vLLM is to use {wanted} of its {}",
                    holders.join(", "),
                    gpu.usable()
                ),
                "stop them, or lower `memory.gpu-memory-utilization`",
            ));
        }
    }
    Ok(())
}

/// In containers, WSL and virtual machines the driver names no process, and what is free is all that can be had. Where at least
/// half of what is wanted is taken, the service that is replaced may hold it.
pub(crate) fn held_by_nobody(
    index: usize,
    gpu: &Gpu,
    wanted: ByteSize,
    inputs: Inputs<'_>,
) -> Result<(), Refusal> {
    let free = gpu.memory_free;
    let replaced = gpu.usable().less(free).0 >= wanted.0 / 2;
    if !gpu.processes.is_empty() || gpu.is_unified() || free >= wanted || replaced {
        return Ok(());
    }
    let gone = wanted.less(free).0 as f64 / gpu.usable().0.max(1) as f64;
    let share = ((inputs.profile.memory().gpu_memory_utilization - gone).max(0.0) * 100.0).floor() / 100.0;
    Err(Refusal::new(
        "vram-held-by-others",
        format!(
            "{free} of GPU {index} are free, and vLLM is to use {wanted}; the driver does not name who holds the rest"
        ),
        format!("free it, or set `memory.gpu-memory-utilization` to {share} or less"),
    ))
}

/// Where the share that the profile asks for would not leave what vLLM takes beside it: vLLM would not start.
pub(crate) fn utilization_lowered(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let (gpu, uncounted) = (budget.gpu?, budget.uncounted?);
    let asked = inputs.profile.memory().gpu_memory_utilization;
    let vram = memory::vram(inputs.profile, inputs.facts, budget.gpus());
    (gpu < memory::share(vram, asked)).then(|| {
        Finding::new(
            "gpu-memory-utilization-lowered",
            format!(
                "vLLM may use {gpu} of the {vram} of each GPU, and not `gpu-memory-utilization = {asked}` of them: \
                 it takes {uncounted} beside its share, and would not start"
            ),
        )
    })
}

/// Where the cache may come out so small that vLLM does not start.
pub(crate) fn tight(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let (by, cache, needed) = (budget.tight_by?, budget.kv_cache?, budget.kv_cache_least?);
    let what = format!(
        "{cache} are left for the KV cache, {needed} are needed, and the estimate of the rest may be off by so much that \
         {by} are missing: vLLM may not start"
    );
    let length = inputs.profile.limits().max_model_len;
    let shorter = (u64::from(length) * needed.less(by).0 / needed.0.max(1)) / 256 * 256;
    let help = match shorter {
        0 => "raise `memory.gpu-memory-utilization`, or add `--enforce-eager` to `vllm.arguments`".to_owned(),
        shorter => format!(
            "to be sure, set `limits.max-model-len = {shorter}`, raise `memory.gpu-memory-utilization`, or add \
             `--enforce-eager` to `vllm.arguments`"
        ),
    };
    Some(Finding::new("tight-vram", what).help(help))
}

/// Where fewer sequences fit at once than may be served.
pub(crate) fn waiting(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let limits = inputs.profile.limits();
    let fitting = budget.largest_batch.filter(|fitting| *fitting < u64::from(limits.max_num_seqs))?;
    let length = limits.max_model_len;
    let cache = budget.kv_cache_tokens.unwrap_or_default();
    let what = format!(
        "{fitting} of {} sequences of {length} tokens fit at once; the cache holds {cache} tokens, and vLLM lets others wait",
        limits.max_num_seqs
    );
    Some(
        Finding::new("sequences-wait", what)
            .help("none needed; fewer `limits.max-num-seqs` leave more for the cache"),
    )
}

/// How much larger the cache must be that vLLM itself says would fit, to be worth a word.
const WORTH_IT: f64 = 1.05;

/// Where vLLM itself said at a start on this host that its share holds a larger cache than it takes.
pub(crate) fn hint(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let (shown, cache, limits) = (budget.shown_by.as_ref()?, budget.kv_cache?, inputs.profile.limits());
    let fits = shown.fits.filter(|_| shown.is_of(limits.max_num_seqs, limits.max_num_batched_tokens))?;
    let fixed = inputs.profile.arguments().settings().cache_fixed.is_some();
    (!fixed && fits.0 as f64 > cache.0 as f64 * WORTH_IT).then(|| {
        let what = format!(
            "{cache} are planned for the KV cache, and vLLM said at the start of generation {} that {fits} fit into its share",
            shown.generation
        );
        Finding::new("larger-cache-fits", what).help(format!(
            "to take them, add `--kv-cache-memory-bytes` and `{}` to `vllm.arguments`: it holds for this model, these GPUs and \
             limits only",
            fits.0
        ))
    })
}

/// Warns of a small `/dev/shm` where several ranks talk through it.
pub(crate) fn shared_memory(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let size = inputs.facts.shared_memory.filter(|size| *size < ByteSize::gib(1))?;
    (budget.gpus() > 1).then(|| {
        let what = format!("`/dev/shm` has {size}, and {} ranks talk through it", budget.gpus());
        Finding::new("shared-memory-small", what).with_remedy()
    })
}

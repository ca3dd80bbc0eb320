//! Refuses what vLLM's loaders and kernels refuse of a checkpoint on so many ranks, before the old service is
//! stopped.

use crate::domain::{
    findings::{Finding, refusal::Refusal},
    machine::facts::Gpu,
    planning::{grid::Grid, inputs::Inputs},
    vllm::version::Version,
};

/// The first vLLM that loads a shared expert which is not quantised.
const FINDS_SHARED_EXPERT: Version = Version::new(0, 11, 0);
/// The first vLLM that pads matrices to what Marlin needs.
const PADS: Version = Version::new(0, 24, 0);
/// The first vLLM without GPTQ's activation order.
const WITHOUT_ACTIVATION_ORDER: Version = Version::new(0, 30, 0);
/// The least columns of a dense matrix's input for Marlin.
const MARLIN_COLUMNS: u64 = 128;
/// The least columns of an expert's input for Marlin.
const MARLIN_EXPERT_COLUMNS: u64 = 64;
/// The compute capability of the first GPUs whose kernels have 8-bit floats.
const KNOWS_FP8: (u32, u32) = (8, 9);
/// The first vLLM whose kernels widen an 8-bit cache on GPUs that compute in 16 bits, and the least of these.
const WIDENS_FP8: (Version, (u32, u32)) = (Version::new(0, 20, 0), (8, 0));

/// Refuses what this vLLM refuses of this checkpoint on so many ranks.
pub(crate) fn refuse(inputs: Inputs<'_>, version: Version, grid: Grid) -> Result<(), Refusal> {
    let ranks = grid.tensor;
    shared_expert(inputs, version, ranks)?;
    gates(inputs, version, ranks)?;
    gptq(inputs, version)?;
    plain_kernels(inputs, version)?;
    cache(inputs, version, grid.gpus())?;
    sparse(inputs, version)?;
    context(inputs, version)
}

fn shared_expert(inputs: Inputs<'_>, version: Version, ranks: u32) -> Result<(), Refusal> {
    let (checkpoint, ranks) = (inputs.checkpoint, u64::from(ranks.max(1)));
    let Some(shape) = checkpoint.shape.as_ref().filter(|shape| shape.shared_expert_intermediate_size > 0)
    else {
        return Ok(());
    };
    let quantized = checkpoint.quantized.shared_expert;
    if checkpoint.quantization.is_some() && !quantized && version < FINDS_SHARED_EXPERT {
        return Err(Refusal::new(
            "shared-expert-not-found",
            format!("vLLM `{version}` does not find a shared expert that is left in 16 bits"),
            "pin `runtime.vllm` to 0.11.0 or later; 0.26.0 was measured",
        ));
    }
    let columns = shape.shared_expert_intermediate_size / ranks;
    if quantized && version < PADS && columns % MARLIN_COLUMNS != 0 {
        return Err(Refusal::new(
            "shared-expert-without-kernel",
            format!(
                "each of {ranks} ranks has {columns} columns of the shared expert, and the kernels of vLLM \
                 `{version}` take multiples of {MARLIN_COLUMNS}"
            ),
            "pin `runtime.vllm` to 0.24.0 or later, or use fewer ranks",
        ));
    }
    Ok(())
}

/// Refuses quantised gates of linear attention on several ranks: they are 64 outputs wide, too narrow for
/// Marlin.
fn gates(inputs: Inputs<'_>, version: Version, ranks: u32) -> Result<(), Refusal> {
    let dtype = value(inputs, "--dtype");
    let falls_back = matches!(dtype, Some("float16" | "half"));
    let has_gates = inputs.checkpoint.shape.as_ref().is_some_and(|shape| shape.linear_num_value_heads > 0);
    if !has_gates || !inputs.checkpoint.quantized.gdn_gates || ranks < 2 || version >= PADS || falls_back {
        return Ok(());
    }
    Err(Refusal::new(
        "gdn-gates-without-kernel",
        format!("`in_proj_ba` is quantised, and on {ranks} ranks vLLM `{version}` has no kernel for it"),
        "pin `runtime.vllm` to 0.24.0 or later, or use one GPU",
    ))
}

fn gptq(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let Some(stored) = inputs.checkpoint.quantization.as_ref().filter(|stored| stored.method == "gptq")
    else {
        return Ok(());
    };
    if stored.desc_act && stored.group_size > 0 && version >= WITHOUT_ACTIVATION_ORDER {
        return Err(Refusal::new(
            "gptq-activation-order",
            format!("the checkpoint has GPTQ's activation order in groups, which vLLM `{version}` refuses"),
            "pin `runtime.vllm` below 0.30.0, or use a checkpoint without `desc_act`",
        ));
    }
    if !stored.symmetric {
        return Err(Refusal::new(
            "gptq-asymmetric",
            "the checkpoint is an asymmetric GPTQ, for which vLLM has no kernel",
            "use a checkpoint with `sym = true`",
        ));
    }
    Ok(())
}

/// Refuses types other than float16 for methods without Marlin, where these are asked for by name.
fn plain_kernels(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let asked = value(inputs, "--quantization").filter(|method| ["awq", "gptq"].contains(method));
    let Some(method) = asked.filter(|_| version < PADS) else {
        return Ok(());
    };
    let dtype = match value(inputs, "--dtype") {
        None | Some("auto") => inputs.checkpoint.dtype.as_deref(),
        asked => asked,
    };
    if dtype != Some("bfloat16") {
        return Ok(());
    }
    Err(Refusal::new(
        "dtype-not-taken",
        format!("`--quantization {method}` has kernels for float16 only in vLLM `{version}`"),
        "remove `--quantization` from `vllm.arguments`: vLLM then takes Marlin, which knows bfloat16 too",
    ))
}

fn cache(inputs: Inputs<'_>, version: Version, ranks: u32) -> Result<(), Refusal> {
    let Some(dtype) = value(inputs, "--kv-cache-dtype").filter(|dtype| dtype.starts_with("fp8")) else {
        return Ok(());
    };
    let least = if version >= WIDENS_FP8.0 { WIDENS_FP8.1 } else { KNOWS_FP8 };
    let too_old = |gpu: &&Gpu| gpu.compute_capability < least;
    match inputs.facts.gpus.iter().take(ranks as usize).find(too_old) {
        None => Ok(()),
        Some(gpu) => Err(Refusal::new(
            "fp8-cache",
            format!("`{}` has no 8-bit floats, and `--kv-cache-dtype {dtype}` needs them", gpu.name),
            "remove `--kv-cache-dtype` from `vllm.arguments`",
        )),
    }
}

/// The first vLLM that raises an error at anything called sparse. The newest that was read still does.
const WITHOUT_SPARSITY: Version = Version::new(0, 24, 0);

fn sparse(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let sparse = inputs.checkpoint.quantization.as_ref().is_some_and(|stored| stored.sparse);
    if !sparse || version < WITHOUT_SPARSITY {
        return Ok(());
    }
    Err(Refusal::new(
        "sparsity-removed",
        format!("`config.json` has a `sparsity_config`, at which vLLM `{version}` ends with an error"),
        "pin `runtime.vllm` below 0.24.0; or remove `sparsity_config` from `config.json`, if its format is `dense`",
    ))
}

/// The first vLLM that takes the longest context of `YaRN` as it is written (vLLM pull request 56446).
const YARN_AS_WRITTEN: Version = Version::new(0, 32, 0);

fn context(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let wanted = u64::from(inputs.profile.limits().max_model_len);
    let Some(shape) = &inputs.checkpoint.shape else { return Ok(()) };
    let allowed = inputs.profile.environment().get("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
    let by_factor = version < YARN_AS_WRITTEN;
    let longest = if by_factor { shape.longest_context() } else { shape.max_position_embeddings };
    if wanted <= longest || allowed.is_some_and(|value| value == "1") {
        return Ok(());
    }
    let help = match shape.stretched {
        Some(stretched) if !by_factor && wanted <= stretched => format!(
            "vLLM `{version}` no longer multiplies by YaRN's factor: add `--hf-overrides` with \
             `{{\"max_position_embeddings\": {stretched}}}` to `vllm.arguments`"
        ),
        _ => format!("set `limits.max-model-len` to {longest} or less"),
    };
    Err(Refusal::new(
        "context-exceeds-model",
        format!("`limits.max-model-len = {wanted}`, and the model was made for {longest} tokens"),
        help,
    ))
}

/// The value of this argument among the profile's own.
fn value<'a>(inputs: Inputs<'a>, name: &str) -> Option<&'a str> {
    inputs.profile.arguments().value(name)
}

/// Finds what runs, but not as well as it could.
pub(crate) fn findings(inputs: Inputs<'_>, ranks: u32) -> impl Iterator<Item = Finding> {
    [dtype(inputs), without_marlin(inputs, ranks)].into_iter().flatten()
}

fn dtype(inputs: Inputs<'_>) -> Option<Finding> {
    let dtype = value(inputs, "--dtype").filter(|dtype| ["float16", "half"].contains(dtype))?;
    inputs.checkpoint.architecture.starts_with("Qwen3Next").then(|| {
        Finding::new(
            "dtype-float16",
            format!("`--dtype {dtype}` on a model that was trained in bfloat16 may overflow"),
        )
        .help("remove `--dtype` from `vllm.arguments`")
    })
}

fn without_marlin(inputs: Inputs<'_>, ranks: u32) -> Option<Finding> {
    let (shape, stored) = (inputs.checkpoint.shape.as_ref()?, inputs.checkpoint.quantization.as_ref()?);
    let columns = shape.moe_intermediate_size / u64::from(ranks.max(1));
    let step = MARLIN_EXPERT_COLUMNS.max(u64::from(stored.group_size));
    (shape.num_experts > 0 && stored.bits < 16 && columns % step != 0).then(|| {
        Finding::new(
            "experts-without-marlin",
            format!("each rank has {columns} columns of an expert, and Marlin takes multiples of {step}"),
        )
        .help("choose a smaller tensor-parallel size: other kernels are slower")
    })
}

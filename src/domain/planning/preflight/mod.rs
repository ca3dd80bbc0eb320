//! Checks for what is known to go wrong, before anything is touched.
//!
//! Rules that need no placement: the engine's flags, its quantisation, the GPUs and their driver.
//! What depends on where the weights lie is decided in [`super::placement`].

mod arguments;
pub mod doctor;

use super::{
    inputs::Inputs,
    memory::Budget,
    placement::{fitting, kernels},
};
use crate::domain::{
    checkpoint::Checkpoint,
    findings::refusal::Refusal,
    machine::facts::{Facts, Gpu},
    profile::Device,
    vllm::{effects, env_vars, flags, settings::Speculation, version::Version},
};
use arguments::{answers, known, named_in_old_file, quantization};

pub(crate) use crate::domain::findings::Finding;

/// The first vLLM with an architecture, by how its name begins. The later ones are those after which people were told that theirs
/// has none (vLLM issue 39993, MiniMax-M2 issue 40, verl pull request 5381).
const FIRST_WITH: [(&str, Version); 7] = [
    ("Qwen3NextForCausalLM", Version::new(0, 10, 2)),
    ("Qwen3VL", Version::new(0, 11, 0)),
    ("MiniMaxM2ForCausalLM", Version::new(0, 11, 1)),
    ("Qwen3_5ForConditionalGeneration", Version::new(0, 16, 0)),
    ("Qwen3_5MoeForConditionalGeneration", Version::new(0, 16, 0)),
    ("Qwen3_5ForCausalLM", Version::new(0, 20, 0)),
    ("Qwen3_5MoeForCausalLM", Version::new(0, 20, 0)),
];
/// The first vLLM whose wheel on the package index is built for CUDA 13.
const FIRST_WITH_CUDA_13: Version = Version::new(0, 20, 0);

/// The version that the profile pins.
pub(crate) fn version(inputs: Inputs<'_>) -> Result<Version, Refusal> {
    let written = &inputs.profile.runtime().vllm;
    Version::of(written).ok_or_else(|| {
        Refusal::new(
            "invalid-vllm-version",
            format!("`runtime.vllm = \"{written}\"` is not a version"),
            "write it as `0.26.0`",
        )
    })
}

/// Checks the engine's version, flags and quantisation.
pub(crate) fn engine(inputs: Inputs<'_>, version: Version) -> Result<(), Refusal> {
    let checkpoint = inputs.checkpoint;
    let architecture = &checkpoint.architecture;
    let first = FIRST_WITH.iter().find(|(name, _)| architecture.starts_with(name));
    if let Some((_, first)) = first.filter(|(_, first)| version < *first) {
        return Err(Refusal::new(
            "vllm-too-old",
            format!("vLLM `{version}` has no `{architecture}`"),
            format!("pin `runtime.vllm` to {first} or later"),
        ));
    }
    let arguments = inputs.profile.arguments().flags();
    for argument in arguments {
        known(argument, version)?;
        quantization(argument, checkpoint)?;
        answers(argument)?;
    }
    named_in_old_file(arguments, checkpoint)
}

/// Checks the first `ranks` GPUs, and the driver.
pub(crate) fn gpus(inputs: Inputs<'_>, version: Version, ranks: u32) -> Result<(), Refusal> {
    let method = inputs.checkpoint.quantization.as_ref();
    let least = least_capability(method.map(|quantization| quantization.method.as_str()), version);
    let too_old = |gpu: &&Gpu| gpu.compute_capability < least;
    if let Some(gpu) = inputs.facts.gpus.iter().take(ranks as usize).find(too_old) {
        let ((major, minor), (least_major, least_minor)) = (gpu.compute_capability, least);
        let name = &gpu.name;
        return Err(Refusal::new(
            "compute-capability",
            format!(
                "`{name}` has compute capability {major}.{minor}, and vLLM `{version}` needs \
                 {least_major}.{least_minor} for this checkpoint"
            ),
            "use a newer GPU, or a checkpoint in a quantisation that this one can run",
        ));
    }
    let cut = inputs.facts.gpus.iter().take(ranks as usize).enumerate().find(|(_, gpu)| gpu.mig);
    if let Some((index, gpu)) = cut {
        return Err(Refusal::new(
            "mig-enabled",
            format!("`{}` is cut into instances (MIG), which are not modelled", gpu.name),
            format!("disable MIG on it: `nvidia-smi -i {index} -mig 0`"),
        ));
    }
    driver(inputs.facts, version)
}

/// The least compute capability by method, where `config.json` alone decides (no `--quantization`).
/// Read in vLLM's sources.
fn least_capability(method: Option<&str>, version: Version) -> (u32, u32) {
    match method {
        Some("compressed-tensors") if version < Version::new(0, 16, 0) => (8, 0),
        Some("compressed-tensors") => (7, 5),
        Some("awq") if version >= Version::new(0, 24, 0) => (7, 5),
        // Marlin; below it vLLM falls back to kernels that only take float16, which these models
        // are not made for.
        Some("awq" | "gptq") => (8, 0),
        Some("auto-round" | "inc") => (6, 0),
        // PyTorch for CUDA 13 has no code for older ones.
        _ if version >= FIRST_WITH_CUDA_13 => (7, 5),
        _ => (7, 0),
    }
}

pub(crate) fn driver(facts: &Facts, version: Version) -> Result<(), Refusal> {
    let (cuda, least) = if version >= FIRST_WITH_CUDA_13 {
        ("13", Version::new(580, 0, 0))
    } else {
        ("12.8", Version::new(570, 0, 0))
    };
    let Some(driver) = &facts.driver else {
        return Ok(());
    };
    match Version::of(driver) {
        Some(found) if found < least => Err(Refusal::new(
            "driver-too-old",
            format!("the NVIDIA driver is `{driver}`, and vLLM `{version}` is built for CUDA {cuda}"),
            format!("install driver {} or later", least.major()),
        )),
        _ => Ok(()),
    }
}

/// Finds what to know of a plan that can be made.
pub(crate) fn findings(
    inputs: Inputs<'_>,
    version: Version,
    budget: &Budget,
    predicted: Option<f64>,
) -> Vec<Finding> {
    [
        named_otherwise(inputs),
        flags_unchecked(version),
        variables_unread(inputs, version),
        not_modelled(inputs.checkpoint),
        differing(inputs.checkpoint),
        differing_from_index(inputs.checkpoint),
        draft_uncounted(inputs),
        flags_uncounted(inputs),
        without_graphs(inputs),
        offloaded(inputs, version, budget),
        expandable_segments(inputs, budget),
        fitting::utilization_lowered(inputs, budget),
        fitting::tight(inputs, budget),
        fitting::waiting(inputs, budget),
        fitting::hint(inputs, budget),
        fitting::shared_memory(inputs, budget),
        all_reduce_disabled(inputs, budget),
        too_slow(inputs, predicted),
    ]
    .into_iter()
    .flatten()
    .chain(kernels::findings(inputs, budget.tensor_parallel_size))
    .collect()
}

/// Refuses transformers 5 with a vLLM before 0.12, which uses what it lacks.
pub fn transformers(version: Version, locked: &str) -> Result<(), Refusal> {
    let too_new = Version::of(locked).is_some_and(|found| found >= Version::new(5, 0, 0));
    if version >= Version::new(0, 12, 0) || !too_new {
        return Ok(());
    }
    Err(Refusal::new(
        "transformers-too-new",
        format!("the runtime's lock has transformers `{locked}`, with which vLLM `{version}` does not start"),
        "lock transformers below 5, or pin `runtime.vllm` to 0.12.0 or later",
    ))
}

/// The difference between headers and `config.json`, in percent, that is too much: zero points and index
/// tensors, which some kernels drop, make up to 3.
const DIFFERENCE: u64 = 5;

fn differing(checkpoint: &Checkpoint) -> Option<Finding> {
    let (expected, found) = (checkpoint.by_config?, checkpoint.weights(1)?);
    let difference = expected.0.abs_diff(found.0);
    (difference > expected.0 / 100 * DIFFERENCE).then(|| {
        Finding::new(
            "weights-differ-from-config",
            format!("the weight files hold {found}, and `config.json` lets expect {expected}"),
        )
        .help("take the model's original `config.json`: vLLM may leave layers in 16 bits without a word")
    })
}

fn differing_from_index(checkpoint: &Checkpoint) -> Option<Finding> {
    let (said, found) = (checkpoint.by_index?, checkpoint.files_total?);
    (said != found).then(|| {
        let what =
            format!("the index says that the weight files hold {} bytes, and they hold {}", said.0, found.0);
        Finding::new("index-total-differs", what).with_remedy()
    })
}

fn draft_uncounted(inputs: Inputs<'_>) -> Option<Finding> {
    let Some(Speculation::Model(model)) = &inputs.profile.arguments().settings().speculation else {
        return None;
    };
    inputs.checkpoint.draft.is_none().then(|| {
        let what =
            format!("the draft model `{model}` is not on this host as a folder: its memory is not counted");
        Finding::new("draft-not-counted", what).with_remedy()
    })
}

fn flags_uncounted(inputs: Inputs<'_>) -> Option<Finding> {
    let arguments = inputs.profile.arguments().flags();
    let names: Vec<_> = arguments
        .iter()
        .filter(|argument| effects::of(&argument.name).is_some_and(|row| row.is_uncounted_memory()))
        .filter(|argument| match argument.name.as_str() {
            // Weights that are stored quantised stay as they are; a type of 16 bits is what is counted.
            "--quantization" => inputs.checkpoint.quantization.is_none(),
            "--dtype" => {
                argument.value.as_ref().is_some_and(|value| value.starts_with("float32") || value == "float")
            }
            _ => true,
        })
        .map(|argument| format!("`{}`", argument.written))
        .collect();
    (!names.is_empty()).then(|| {
        let what = format!("{} may change memory in a way that is not counted", names.join(", "));
        Finding::new("flags-not-counted", what).with_remedy()
    })
}

fn without_graphs(inputs: Inputs<'_>) -> Option<Finding> {
    let on_gpus = inputs.profile.runtime().device == Device::Cuda;
    let named = inputs.profile.arguments().without_graphs().filter(|_| on_gpus)?;
    let what = format!(
        "with `{named}` vLLM launches each kernel anew: what is predicted is what one model lost by it"
    );
    Some(Finding::new("without-cuda-graphs", what).with_remedy())
}

fn variables_unread(inputs: Inputs<'_>, version: Version) -> Option<Finding> {
    let names = inputs.profile.environment().keys();
    let mut unread = names.filter_map(|name| Some((name, env_vars::unread(name, version)?)));
    let (name, first) = unread.next()?;
    let more = match unread.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = format!("vLLM `{version}` does not read `{name}`{more}: what was to be changed by it is not");
    let finding = Finding::new("unknown-vllm-variable", what);
    Some(match first.like {
        Some(like) => finding.help(format!("did you mean `{like}`?")),
        None => finding.help("remove it from `vllm.environment`"),
    })
}

fn expandable_segments(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let environment = inputs.profile.environment();
    let names = ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"];
    let name = names.into_iter().find(|name| {
        environment.get(*name).is_some_and(|value| value.contains("expandable_segments:True"))
    })?;
    (budget.offload.0 > 0).then(|| {
        Finding::new(
            "expandable-segments-with-offload",
            format!("`{name}` asks for expandable segments, with which offload ran out of memory"),
        )
        .help("remove it from `vllm.environment`")
    })
}

fn named_otherwise(inputs: Inputs<'_>) -> Option<Finding> {
    let repo = &inputs.model.repo;
    let method = inputs.checkpoint.quantization.as_ref()?.method.as_str();
    // The name without its owner.
    let name = repo.rsplit('/').next().unwrap_or(repo).to_lowercase();
    let otherwise = method != "awq" && name.contains("awq");
    otherwise.then(|| {
        Finding::new(
            format!("named-awq-stored-as-{method}"),
            format!(
                "`{repo}` is named AWQ and stored as `{method}`: vLLM serves it with the kernels \
                 of `{method}`"
            ),
        )
    })
}

fn flags_unchecked(version: Version) -> Option<Finding> {
    let (first, last) = flags::versions().next().zip(flags::versions().last())?;
    (!flags::covers(version)).then(|| {
        Finding::new(
            "vllm-version-not-in-table",
            format!("the flags of vLLM `{version}` are not known here: `vllm.arguments` was not checked"),
        )
        .help(format!("the table has versions from {first} to {last}"))
    })
}

fn not_modelled(checkpoint: &Checkpoint) -> Option<Finding> {
    let architecture = &checkpoint.architecture;
    let what = match (&checkpoint.shape, &checkpoint.tensors) {
        (Some(_), Some(_)) => return None,
        (None, _) if checkpoint.latent_attention => " and its latent attention (MLA) are",
        (None, _) if checkpoint.multimodal => " and its parts for images or sound are",
        (None, _) => " is",
        (Some(_), None) => " in this quantisation is",
    };
    let why = checkpoint.unmodelled.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let cache = if checkpoint.shape.is_some() { "" } else { ", the KV cache not counted" };
    Some(Finding::new(
        "architecture-not-modelled",
        format!("`{architecture}`{what} not modelled{why}: memory is estimated from file sizes{cache}"),
    ))
}

/// The vLLM whose text was the same with experts in RAM as without, log-probability by log-probability.
const SAME_TEXT: Version = Version::new(0, 26, 0);

fn offloaded(inputs: Inputs<'_>, version: Version, budget: &Budget) -> Option<Finding> {
    // Reported of hybrids, and seen of no other.
    let hybrid = inputs.checkpoint.shape.as_ref().is_none_or(|shape| shape.linear_num_value_heads > 0);
    (budget.offload.0 > 0 && hybrid).then(|| {
        if version == SAME_TEXT {
            let what = format!(
                "weight offload of hybrid models gave wrong text in some versions (vLLM issue 38718); in \
                 `{version}` it was seen to be the same"
            );
            return Finding::new("offload-gave-same-text", what);
        }
        let finding = Finding::new(
            "offload-needs-right-answers",
            "weight offload of hybrid models was reported to give wrong text in some versions \
             (vLLM issue 38718)",
        );
        match inputs.profile.gates().min_known_answers {
            Some(_) => finding,
            None => finding
                .help("let validation ask its known questions: set `validation.quality.min-known-answers`"),
        }
    })
}

fn all_reduce_disabled(inputs: Inputs<'_>, budget: &Budget) -> Option<Finding> {
    let on_gpus = inputs.profile.runtime().device == Device::Cuda;
    let ranks = budget.tensor_parallel_size;
    (on_gpus && ranks > 2 && !inputs.facts.nvlinked(ranks)).then(|| {
        Finding::new(
            "custom-all-reduce-disabled",
            "vLLM's own all-reduce does not work on more than two GPUs that only PCIe connects: \
             it is switched off",
        )
        .help("with NVLink, add `--no-disable-custom-all-reduce` to `vllm.arguments`")
    })
}

fn too_slow(inputs: Inputs<'_>, predicted: Option<f64>) -> Option<Finding> {
    let floor = inputs.profile.gates().min_decode_tokens_per_second;
    predicted.filter(|predicted| *predicted < floor).map(|predicted| {
        Finding::new(
            "predicted-too-slow",
            format!(
                "{predicted:.1} tokens/s are predicted, and validation asks for {floor}: it will \
                 probably be rolled back"
            ),
        )
        .help("use a faster PCIe link, more VRAM, or a smaller quantisation")
    })
}

//! How the GPUs of a plan share a model: by layers in a pipeline, and within a layer.

use super::inputs::Inputs;
use crate::domain::{
    checkpoint::{Checkpoint, architecture::Family},
    profile::{Device, Profile},
    vllm::version::Version,
};
use std::{collections::BTreeMap, fmt, ops::Range};

/// The variable that says how many layers each stage has.
const PARTITION: &str = "VLLM_PP_LAYER_PARTITION";
/// The first vLLM of which a hybrid, or a model that came later than Llama and Qwen, was reported to run in a pipeline. That
/// all of them do in 0.32.0 was read in its source (`SupportsPP`).
const OTHERS: Version = Version::new(0, 19, 0);
/// The first vLLM of which it is taken that each stage keeps layers of its own in RAM: `make_layers` wraps those of the stage
/// (read in 0.32.0).
const OFFLOADS: Version = Version::new(0, 26, 0);

/// A pipeline of stages, each of GPUs that share its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// `--tensor-parallel-size`: the GPUs of a stage.
    pub(crate) tensor: u32,
    /// `--pipeline-parallel-size`: the stages.
    pub(crate) pipeline: u32,
}

impl Grid {
    /// One stage of so many GPUs.
    pub(crate) const fn tensor(tensor: u32) -> Self {
        Self { tensor, pipeline: 1 }
    }

    /// All GPUs.
    pub(crate) const fn gpus(self) -> u32 {
        self.tensor.saturating_mul(self.pipeline)
    }

    /// The stages of a model, first to last. Empty where its layers are unknown, or cannot be split so.
    pub(crate) fn stages(self, checkpoint: &Checkpoint, profile: &Profile) -> Vec<Checkpoint> {
        if self.pipeline <= 1 {
            return vec![checkpoint.clone()];
        }
        let Some(shape) = &checkpoint.shape else { return Vec::new() };
        let counts = counts(shape.num_hidden_layers, u64::from(self.pipeline), profile.environment());
        let ranges = counts.map(|counts| ranges(&counts)).unwrap_or_default();
        ranges.iter().filter_map(|layers| checkpoint.stage(layers)).collect()
    }

    /// Whether this version can serve it in a pipeline.
    pub(crate) fn check(self, inputs: Inputs<'_>, version: Version) -> Result<(), String> {
        let Inputs { profile, checkpoint, .. } = inputs;
        if self.pipeline <= 1 {
            return Ok(());
        }
        if profile.runtime().device == Device::Cpu {
            return Err("pipelines of the CPU build are not modelled".to_owned());
        }
        let Some(shape) = &checkpoint.shape else {
            return Err(format!(
                "`{}` is not modelled, so that its layers are unknown",
                checkpoint.architecture
            ));
        };
        let long_known = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Qwen3Moe, Family::Mixtral];
        if version < OTHERS && !long_known.contains(&shape.family) {
            return Err(format!(
                "whether vLLM `{version}` serves `{}` in a pipeline is unknown; from {OTHERS} on it does",
                checkpoint.architecture
            ));
        }
        if profile.arguments().settings().speculation.is_some() {
            return Err("what guesses tokens ahead does not run in a pipeline".to_owned());
        }
        counts(shape.num_hidden_layers, u64::from(self.pipeline), profile.environment()).map(|_| ())
    }

    /// Whether this version can keep layers of each stage in RAM.
    pub(crate) fn offloads(self, version: Version) -> bool {
        self.pipeline <= 1 || version >= OFFLOADS
    }
}

impl fmt::Display for Grid {
    /// "TP 2", "TP 2 × PP 3"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TP {}", self.tensor)?;
        if self.pipeline > 1 { write!(f, " × PP {}", self.pipeline) } else { Ok(()) }
    }
}

/// The layers of each stage as vLLM splits them (`get_pp_indices`): evenly, and what is left goes to the stages before the last,
/// one each. A variable says otherwise.
fn counts(layers: u64, stages: u64, environment: &BTreeMap<String, String>) -> Result<Vec<u64>, String> {
    let Some(written) = environment.get(PARTITION) else {
        if layers < stages {
            return Err(format!("it has {layers} layers for {stages} stages"));
        }
        let (each, left) = (layers / stages, layers % stages);
        let more = |stage: u64| u64::from((2..left + 2).contains(&(stages - stage)));
        return Ok((0..stages).map(|stage| each + more(stage)).collect());
    };
    let counts: Option<Vec<u64>> = written.split(',').map(|count| count.trim().parse().ok()).collect();
    let sum = |counts: &[u64]| counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
    counts
        .filter(|counts| counts.len() as u64 == stages && sum(counts) == Some(layers) && !counts.contains(&0))
        .ok_or_else(|| {
            format!("`{PARTITION}={written}` is not {stages} numbers of layers, {layers} together")
        })
}

/// Layers from and to, by their numbers.
fn ranges(counts: &[u64]) -> Vec<Range<u64>> {
    let ends = counts.iter().scan(0, |end, count| {
        *end += count;
        Some(*end)
    });
    ends.zip(counts).map(|(end, count)| end - count..end).collect()
}

//! The setting that two plans must share for what one of them showed to count for the other.

use super::{
    grid::Grid,
    runner::{self, Runner},
};
use crate::domain::{
    checkpoint::Checkpoint,
    digest::Sha256Digest,
    machine::{facts::Facts, start::StartSetting},
    profile::Profile,
    vllm::version::Version,
};

/// The digest of the profile's own arguments and variables: they may change how anything is computed.
pub(crate) fn arguments(profile: &Profile) -> Sha256Digest {
    let arguments = profile.arguments().words().iter().map(|word| format!("{word}\n"));
    let variables = profile.environment().iter().map(|(name, value)| format!("{name}={value}\n"));
    Sha256Digest::of(arguments.chain(variables).collect::<String>())
}

/// The names of the GPUs of so many ranks.
pub(crate) fn gpus(facts: &Facts, ranks: u32) -> Vec<String> {
    facts.gpus.iter().take(ranks as usize).map(|gpu| gpu.name.clone()).collect()
}

/// Where the weights of a plan lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// All in VRAM.
    InVram,
    /// Some in RAM.
    InRam,
}

impl StartSetting {
    /// The setting of a start on such ranks. `None` for a pipeline, and where vLLM's version is none.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        profile: &Profile,
        facts: &Facts,
        grid: Grid,
        weights: Weights,
    ) -> Option<Self> {
        // The log of a pipeline tells of several stages at once.
        if grid.pipeline > 1 {
            return None;
        }
        let version = Version::of(&profile.runtime().vllm)?;
        let weights_in_ram = weights == Weights::InRam;
        // Where the second would ignore weights in RAM the first is taken.
        let by_itself = runner::of(checkpoint, version);
        let first = weights_in_ram && version < runner::SECOND_OFFLOADS;
        let total = checkpoint.files_total.filter(|_| checkpoint.shape.is_none());
        let model = (&checkpoint.architecture, &checkpoint.shape, &checkpoint.quantization, total);
        Some(Self {
            gpus: gpus(facts, grid.tensor),
            vllm: profile.runtime().vllm.clone(),
            runner: if first { Runner::First } else { by_itself },
            model: Sha256Digest::of(serde_json::to_string(&model).ok()?),
            weights_in_ram,
            arguments: arguments(profile),
        })
    }
}

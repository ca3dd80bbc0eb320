//! Corrects the memory of a plan by what the engine's own log told of a start on this host.
//!
//! What vLLM needs beside weights and cache is known by formulas and the logs of others. The log of a server that
//! was proven here tells it: its share, less the weights, less the cache that was left. Another plan in the same
//! setting takes the difference between that and what was computed for it; with the same limits it is the same.

use crate::domain::{
    digest::Sha256Digest, generation_id::GenerationId, size::ByteSize, vllm::runner::Runner,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The memory of a server that was proven on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The setting in which it started.
    pub setting: StartSetting,
    /// The memory that its log told of.
    pub shown: ShownMemory,
}

/// The setting of a start. What it needed says something about another only in the same setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SettingOfStart")]
pub struct StartSetting {
    /// The name of each rank's GPU.
    pub(crate) gpus: Vec<String>,
    /// vLLM's version.
    pub(crate) vllm: String,
    /// The model runner.
    pub(crate) runner: Runner,
    /// The digest of the model's shape and quantisation.
    pub(crate) model: Sha256Digest,
    /// Whether weights lie in RAM.
    pub(crate) weights_in_ram: bool,
    /// The digest of the profile's own arguments and variables.
    pub(crate) arguments: Sha256Digest,
}

/// The memory of one rank, as the log of a start told it, beside what was computed for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShownMemory {
    /// The generation that started.
    pub generation: GenerationId,
    /// The profile of that generation.
    pub(crate) profile: String,
    /// When its validation ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: jiff::Timestamp,
    /// Its `--max-num-seqs`.
    pub(crate) max_num_seqs: u32,
    /// Its `--max-num-batched-tokens`.
    pub(crate) max_num_batched_tokens: u32,
    /// The overhead that was computed by formulas.
    pub(crate) computed: ByteSize,
    /// The overhead that the log told.
    pub seen: ByteSize,
    /// How many times as many tokens as computed its cache held. 1: as computed.
    pub(crate) tokens: f64,
    /// The cache that vLLM itself says would fit into its share ("`--kv-cache-memory=`").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fits: Option<ByteSize>,
}

/// The overheads, of those that were computed, that a log is believed: beyond it, something else was started than was planned, or somebody wrote into it.
const BELIEVED: RangeInclusive<f64> = 0.25..=4.0;
/// The tokens of the cache that it is believed, likewise.
const BELIEVED_TOKENS: RangeInclusive<f64> = 0.5..=2.0;
/// The share by which formulas may be off without being wrong: nothing is learned of tokens within it.
const EXACT: f64 = 0.01;

impl StartSetting {
    /// The newest start in this setting.
    pub(crate) fn newest(&self, starts: &[Start]) -> Option<ShownMemory> {
        let alike = starts.iter().filter(|one| one.setting == *self).map(|one| &one.shown);
        alike.filter(|one| one.is_believed()).max_by_key(|one| one.at).cloned()
    }
}

impl ShownMemory {
    /// Whether such a start can be.
    pub(crate) fn is_believed(&self) -> bool {
        BELIEVED.contains(&(self.seen.0 as f64 / self.computed.0 as f64))
            && BELIEVED_TOKENS.contains(&self.tokens)
    }

    /// The overhead of a plan for which formulas compute so much.
    pub(crate) fn corrected(&self, computed: ByteSize) -> ByteSize {
        (computed + self.seen).less(self.computed)
    }

    /// The overhead that formulas compute for a plan that was corrected to so much.
    pub(crate) fn uncorrected(&self, corrected: ByteSize) -> ByteSize {
        (corrected + self.computed).less(self.seen)
    }

    /// Whether it had the same limits: then nothing is computed anew.
    pub(crate) fn is_of(&self, max_num_seqs: u32, max_num_batched_tokens: u32) -> bool {
        self.max_num_seqs == max_num_seqs && self.max_num_batched_tokens == max_num_batched_tokens
    }
}

/// How many times as many tokens as computed a cache of so many bytes holds. The log rounds bytes to this step.
pub(crate) fn times_tokens(computed: f64, seen: f64, bytes: ByteSize, step: ByteSize) -> f64 {
    let times = seen / computed;
    let doubt = EXACT + step.0 as f64 / bytes.0.max(1) as f64;
    if (1.0 - doubt..=1.0 + doubt).contains(&times) { 1.0 } else { times }
}

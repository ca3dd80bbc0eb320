//! How each number of a plan is known.

use crate::domain::{
    machine::calibration::RatesFrom,
    planning::{plan::Plan, prediction::Decode},
    vllm::arguments::Arguments,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// How a number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Known {
    /// This host showed it.
    Measured,
    /// Follows from the checkpoint, the settings, and rates that a probe measured.
    Computed,
    /// Rests on what other machines or models showed.
    Estimated,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measured => "measured",
            Self::Computed => "computed",
            Self::Estimated => "estimated",
        })
    }
}

/// How the numbers of `memory` and `prediction` of the same names are known. Null where there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Basis {
    /// Weights in VRAM and RAM.
    pub(crate) weights: Option<Known>,
    /// The memory that vLLM needs beside weights and cache, in its share.
    pub(crate) overhead: Option<Known>,
    /// The memory that it takes beside its share.
    pub(crate) uncounted: Option<Known>,
    /// The rest for the cache, and so the tokens, contexts and sequences that fit.
    pub(crate) kv_cache: Option<Known>,
    /// The cache of one sequence, and of all.
    pub(crate) kv_cache_needed: Option<Known>,
    /// RAM.
    pub(crate) ram: Known,
    /// The rate of one stream, and of all.
    pub(crate) decode_tokens_per_second: Option<Known>,
    /// The time to the first token.
    pub(crate) time_to_first_token_seconds: Option<Known>,
}

impl Basis {
    /// That of this plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let memory = &plan.memory;
        let modelled = plan.findings.iter().all(|finding| finding.code != "architecture-not-modelled");
        let weights = if modelled { Known::Computed } else { Known::Estimated };
        let fixed = Arguments::of(&plan.serve.argv).settings().cache_fixed.is_some();
        let shown = if memory.shown_by.is_some() { Known::Measured } else { Known::Estimated };
        let cache = if fixed { Known::Computed } else { shown };
        let decode = |decode: &Decode| match (&decode.corrected_by, decode.rates) {
            (Some(_), _) => Known::Measured,
            (None, RatesFrom::Probe) => Known::Computed,
            (None, RatesFrom::Table) => Known::Estimated,
        };
        Self {
            weights: memory.shard.map(|_| weights),
            overhead: memory.overhead.map(|_| shown),
            uncounted: memory.uncounted.map(|_| Known::Estimated),
            kv_cache: memory.kv_cache.map(|_| cache),
            kv_cache_needed: memory.kv_cache_needed.map(|_| Known::Computed),
            ram: Known::Estimated,
            decode_tokens_per_second: plan.prediction.decode_tokens_per_second.as_ref().map(decode),
            time_to_first_token_seconds: plan
                .prediction
                .time_to_first_token_seconds
                .map(|_| Known::Estimated),
        }
    }
}

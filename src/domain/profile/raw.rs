//! A profile as it is written: types are right, values are unchecked and know their place. Unknown keys are refused
//! where the document is surveyed, so that they are told with all other mistakes.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawProfile {
    pub(super) service: Spanned<String>,
    pub(super) model: RawModel,
    pub(super) runtime: RawRuntime,
    #[serde(default)]
    pub(super) listen: RawListen,
    #[serde(default)]
    pub(super) parallelism: RawParallelism,
    #[serde(default)]
    pub(super) memory: RawMemory,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) vllm: RawVllm,
    #[serde(default)]
    pub(super) secrets: RawSecrets,
    #[serde(default)]
    pub(super) timeouts: RawTimeouts,
    #[serde(default)]
    pub(super) validation: RawValidation,
    #[serde(default)]
    pub(super) tolerances: RawTolerances,
    #[serde(default)]
    pub(super) watch: RawWatch,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawModel {
    pub(super) repo: Spanned<String>,
    #[serde(default)]
    pub(super) alternatives: Vec<Spanned<String>>,
    pub(super) revision: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) signed_by: Option<Spanned<String>>,
    pub(super) served_name: Spanned<String>,
    pub(super) verify_at_start: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawRuntime {
    pub(super) vllm: Spanned<String>,
    pub(super) device: Option<Spanned<String>>,
    pub(super) python: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawListen {
    pub(super) host: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawParallelism {
    pub(super) tensor_parallel_size: Option<Spanned<CountOrWord>>,
    pub(super) pipeline_parallel_size: Option<Spanned<CountOrWord>>,
    pub(super) gpus: Option<Spanned<Vec<CountOrWord>>>,
}

/// A number, or a word in its place.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum CountOrWord {
    Count(i64),
    Word(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawMemory {
    pub(super) gpu: Option<Spanned<String>>,
    pub(super) ram: Option<Spanned<String>>,
    pub(super) gpu_memory_utilization: Option<Spanned<f64>>,
    pub(super) offload: Option<Spanned<String>>,
}

#[allow(clippy::struct_field_names)] // The names are vLLM's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawLimits {
    pub(super) max_model_len: Option<Spanned<i64>>,
    pub(super) max_num_seqs: Option<Spanned<i64>>,
    pub(super) max_num_batched_tokens: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawVllm {
    #[serde(default)]
    pub(super) arguments: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawSecrets {
    pub(super) api_key_file: Option<Spanned<String>>,
    pub(super) hub_token_file: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawTimeouts {
    pub(super) start: Option<Spanned<String>>,
    pub(super) request: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawValidation {
    pub(super) min_decode_tokens_per_second: Option<Spanned<f64>>,
    pub(super) output_tokens: Option<Spanned<i64>>,
    pub(super) repetitions: Option<Spanned<i64>>,
    pub(super) warmups: Option<Spanned<i64>>,
    pub(super) baseline: Option<RawBaseline>,
    pub(super) quality: Option<RawQuality>,
    #[serde(default)]
    pub(super) sweep: RawSweep,
    pub(super) arrivals: Option<RawArrivals>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawArrivals {
    pub(super) rate: Spanned<f64>,
    pub(super) time: Option<Spanned<String>>,
    pub(super) max_ttft_ms: Option<Spanned<f64>>,
    pub(super) max_tpot_ms: Option<Spanned<f64>>,
    pub(super) max_e2el_ms: Option<Spanned<f64>>,
    pub(super) min_goodput: Option<Spanned<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawSweep {
    pub(super) prompt_tokens: Option<Spanned<Vec<i64>>>,
    pub(super) concurrency: Option<Spanned<Vec<i64>>>,
    pub(super) time: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawBaseline {
    pub(super) profile: Spanned<String>,
    pub(super) min_ratio: Spanned<f64>,
    pub(super) required: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawQuality {
    pub(super) min_known_answers: Spanned<f64>,
    pub(super) max_perplexity_ratio: Option<Spanned<f64>>,
    pub(super) max_cut_answers: Option<Spanned<f64>>,
    pub(super) max_divergence: Option<Spanned<f64>>,
    pub(super) max_divergence_same_weights: Option<Spanned<f64>>,
    pub(super) required: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawTolerances {
    pub(super) weights: Option<Spanned<f64>>,
    pub(super) offload: Option<Spanned<f64>>,
    pub(super) kv_cache: Option<Spanned<f64>>,
    pub(super) vram: Option<Spanned<f64>>,
    pub(super) ram: Option<Spanned<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawWatch {
    pub(super) minutes: Option<Spanned<i64>>,
    pub(super) every: Option<Spanned<String>>,
    pub(super) max_ttft: Option<Spanned<String>>,
}

//! Configurations as they are found, with what vLLM 0.32.0's own classes made of each; and whether ours says the same.
//!
//! `tests/it/checkpoint` holds ours against what is recorded, `tests/real` what is recorded against the real vLLM.

use awqdeploy::domain::checkpoint::{Checkpoint, config::ConfigFiles};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One line of `tests/fixtures/wild/configs.json`.
#[derive(Deserialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    /// `config.json`, and what lies beside it.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) vllm: Answer,
}

/// The answer of vLLM's `ModelConfig`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Whether it raises an error.
    pub(crate) refused: bool,
    /// The method, by vLLM's own name. Absent for 16 bits.
    pub(crate) quantization: Option<String>,
    /// The longest context. Absent where what it takes by default is not the most that it allows.
    pub(crate) context: Option<u64>,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) head_dim: u64,
    pub(crate) layers: u64,
    pub(crate) hidden_size: u64,
    pub(crate) vocab_size: u64,
}

pub(crate) fn all() -> Vec<Found> {
    serde_json::from_str(include_str!("fixtures/wild/configs.json")).expect("the fixture is JSON")
}

/// Lists what of ours is not what vLLM says: a configuration that it accepts is read, or not modelled.
pub(crate) fn differences(found: &Found, vllm: &Answer) -> Vec<String> {
    let mut files = ConfigFiles::alone(&found.files["config.json"]);
    files.beside = found.files.clone();
    if vllm.refused {
        return Vec::new();
    }
    let ours = match Checkpoint::of_files(&files, None) {
        Ok(ours) => ours,
        Err(problem) => return vec![format!("{}: refused: {problem}", found.name)],
    };
    // Read beside `config.json` by nobody but a person with `--quantization`.
    let named = ours
        .quantization
        .filter(|it| it.file.is_none() || it.file.as_deref() == Some("hf_quant_config.json"));
    let mut rows = vec![
        (
            "method",
            named.map(|it| it.method.into()),
            vllm.quantization.as_deref().map(|it| spelled(it).into()),
        ),
        ("heads", ours.attention_heads.map(Value::from), Some(vllm.heads.into())),
    ];
    if let Some(shape) = ours.shape {
        let longest = shape.longest_context();
        let shape = serde_json::to_value(shape).expect("dimensions are JSON");
        let field = |name: &str| shape.get(name).cloned();
        // Latent attention keeps one vector for all heads.
        let width = field("latent").filter(|width| *width != 0).or_else(|| field("head_dim"));
        // Older versions take the longest where newer ones take what is written, and allow the longest.
        let context = field("max_position_embeddings")
            .map(|written| if vllm.context == Some(longest) { longest.into() } else { written });
        rows.extend([
            ("context", context.filter(|_| vllm.context.is_some()), vllm.context.map(Value::from)),
            ("heads", field("num_attention_heads"), Some(vllm.heads.into())),
            ("heads of the cache", field("num_key_value_heads"), Some(vllm.kv_heads.into())),
            ("width of a head", width, Some(vllm.head_dim.into())),
            ("layers", field("num_hidden_layers"), Some(vllm.layers.into())),
            ("width", field("hidden_size"), Some(vllm.hidden_size.into())),
            ("vocabulary", field("vocab_size"), Some(vllm.vocab_size.into())),
        ]);
    }
    let differ = rows.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    differ
        .map(|(what, ours, theirs)| format!("{}: {what}: {ours:?} here, {theirs:?} there", found.name))
        .collect()
}

/// vLLM's name of a method, as the checkpoints spell it.
fn spelled(method: &str) -> String {
    match method {
        "auto_gptq" => "gptq".to_owned(),
        "auto_awq" => "awq".to_owned(),
        "inc" => "auto-round".to_owned(),
        "gpt_oss_mxfp4" => "mxfp4".to_owned(),
        other => other.replace('_', "-"),
    }
}

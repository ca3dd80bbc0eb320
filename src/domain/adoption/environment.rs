//! Chooses which variables of a running server its generation keeps.

use crate::domain::{
    problem::{Kind, Problem},
    profile::kept_variable,
};
use std::{collections::BTreeMap, path::PathBuf};

/// The variables that a generation keeps. The names of those that look as if they mattered and are left out go
/// into `notes`; no value does.
///
/// # Errors
/// [`Kind::Refused`] where the server asks its clients for a key: ours would serve without one.
pub fn environment(
    seen: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Problem> {
    if seen.get("VLLM_API_KEY").is_some_and(|key| !key.is_empty()) {
        return Err(asks_for_a_key("the variable `VLLM_API_KEY`"));
    }
    let mut kept = BTreeMap::new();
    for (name, value) in seen {
        let matters = KEPT.iter().any(|prefix| name.starts_with(prefix));
        if !matters || PLACES.contains(&name.as_str()) {
            continue;
        }
        if kept_variable(name, value) {
            kept.insert(name.clone(), value.clone());
        } else {
            notes.push(format!("the variable `{name}` is left out, and its value is recorded nowhere"));
        }
    }
    Ok(kept)
}

/// Variables that say how vLLM computes. The others that a process inherits (from its shell or session) do
/// not belong to the server.
pub(crate) const KEPT: &[&str] = &[
    "VLLM_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "GLOO_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "FLASHINFER_",
    "HF_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
    "SAFETENSORS_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "KMP_",
    "PYTHON",
    "LD_",
    "MALLOC_",
    "AWQDEPLOY_REHEARSAL_",
];

/// The kept variables whose place the unit decides: each service has folders of its own.
pub(crate) const PLACES: &[&str] = &[
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN_PATH",
    "TRANSFORMERS_CACHE",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_HOME",
    "CUDA_CACHE_PATH",
    // Set by systemd, or left by a shell.
    "VLLM_ENGINE_READY_TIMEOUT_S",
];

pub(crate) fn asks_for_a_key(whence: &str) -> Problem {
    let what = format!("this server asks its clients for a key ({whence}), and its generation would not");
    Problem::new(Kind::Refused, what)
        .help("start it without one, and adopt it then; afterwards its profile can name a key's file by `secrets.api-key-file`; \
               its key was recorded nowhere")
}

/// A running process, as far as it can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The command line.
    pub argv: Vec<String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// The file that it executes.
    pub executable: PathBuf,
}

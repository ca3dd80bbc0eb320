//! Chooses which variables of a running server its generation keeps.

use crate::domain::{
    problem::{Kind, Problem},
    profile::kept_variable,
    vllm::{env_vars, version::Version},
};
use std::{collections::BTreeMap, path::PathBuf};

/// The variables that a generation keeps. The names of the others go into `notes`, but for those of every session; no
/// value does. `version` tells which variables of vLLM's own it reads.
///
/// # Errors
/// [`Kind::Refused`] where the server asks its clients for a key: ours would serve without one.
pub fn environment(
    seen: &BTreeMap<String, String>,
    version: Option<Version>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Problem> {
    if seen.get("VLLM_API_KEY").is_some_and(|key| !key.is_empty()) {
        return Err(asks_for_a_key("the variable `VLLM_API_KEY`"));
    }
    let mut kept = BTreeMap::new();
    let mut left: Vec<&str> = Vec::new();
    for (name, value) in seen {
        let matters = KEPT.iter().any(|prefix| name.starts_with(prefix)) || WHOLE.contains(&name.as_str());
        // A script's own, such as `VLLM_MODEL`: vLLM does not read it.
        let unread = version.is_some_and(|version| env_vars::unread(name, version).is_some());
        if SESSION.iter().any(|own| own == name) {
            continue;
        }
        if matters && !unread && !PLACES.contains(&name.as_str()) && kept_variable(name, value) {
            kept.insert(name.clone(), value.clone());
        } else if name != "PATH" || !is_usual_path(value) {
            left.push(name);
        }
    }
    if !left.is_empty() {
        let names: Vec<_> = left.iter().map(|name| format!("`{name}`")).collect();
        notes
            .push(format!("variables are left out, and their values recorded nowhere: {}", names.join(", ")));
    }
    Ok(kept)
}

/// Whether only folders of the system, and those of virtual environments, are searched for programs.
fn is_usual_path(value: &str) -> bool {
    const USUAL: [&str; 8] = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/snap/bin",
        "/usr/games",
    ];
    value.split(':').all(|folder| USUAL.contains(&folder) || folder.ends_with("venv/bin"))
}

/// Variables that every process has of its session and service manager.
const SESSION: [&str; 30] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "MAIL",
    "HOSTNAME",
    "EDITOR",
    "PAGER",
    "LESS",
    "LS_COLORS",
    "TMPDIR",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "VIRTUAL_ENV",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Variables of compilers and helpers that vLLM starts, by their whole names.
const WHOLE: [&str; 3] = ["CC", "CXX", "CUDACXX"];

/// Variables that say how vLLM computes. What else a process inherits (its shell's, its session's) does not
/// belong to the server.
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
    "LMCACHE_",
    "UCX_",
    "NIXL_",
    "MOONCAKE_",
    "NVSHMEM_",
    "HIP_",
    "HSA_",
    "ROCR_",
    "AITER_",
    "NUMEXPR_",
    "GOMP_",
    "RAY_",
    "DG_",
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
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "HUGGINGFACE_HUB_CACHE",
    // Where the model came from: it lies in the store now.
    "VLLM_USE_MODELSCOPE",
    "MODELSCOPE_CACHE",
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

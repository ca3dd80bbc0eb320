//! Which files of a folder are its weights, as vLLM chooses them, and what a folder without any is.

use std::{fmt, path::Path};

/// The beginning of the pointer that `git clone` leaves of a large file where Git LFS is not installed.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The remedy for such a pointer.
pub(crate) const POINTER_HELP: &str =
    "get the files themselves: `git lfs pull` in that clone, or `awqdeploy fetch PROFILE` from the hub";
/// Pointers are shorter.
pub(crate) const LONGEST_POINTER: u64 = 1024;

/// The endings that vLLM looks for, one after the other: the first that matches any file decides.
const PATTERNS: [&str; 3] = [".safetensors", ".bin", ".pt"];
/// The files that training leaves beside weights. As vLLM's loader has it.
const NO_WEIGHTS: [&str; 5] =
    ["training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"];
/// How the files of Mistral's own format begin.
const CONSOLIDATED: &str = "consolidated";

/// Why a folder holds no model that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAModel {
    /// `params.json` instead of `config.json`.
    Mistral,
    /// An adapter for another model.
    Adapter,
    /// Only files of llama.cpp.
    Gguf,
    /// No `config.json`.
    NoConfig,
    /// No weights.
    NoWeights,
    /// The index names files that are not there.
    Missing(Vec<String>),
    /// A file is a pointer.
    Pointer(String),
}

impl fmt::Display for NotAModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistral => {
                f.write_str("it is in Mistral's own format (`params.json`), which is not supported")
            }
            Self::Adapter => f.write_str("it is an adapter (`adapter_config.json`), not a model"),
            Self::Gguf => f.write_str("it holds GGUF files of llama.cpp, which are not supported"),
            Self::NoConfig => f.write_str("it has no `config.json`"),
            Self::NoWeights => f.write_str("it has no weights: neither `*.safetensors` nor `*.bin`"),
            Self::Missing(files) => {
                let named: Vec<_> = files.iter().take(3).map(|file| format!("`{file}`")).collect();
                write!(f, "its index names {}", named.join(", "))?;
                match files.len().saturating_sub(named.len()) {
                    0 => {}
                    more => write!(f, " and {more} more")?,
                }
                f.write_str(", which it lacks")
            }
            Self::Pointer(file) => write!(f, "`{file}` is a pointer of Git LFS, not the file"),
        }
    }
}

impl NotAModel {
    /// The remedy.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Mistral => {
                "take a repository of the same model that has `config.json` and `model*.safetensors`"
            }
            Self::Adapter => "name the model that it was made for; vLLM takes adapters by `--lora-modules`",
            Self::Gguf => "take a repository with `*.safetensors`",
            Self::NoConfig => "name the folder, or the repository, that holds the model's `config.json`",
            Self::NoWeights | Self::Missing(_) => "fetch the missing files, or name the folder that has them",
            Self::Pointer(_) => POINTER_HELP,
        }
    }
}

/// Whether a file that begins so is a pointer of Git LFS.
pub(crate) fn is_pointer(start: &[u8]) -> bool {
    start.starts_with(POINTER)
}

/// The weight files among the names of a folder without an index, sorted. Files of Mistral's own format beside others are
/// the same weights once more.
#[expect(clippy::needless_pass_by_value, reason = "iterators are passed by value")]
pub fn weights<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let of = |pattern: &'static str| {
        let mut of: Vec<_> = names.clone().filter(|name| is_weight(name, pattern)).collect();
        of.sort_unstable();
        of
    };
    let mut found =
        PATTERNS.iter().map(|pattern| of(pattern)).find(|found| !found.is_empty()).unwrap_or_default();
    if found.iter().any(|name| !name.starts_with(CONSOLIDATED)) {
        found.retain(|name| !name.starts_with(CONSOLIDATED));
    }
    found
}

fn is_weight(name: &str, pattern: &str) -> bool {
    let adapter = name.starts_with("adapter_model");
    !name.contains('/') && name.ends_with(pattern) && !NO_WEIGHTS.contains(&name) && !adapter
}

/// Tells what a folder with these names is, if it is no model. `indexed` are the files that its index names.
#[expect(clippy::needless_pass_by_value, reason = "iterators are passed by value")]
pub fn judge<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    indexed: Option<impl Iterator<Item = &'a str>>,
) -> Result<(), NotAModel> {
    let has = |wanted: &str| names.clone().any(|name| name == wanted);
    let weights = weights(names.clone());
    if !has("config.json") {
        return Err(match () {
            () if has("params.json") => NotAModel::Mistral,
            () if has("adapter_config.json") => NotAModel::Adapter,
            () => NotAModel::NoConfig,
        });
    }
    let missing: Vec<_> =
        indexed.into_iter().flatten().filter(|file| !has(file)).map(str::to_owned).collect();
    if !missing.is_empty() {
        return Err(NotAModel::Missing(missing));
    }
    match weights.is_empty() {
        false => Ok(()),
        true if names.clone().any(|name| Path::new(name).extension().is_some_and(|kind| kind == "gguf")) => {
            Err(NotAModel::Gguf)
        }
        true => Err(NotAModel::NoWeights),
    }
}

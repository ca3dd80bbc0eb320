//! Reads a server that somebody set up by hand, so that it can be a rollback target: its command line and
//! environment, and what a generation takes over of them word for word.

mod command_line;
pub mod config_file;
mod environment;
pub mod files;
pub mod places;
mod profile;
pub mod program;
pub mod standing;
pub mod unit_file;

pub use command_line::{CommandLine, Reading, serves};
pub use environment::{Seen, environment};
pub use profile::{Terms, is_ours, write};

use super::digest::Sha256Digest;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The record of a generation that was adopted and not deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adopted {
    /// The unit that ran the server. Absent for a process of no unit.
    pub(crate) unit: Option<ForeignUnit>,
    /// The process that was found.
    pub(crate) process: Process,
    /// The command line as it was found.
    pub(crate) argv: Vec<String>,
    /// The packages beside its interpreter, by name. They are a record only: nothing keeps them as they are.
    pub(crate) packages: BTreeMap<String, String>,
    /// Remarks for a person.
    pub(crate) notes: Vec<String>,
    /// Files that its command line names, as they were. They stay where they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<PathBuf, Sha256Digest>,
}

/// A unit that somebody else wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignUnit {
    /// With its suffix.
    pub(crate) name: String,
    /// The file that it was read from.
    pub(crate) path: PathBuf,
    /// The digest of that file. A deployment may replace this text, and no other.
    pub(crate) digest: Sha256Digest,
}

/// One process, told apart from any later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The number of the process.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the boot.
    pub(crate) started: u64,
    /// The boot that it belongs to.
    pub(crate) boot: String,
}

/// The name of the model: as it was asked for, as its cache has it, or after its folder.
pub(crate) fn repo(model: &str, folder: &Path) -> String {
    let parts: Vec<_> = folder.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let cached = parts.iter().find_map(|part| part.strip_prefix("models--")?.split_once("--"));
    if let Some((owner, name)) = cached {
        return format!("{owner}/{name}");
    }
    if !Path::new(model).is_absolute() && model.split('/').count() == 2 && !model.starts_with('.') {
        return model.to_owned();
    }
    let name: String = parts.last().map_or("model".into(), ToString::to_string);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    format!("local/{}", name.chars().map(plain).collect::<String>())
}

/// The command line without the secrets in it.
pub(crate) fn told(argv: &[String]) -> Vec<String> {
    let secret = |word: &str| word.replace('_', "-").split('=').next() == Some("--hf-token");
    let mut told = Vec::new();
    for (index, word) in argv.iter().enumerate() {
        let follows = index > 0 && secret(&argv[index - 1]) && !argv[index - 1].contains('=');
        told.push(match word.split_once('=') {
            _ if follows => "…".to_owned(),
            Some((flag, _)) if secret(word) => format!("{flag}=…"),
            _ => word.clone(),
        });
    }
    told
}

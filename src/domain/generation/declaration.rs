//! Compares the declaration of a configuration with the host, and says what is left to do.
//!
//! It is known by what it says, and not by who says it: another nixpkgs, another awqdeploy or another order of the keys
//! declares nothing else, and must not restart a model server.

use crate::domain::{activation::machine::Cause, digest::Sha256Digest, generation_id::GenerationId};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The texts of one profile that decide what is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a> {
    /// The name.
    pub name: &'a str,
    /// The profile itself.
    pub profile: &'a str,
    /// The lock of its model, where there is one.
    pub model: Option<&'a str>,
    /// The lock of its vLLM, where there is one.
    pub runtime: Option<&'a str>,
    /// The text of the unit, where somebody renders it beforehand.
    pub unit: Option<&'a str>,
}

/// The digest of these profiles, in this order: the one to run, then its rollback targets.
pub fn digest(profiles: &[Texts<'_>]) -> Sha256Digest {
    let mut said = String::from("awqdeploy declaration 1\n");
    for Texts { name, profile, model, runtime, unit } in profiles {
        let parts = [
            Some((*name).to_owned()),
            Some(meaning(profile)),
            model.map(meaning),
            runtime.map(meaning),
            unit.map(built_from_any),
        ];
        for part in parts {
            match part {
                // The length keeps one text from running into the next.
                Some(part) => {
                    let _ = writeln!(said, "{}\n{part}", part.len());
                }
                None => said.push_str("none\n"),
            }
        }
    }
    Sha256Digest::of(said)
}

/// Whether two TOML texts mean the same.
pub(crate) fn same(one: &str, other: &str) -> bool {
    meaning(one) == meaning(other)
}

/// The values of a TOML text, without its layout; the text itself where it is no TOML.
fn meaning(text: &str) -> String {
    text.parse::<toml::Table>()
        .map_or_else(|_| text.to_owned(), |table| canonical(&toml::Value::Table(table)))
}

fn canonical(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let mut keys: Vec<_> = table.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let inside: Vec<_> =
                keys.iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", inside.join(","))
        }
        toml::Value::Array(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        toml::Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// The text of a unit without the names of runtimes. Each build of Nix gives the same lock another name, and
/// the declaration holds the lock itself.
fn built_from_any(unit: &str) -> String {
    const FOLDER: &str = "/store/runtimes/";
    let mut parts = unit.split(FOLDER);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(FOLDER);
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    text
}

/// The record of the last attempt at a declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The digest of the declaration.
    pub declaration: Sha256Digest,
    /// The boot in which it began, by the kernel's own name.
    pub boot: String,
    /// The newest activation before the attempt; 0 where there was none.
    pub after: u64,
    /// How the attempt ended. Absent: it goes on, was stopped, or ended in a way that says nothing of the
    /// declaration.
    pub end: Option<Ended>,
}

/// An end that speaks for or against a declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Ended {
    /// The declaration runs, and is proven.
    Committed {
        /// The generation of the declaration.
        generation: GenerationId,
    },
    /// The declaration was tried, and was rolled back.
    WentBack {
        /// The generation of the declaration.
        generation: GenerationId,
        /// The reason of the rollback.
        why: String,
    },
    /// The host went down while it was tried, and this was told in the attempt's boot.
    HostWentDown,
}

/// The present state of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now<'a> {
    /// The boot, by the kernel's own name.
    pub boot: &'a str,
    /// The newest activation; 0 where there is none.
    pub activations: u64,
    /// The generation of `current`.
    pub current: Option<Current<'a>>,
}

/// The generation of `current`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current<'a> {
    /// The number.
    pub generation: GenerationId,
    /// The profile.
    pub profile: &'a str,
    /// Whether it was made from the profile and the model that are declared.
    pub is_declared: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Deploy the declaration.
    Deploy,
    /// Nothing: this generation of the declaration runs.
    Serves(GenerationId),
    /// Nothing, although the declaration does not run.
    Stands(Why),
}

/// Why a declaration does not run, and is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Tried, and failed for this reason.
    Failed(String),
    /// Another generation has been activated since; of this profile, where there is one.
    Replaced(Option<String>),
    /// The host went down while it was tried.
    HostWentDown,
}

/// Decides what to do for a declaration.
pub fn next(declared: Sha256Digest, last: Option<&Attempt>, now: Now<'_>) -> Next {
    let Some(attempt) = last.filter(|attempt| attempt.declaration == declared) else { return Next::Deploy };
    // A person has deployed the same by hand since.
    let by_hand = |tried: GenerationId| {
        now.current
            .filter(|current| current.is_declared && current.generation > tried)
            .map(|current| current.generation)
    };
    let is_there = now.current.is_some_and(|current| current.is_declared);
    match &attempt.end {
        Some(Ended::Committed { generation }) => {
            match by_hand(*generation)
                .or(now.current.map(|current| current.generation).filter(|id| id == generation))
            {
                Some(serves) => Next::Serves(serves),
                None => Next::Stands(Why::Replaced(now.current.map(|current| current.profile.to_owned()))),
            }
        }
        Some(Ended::WentBack { generation, why }) => match by_hand(*generation) {
            Some(serves) => Next::Serves(serves),
            None => Next::Stands(Why::Failed(why.clone())),
        },
        // A candidate that brings a host down must not do so at every boot. Whoever asks once more in the same boot
        // wants it tried.
        None if attempt.boot != now.boot && now.activations > attempt.after && !is_there => {
            Next::Stands(Why::HostWentDown)
        }
        Some(Ended::HostWentDown) if attempt.boot != now.boot && !is_there => Next::Stands(Why::HostWentDown),
        None | Some(Ended::HostWentDown) => Next::Deploy,
    }
}

impl Ended {
    /// The end that a rollback stands for. An interrupted activation, and one that could not stop the old
    /// server, say nothing of the generation.
    pub fn after(generation: GenerationId, cause: &Cause) -> Option<Self> {
        cause.blames_the_generation().then(|| Self::WentBack { generation, why: cause.to_string() })
    }
}

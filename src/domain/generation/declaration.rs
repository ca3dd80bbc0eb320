//! What a configuration declares shall serve, and what is left to do for it.
//!
//! It is known by what it says, and not by who says it: another nixpkgs, another awqdeploy or another order of the keys
//! declares nothing else, and must not restart a model server.

use crate::domain::{activation::machine::Cause, digest::Sha256Digest, generation_id::GenerationId};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The texts of one profile that decide what it deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a> {
    /// Its name.
    pub name: &'a str,
    /// The profile itself.
    pub profile: &'a str,
    /// The lock of its model, where there is one.
    pub model: Option<&'a str>,
    /// The lock of its vLLM, where there is one.
    pub runtime: Option<&'a str>,
    /// The text of its unit, where somebody renders it beforehand.
    pub unit: Option<&'a str>,
}

/// The digest of these profiles, in this order: what shall serve, and what to return to.
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
                // With its length: no text runs into the next.
                Some(part) => {
                    let _ = writeln!(said, "{}\n{part}", part.len());
                }
                None => said.push_str("none\n"),
            }
        }
    }
    Sha256Digest::of(said)
}

/// Whether two TOML texts say the same.
pub(crate) fn same(one: &str, other: &str) -> bool {
    meaning(one) == meaning(other)
}

/// What a TOML text says, without its layout; the text itself where it is none.
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

/// A unit's text without the names of runtimes: the same lock has another name with each build of Nix, and is in the
/// declaration itself.
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

/// The last attempt at a declaration, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was declared.
    pub declaration: Sha256Digest,
    /// The boot in which it began, by the kernel's own name.
    pub boot: String,
    /// The newest activation before it; 0 where there was none.
    pub after: u64,
    /// How it ended. Absent: it goes on, was stopped, or never came to an end that says anything of what is declared.
    pub end: Option<Ended>,
}

/// An end that speaks for or against what was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Ended {
    /// It serves, and is proven.
    Committed {
        /// As this generation.
        generation: GenerationId,
    },
    /// It was tried, and went back by itself.
    WentBack {
        /// As this generation.
        generation: GenerationId,
        /// What was found wrong with it.
        why: String,
    },
    /// The host went down while it was tried, and this was told in the attempt's boot.
    HostWentDown,
}

/// What is on the host now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now<'a> {
    /// The boot, by the kernel's own name.
    pub boot: &'a str,
    /// The newest activation; 0 where there is none.
    pub activations: u64,
    /// What `current` points at.
    pub current: Option<Current<'a>>,
}

/// What `current` points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current<'a> {
    /// Its number.
    pub generation: GenerationId,
    /// Its profile.
    pub profile: &'a str,
    /// Whether it was made from the profile and the model that are declared.
    pub is_declared: bool,
}

/// What is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To deploy what is declared.
    Deploy,
    /// Nothing: this generation of it serves.
    Serves(GenerationId),
    /// Nothing, and it does not serve.
    Stands(Why),
}

/// Why what is declared does not serve, and is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was tried, and this was wrong with it.
    Failed(String),
    /// It was deployed, and something else has been activated since; of this profile, where anything serves.
    Replaced(Option<String>),
    /// The host went down while it was tried.
    HostWentDown,
}

/// What is left to do for a declaration.
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
        // What brings a host down must not do so at every boot. Whoever asks once more in the same boot wants it tried.
        None if attempt.boot != now.boot && now.activations > attempt.after && !is_there => {
            Next::Stands(Why::HostWentDown)
        }
        Some(Ended::HostWentDown) if attempt.boot != now.boot && !is_there => Next::Stands(Why::HostWentDown),
        None | Some(Ended::HostWentDown) => Next::Deploy,
    }
}

impl Ended {
    /// What an activation that went back says of its generation. One that was interrupted, or that could not stop what
    /// served, says nothing.
    pub fn after(generation: GenerationId, cause: &Cause) -> Option<Self> {
        cause.blames_the_generation().then(|| Self::WentBack { generation, why: cause.to_string() })
    }
}

//! Everything that a plan is made of.

use crate::domain::{
    checkpoint::Checkpoint,
    digest::Sha256Digest,
    lockfile::{Interpreter, needs::Need},
    machine::facts::Facts,
    profile::{Profile, VerifyAtStart},
    store::{layout::Layout, manifest::Part},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What is wanted.
    pub profile: &'a Profile,
    /// The model: locked, or only known.
    pub model: &'a PlannedModel,
    /// Its shape.
    pub checkpoint: &'a Checkpoint,
    /// The runtime.
    pub runtime: &'a PlannedRuntime,
    /// The host.
    pub facts: &'a Facts,
    /// Where everything lies.
    pub layout: &'a Layout,
}

/// A model in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedModel {
    /// `owner/name` on the hub.
    pub repo: String,
    /// The locked revision.
    pub revision: String,
    /// `--served-model-name`.
    pub served_name: String,
    /// Its name in the store. Absent while it is not locked yet.
    pub digest: Option<Sha256Digest>,
    /// Its folder.
    pub path: PathBuf,
    /// What the service reads of it before each start. Generations of before this was known have none.
    #[serde(default)]
    pub verify_at_start: VerifyAtStart,
}

/// A runtime in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRuntime {
    /// vLLM's version.
    pub vllm: String,
    /// Its name in the store. Absent for a runtime that is not installed by awqdeploy.
    pub digest: Option<Sha256Digest>,
    /// The command that `serve` and its arguments follow.
    pub command: Vec<String>,
    /// The interpreter that it was installed for. Absent where somebody else keeps the runtime, where Nix built it with
    /// its interpreter, and in generations of before the files of runtimes were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Interpreter>,
    /// What else it needs of the host, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

impl PlannedRuntime {
    /// What of it lies in the store: the runtime, and the interpreter where that is locked, each by its name there.
    pub(crate) fn installed(&self) -> Vec<(Part, Sha256Digest)> {
        let runtime = self.digest.map(|digest| (Part::Runtime, digest));
        let python = self.python.as_ref().and_then(Interpreter::locked);
        runtime.into_iter().chain(python.map(|name| (Part::Interpreter, name))).collect()
    }
}

//! The inputs of a plan.

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

/// The inputs of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// The model: locked, or only known.
    pub model: &'a PlannedModel,
    /// The checkpoint of the model.
    pub checkpoint: &'a Checkpoint,
    /// The runtime.
    pub runtime: &'a PlannedRuntime,
    /// The host.
    pub facts: &'a Facts,
    /// The places below the root.
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
    /// The name in the store. Absent while the model is not locked yet.
    pub digest: Option<Sha256Digest>,
    /// The folder.
    pub path: PathBuf,
    /// The part of the files that the service reads before each start. Absent in older generations.
    #[serde(default)]
    pub verify_at_start: VerifyAtStart,
}

/// A runtime in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRuntime {
    /// vLLM's version.
    pub vllm: String,
    /// The name in the store. Absent for a runtime that is not installed by awqdeploy.
    pub digest: Option<Sha256Digest>,
    /// The command that `serve` and its arguments follow.
    pub command: Vec<String>,
    /// The interpreter that it was installed for. Absent where somebody else keeps the runtime, where Nix
    /// built it with its interpreter, and in older generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Interpreter>,
    /// The other needs of the host, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

impl PlannedRuntime {
    /// The parts in the store with their names: the runtime, and the interpreter where it is locked.
    pub(crate) fn installed(&self) -> Vec<(Part, Sha256Digest)> {
        let runtime = self.digest.map(|digest| (Part::Runtime, digest));
        let python = self.python.as_ref().and_then(Interpreter::locked);
        runtime.into_iter().chain(python.map(|name| (Part::Interpreter, name))).collect()
    }
}

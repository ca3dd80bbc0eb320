//! A profile that was checked.

use super::{
    document::DocumentError,
    keys::KEYS,
    secrets::Secrets,
    values::{Gates, Limits, Listen, Memory, Model, Parallel, Runtime, Timeouts, Tolerances, Watch},
};
use crate::domain::{problem::Problem, vllm::arguments::Arguments};
use std::collections::BTreeMap;

/// A validated profile. Only [`Profile::parse`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub(super) name: String,
    pub(super) service: String,
    pub(super) model: Model,
    pub(super) runtime: Runtime,
    pub(super) listen: Listen,
    pub(super) tensor_parallel: Parallel,
    pub(super) pipeline_parallel: Parallel,
    pub(super) gpus: Vec<String>,
    pub(super) memory: Memory,
    pub(super) limits: Limits,
    pub(super) arguments: Arguments,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) secrets: Secrets,
    pub(super) timeouts: Timeouts,
    pub(super) gates: Gates,
    pub(super) tolerances: Tolerances,
    pub(super) watch: Watch,
}

impl Profile {
    /// The name: the file's stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The systemd unit's name without suffix.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The source of the model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The address of the API.
    pub fn listen(&self) -> Listen {
        self.listen
    }

    /// `--tensor-parallel-size`.
    pub fn tensor_parallel(&self) -> Parallel {
        self.tensor_parallel
    }

    /// `--pipeline-parallel-size`. Left to the plan it is 1, unless that of tensors is left to it, too.
    pub fn pipeline_parallel(&self) -> Parallel {
        self.pipeline_parallel
    }

    /// The GPUs that the profile names, by number or UUID. The environment has them, too.
    pub fn gpus(&self) -> &[String] {
        &self.gpus
    }

    /// The memory that the service may use.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Context and batch limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Further arguments of `vllm serve`.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// Further environment of `vllm serve`.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Files with secrets for the engine.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The limits of time.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The gates of the validation.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The tolerances between plan and running engine.
    pub fn tolerances(&self) -> Tolerances {
        self.tolerances
    }

    /// The probation after the commit.
    pub fn watch(&self) -> Watch {
        self.watch
    }
}

/// Turns a mistake of the program's own making into a problem in the words of the file's key.
pub(super) fn unplaced(path: impl Into<String>) -> impl Fn(DocumentError) -> Problem {
    let path = path.into();
    move |fault| fault.unplaced(KEYS, &path)
}

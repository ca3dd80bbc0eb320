//! What is known of a checkpoint from its `config.json`: architecture, quantisation, bytes by class.

use super::{problem::Problem, size::Bytes};
use serde::{Deserialize, Serialize};

/// A checkpoint's shape as far as a plan needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// `architectures[0]`.
    pub architecture: String,
    /// The quantisation that `config.json` names, if any.
    pub quantization: Option<Quantization>,
    /// Dimensions, where this architecture is modelled. Absent: only `files_total` is known.
    pub shape: Option<Shape>,
    /// Bytes of all weight files, where known.
    pub files_total: Option<Bytes>,
}

/// How the weights are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// vLLM's name of the method: `compressed-tensors`, `gptq`, `awq`, …
    pub method: String,
    /// Bits of a weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: u32,
}

/// The dimensions of Qwen3-Next as its `config.json` names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    // the planner fills this in
}

impl Checkpoint {
    /// Reads a `config.json`. An architecture that is not modelled is no error.
    pub fn of(_config_json: &str, _files_total: Option<Bytes>) -> Result<Self, Problem> {
        todo!()
    }

    /// The published shape of a well-known repository, for plans before any download.
    pub fn known(_repo: &str) -> Option<Self> {
        todo!()
    }
}

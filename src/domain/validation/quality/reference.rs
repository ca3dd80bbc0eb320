//! A record of what a model expects, with which a running one is compared.

use super::{Quality, expectations::Divergence};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A record of what a model expects.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The record.
    pub quality: &'a Quality,
    /// The subject of the record.
    pub of: ReferenceOf,
    /// Where it comes from, for an operator.
    pub named: &'a str,
    /// Whether somebody asked for it: then it fails where it cannot be judged.
    pub required: bool,
}

/// The subject of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceOf {
    /// Weights locked alike: only kernels, flags and damage tell the two apart.
    SameWeights,
    /// One model in another quantisation.
    SameModel,
}

/// A comparison with a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceComparison {
    /// Where the record comes from.
    pub named: String,
    /// The subject of the record.
    pub of: ReferenceOf,
    /// The greatest mean divergence that passes, nats a token.
    pub limit: f64,
    /// How far this one expects otherwise. Absent where the two share no text.
    pub divergence: Option<Divergence>,
}

//! What an activation was asked to do: on record before it begins, so that whoever carries it out needs nobody else.

use crate::domain::generation_id::GenerationId;
use serde::{Deserialize, Serialize};

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A new generation.
    Deploy,
    /// An earlier one.
    Rollback,
}

/// An activation that is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationRequest {
    /// What was asked for.
    pub action: Action,
    /// What is to serve.
    pub to: GenerationId,
}

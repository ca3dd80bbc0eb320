//! The request for an activation. It is on record before the activation begins, so that any executor can
//! carry it out.

use crate::domain::generation_id::GenerationId;
use serde::{Deserialize, Serialize};

/// The command that a person gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A new generation.
    Deploy,
    /// An earlier one.
    Rollback,
}

/// A request for an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationRequest {
    /// What was asked for.
    pub action: Action,
    /// The generation to activate.
    pub to: GenerationId,
}

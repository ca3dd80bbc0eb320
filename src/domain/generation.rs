//! A generation: one immutable, complete deployment, kept so that it can be returned to.

use super::{activation::GenerationId, plan::Plan};
use serde::{Deserialize, Serialize};

/// What `generation.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; they count up from 1 and are never used again.
    pub id: GenerationId,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// The awqdeploy version that made it.
    pub made_by: String,
    /// Everything it runs.
    pub plan: Plan,
}

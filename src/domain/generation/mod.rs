//! A generation: one immutable, complete deployment, kept as a rollback target.

pub mod declaration;
pub mod diff;
pub mod notice;

use super::{generation_id::GenerationId, planning::plan::Plan};
use serde::{Deserialize, Serialize};

/// The format of a generation's record. A program that finds a later one says so, and leaves it alone.
pub(crate) const FORMAT: u32 = 1;

/// What `generation.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The version of this record's format: [`FORMAT`].
    pub format: u32,
    /// Its number; they count up from 1 and are never used again.
    pub id: GenerationId,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// The awqdeploy version that made it.
    pub made_by: String,
    /// Everything it runs.
    pub plan: Plan,
}

impl Generation {
    /// Whether this version of the program made it from such a plan, so that a new one would be equal.
    pub fn is_of(&self, plan: &Plan) -> bool {
        self.plan.runs_as(plan) && self.made_by == env!("CARGO_PKG_VERSION")
    }
}

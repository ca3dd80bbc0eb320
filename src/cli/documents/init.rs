//! What `init` prints.

use super::PlanDocument;
use crate::{domain::size::ByteSize, flow::init::Drafted};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// `awqdeploy/init/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InitDocument {
    pub(crate) schema: &'static str,
    /// Whether nothing was written.
    pub(crate) dry_run: bool,
    pub(crate) profile: String,
    /// Where the profile lies, or would.
    pub(crate) path: PathBuf,
    /// The files that were written. Empty in a dry run.
    pub(crate) written: Vec<PathBuf>,
    /// The text of the profile.
    pub(crate) text: String,
    /// What was read of the model. Null for a server that runs.
    pub(crate) model: Option<ModelDocument>,
    /// The profile that it is to replace.
    pub(crate) replaces: Option<String>,
    /// What comes of it on the host that it is for. Null for a server that runs.
    pub(crate) plan: Option<PlanDocument>,
    /// What else to know.
    pub(crate) notes: Vec<String>,
    /// The commands that come next, in their order.
    pub(crate) next: Vec<String>,
}

/// What was read of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelDocument {
    pub(crate) repo: String,
    pub(crate) architecture: String,
    /// How it is stored. Null: in 16 bits, or as it was trained.
    pub(crate) quantization: Option<String>,
    /// Of all weights.
    pub(crate) bytes: Option<ByteSize>,
    /// Where this was read.
    pub(crate) read_from: String,
}

impl InitDocument {
    pub(crate) fn of(drafted: Drafted, written: Option<Vec<PathBuf>>, next: Vec<String>) -> Self {
        let Drafted { name, place, proposal, checkpoint, read_from, replaces, notes } = drafted;
        Self {
            schema: "awqdeploy/init/v1",
            dry_run: written.is_none(),
            path: place,
            written: written.unwrap_or_default(),
            text: proposal.text,
            model: Some(ModelDocument {
                repo: proposal.plan.model.repo.clone(),
                bytes: checkpoint.weights(1),
                architecture: checkpoint.architecture,
                quantization: checkpoint.quantization.map(|stored| stored.method),
                read_from,
            }),
            replaces,
            plan: Some(PlanDocument::of(&name, Ok(proposal.plan))),
            notes,
            next,
            profile: name,
        }
    }
}

//! The document of `init`.

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
    /// The model. Null for a running server.
    pub(crate) model: Option<ModelDocument>,
    /// The profile that it replaces.
    pub(crate) replaces: Option<String>,
    /// The plan on its host. Null for a running server.
    pub(crate) plan: Option<PlanDocument>,
    /// Remarks for a person.
    pub(crate) notes: Vec<String>,
    /// The commands that come next, in their order.
    pub(crate) next: Vec<String>,
}

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelDocument {
    pub(crate) repo: String,
    pub(crate) architecture: String,
    /// The quantisation. Null: in 16 bits, or as it was trained.
    pub(crate) quantization: Option<String>,
    /// The bytes of all weights.
    pub(crate) bytes: Option<ByteSize>,
    /// The source of this.
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

//! The documents of `logs` and `diff`.

use crate::domain::{generation::diff::Section, generation_id::GenerationId};
use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/logs/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogsDocument {
    pub(crate) schema: &'static str,
    pub(crate) generation: GenerationId,
    /// The activation that kept the lines as evidence; null where they came from the service manager.
    pub(crate) activation: Option<u64>,
    pub(crate) lines: Vec<String>,
}

/// `awqdeploy/diff/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiffDocument {
    pub(crate) schema: &'static str,
    pub(crate) a: ComparedLine,
    pub(crate) b: ComparedLine,
    /// The parts that differ. Empty: nothing does.
    pub(crate) sections: Vec<Section>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ComparedLine {
    /// The generation. Null for a profile as it would be deployed now.
    pub(crate) generation: Option<GenerationId>,
    pub(crate) profile: String,
}

//! The document of `adopt`.

use crate::{
    domain::{generation_id::GenerationId, validation::report::Report},
    flow::adopt::{Adoption, Found},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// `awqdeploy/adoption/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AdoptionDocument {
    pub(crate) schema: &'static str,
    /// Whether it was only looked at.
    pub(crate) dry_run: bool,
    /// The generation. Null in a dry run.
    pub(crate) generation: Option<GenerationId>,
    pub(crate) profile: String,
    pub(crate) service: String,
    /// The file of the unit that runs it; null for a process of no unit.
    pub(crate) unit: Option<PathBuf>,
    pub(crate) pid: i32,
    /// The command line as it was found.
    pub(crate) argv: Vec<String>,
    /// The variables that its generation keeps.
    pub(crate) environment: BTreeMap<String, String>,
    /// Remarks for a person.
    pub(crate) notes: Vec<String>,
    /// The text of the profile.
    pub(crate) profile_text: String,
    pub(crate) report: Option<Report>,
}

impl AdoptionDocument {
    pub(crate) fn of(
        profile: String,
        found: Found,
        adoption: Option<Adoption>,
        text: Option<String>,
    ) -> Self {
        let service = found.service().to_owned();
        let Found { reading, adopted, profile: planned, .. } = found;
        Self {
            schema: "awqdeploy/adoption/v1",
            dry_run: adoption.is_none(),
            generation: adoption.as_ref().map(|adoption| adoption.generation),
            profile,
            service,
            unit: adopted.unit.map(|unit| unit.path),
            pid: adopted.process.pid,
            argv: adopted.argv,
            environment: reading.environment,
            notes: adopted.notes,
            profile_text: text.unwrap_or(planned),
            report: adoption.map(|adoption| adoption.report),
        }
    }
}

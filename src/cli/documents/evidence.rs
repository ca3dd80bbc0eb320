//! The documents of `report` and `compare`.

use crate::{
    domain::{activation::journal::Phase, generation_id::GenerationId, validation::report::Report},
    flow::inspect::compare::SideBySide,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// `awqdeploy/report/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReportDocument {
    pub(crate) schema: &'static str,
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    pub(crate) activation: u64,
    pub(crate) verdict: Option<&'static str>,
    pub(crate) downtime_seconds: Option<f64>,
    pub(crate) start_up_seconds: Option<f64>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) report: Option<Report>,
    pub(crate) returned: Option<Report>,
    pub(crate) baseline: Option<Report>,
}

/// `awqdeploy/comparison/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ComparisonDocument {
    pub(crate) schema: &'static str,
    #[serde(flatten)]
    pub(crate) compared: SideBySide,
    /// The file of the comparison. Null where it could not be kept.
    pub(crate) kept: Option<PathBuf>,
}

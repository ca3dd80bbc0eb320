//! The document of `units`.

use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/units/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnitsDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) units: Vec<UnitText>,
}

/// One unit file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnitText {
    pub(crate) name: String,
    pub(crate) text: String,
}

//! The document of `rehearse`.

use super::ActivationDocument;
use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/rehearsal/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RehearsalDocument {
    pub(crate) schema: &'static str,
    pub(crate) acts: Vec<ActDocument>,
    /// The profile that runs in the end; null if none does.
    pub(crate) serving: Option<String>,
    pub(crate) fault: Option<String>,
    /// Whether the rehearsal ended as it should.
    pub(crate) as_it_should: bool,
    /// Whether a signal ended it.
    pub(crate) interrupted: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ActDocument {
    #[serde(flatten)]
    pub(crate) activation: ActivationDocument,
    pub(crate) seconds: f64,
}

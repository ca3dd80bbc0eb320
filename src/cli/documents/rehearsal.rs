//! What `rehearse` prints.

use super::ActivationDocument;
use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/rehearsal/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RehearsalDocument {
    pub(crate) schema: &'static str,
    pub(crate) acts: Vec<ActDocument>,
    /// The profile that serves in the end; null if nothing does.
    pub(crate) serving: Option<String>,
    pub(crate) fault: Option<String>,
    /// Whether the story ended as it should.
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

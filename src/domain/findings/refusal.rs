//! Why there is no plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why there is no plan. An expected outcome: nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// A stable name: `tensor-parallel-exceeds-gpus`.
    pub code: String,
    /// A lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Refusal {
    /// A refusal of this code.
    pub(crate) fn new(code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), help: help.into() }
    }
}

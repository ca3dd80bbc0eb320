//! The two model runners of vLLM.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runner {
    /// The first.
    First,
    /// The second, `V2`.
    Second,
}

//! The engine's command line, environment and address.

use crate::domain::profile::Listen;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The engine's command line, environment and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside those that the unit sets.
    pub env: BTreeMap<String, String>,
    /// The address of the API.
    pub listen: Listen,
}

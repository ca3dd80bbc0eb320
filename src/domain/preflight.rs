//! What is known to go wrong, checked before anything is touched.

use serde::{Deserialize, Serialize};

/// Something to know before going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable name: `named-awq-stored-as-compressed-tensors`.
    pub code: String,
    /// A lowercase fragment.
    pub message: String,
    /// What to do about it, if anything.
    pub help: Option<String>,
}

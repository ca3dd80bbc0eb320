//! One wheel of a runtime's lock.

use crate::domain::{digest::Sha256Digest, size::ByteSize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One wheel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedWheel {
    /// The distribution's normalised name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// The length.
    pub size: ByteSize,
    /// The content.
    pub sha256: Sha256Digest,
    /// The path on a mirror of the index: `mirror://pypi/…`, which Nix's `fetchurl` reads. uv asks its own
    /// index and needs none.
    pub url: Option<String>,
}

//! SHA-256 digests, which name things in the store; and the hashes by which git and hubs name files.

use super::size::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// A SHA-256 digest, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(rename = "Digest")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Hashes these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of all that was fed to `hasher`.
    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The first twelve digits: enough for people to tell two apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Sha256Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("`{text}` is not a sha256 digest: want 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        digest.to_string()
    }
}

/// The name of an object of git, 40 lowercase hexadecimal digits: a commit, or a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct GitHash([u8; 20]);

/// The name of a file's content in git: the SHA-1 of `blob LENGTH`, NUL and the bytes.
#[derive(Clone, Debug)]
pub(crate) struct GitName(Sha1);

impl GitName {
    /// Begins the name of a content of this length.
    pub(crate) fn new(size: ByteSize) -> Self {
        Self(Sha1::new_with_prefix(format!("blob {}\0", size.0)))
    }

    /// Adds bytes of the content.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The name, once all bytes were given.
    pub(crate) fn finish(self) -> GitHash {
        GitHash(self.0.finalize().into())
    }
}

impl fmt::Display for GitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git:{self}")
    }
}

impl FromStr for GitHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("`{text}` is not a hash of git: want 40 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for GitHash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GitHash> for String {
    fn from(hash: GitHash) -> Self {
        hash.to_string()
    }
}

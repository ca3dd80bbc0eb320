//! Secrets that only the engine may know: named by files, and never written down anywhere else.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// Files that hold secrets, each on one line. The files are systemd's to read: it hands their contents to the
/// service, in memory, as `LoadCredential=` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// The API key that vLLM asks clients for.
    pub api_key: Option<PathBuf>,
    /// The Hugging Face token that the hub asks for.
    pub hub_token: Option<PathBuf>,
}

/// One kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    /// vLLM's API key.
    ApiKey,
    /// A Hugging Face token.
    HubToken,
}

impl Secrets {
    /// The secrets that there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Secret, &PathBuf)> {
        let each = [(Secret::ApiKey, &self.api_key), (Secret::HubToken, &self.hub_token)];
        each.into_iter().filter_map(|(secret, path)| Some((secret, path.as_ref()?)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

impl Secret {
    /// The name of the credential in the service manager.
    pub(crate) fn credential(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::HubToken => "hub-token",
        }
    }

    /// The variable in which the engine takes the secret.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::ApiKey => "VLLM_API_KEY",
            Self::HubToken => "HF_TOKEN",
        }
    }

    /// The key of the profile that names the file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::ApiKey => "secrets.api-key-file",
            Self::HubToken => "secrets.hub-token-file",
        }
    }
}

/// A secret's text. It is shown nowhere, not even by a slip.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Reads the secret in a file with this content: one line of characters that an HTTP header and an
    /// environment can carry. Returns what is wrong with it, never the secret, otherwise.
    pub fn of(content: &str) -> Result<Self, &'static str> {
        let text = content.strip_suffix('\n').unwrap_or(content);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text {
            "" => Err("is empty"),
            text if text.contains('\n') => Err("has more than one line"),
            text if !text.chars().all(|c| c.is_ascii_graphic()) => {
                Err("has characters other than letters, digits and signs")
            }
            text => Ok(Self(text.to_owned())),
        }
    }

    /// The text of the secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

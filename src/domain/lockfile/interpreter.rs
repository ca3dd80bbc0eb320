//! The interpreter of a runtime: a build that the lock names, or the host's own.

use crate::domain::digest::Sha256Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One build of one interpreter, as python-build-standalone publishes them and uv installs them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedInterpreter {
    /// The interpreter's version: `3.12.16`.
    pub version: String,
    /// The release of the build: `20261110`.
    pub build: String,
    /// The archive's file name.
    pub file: String,
    /// The archive's content: its name in the store.
    pub sha256: Sha256Digest,
}

/// The interpreter of a runtime that awqdeploy installs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Interpreter {
    /// The one that the lock names, in the store.
    Locked(LockedInterpreter),
    /// The host's own. Its updates change it, and may take it away.
    System {
        /// Its minor version: `3.12`.
        version: String,
        /// Why it is that.
        why: Unlocked,
    },
}

/// Why no interpreter is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unlocked {
    /// The profile says `python = "system"`.
    Chosen,
    /// The lock of the runtime names none: it is older than locked interpreters.
    NotInLock,
}

impl Interpreter {
    /// The name in the store, where the interpreter lies there.
    pub fn locked(&self) -> Option<Sha256Digest> {
        match self {
            Self::Locked(python) => Some(python.sha256),
            Self::System { .. } => None,
        }
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(LockedInterpreter { version, build, .. }) => {
                write!(f, "Python {version}, build {build}, of the lock")
            }
            Self::System { version, why: Unlocked::Chosen } => {
                write!(f, "Python {version} of the host, as the profile says")
            }
            Self::System { version, why: Unlocked::NotInLock } => {
                write!(f, "Python {version} of the host, since the lock names none")
            }
        }
    }
}

/// One build that can be had, as uv lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The interpreter's version.
    pub version: String,
    /// The release of the build.
    pub build: String,
    /// The archive's file name.
    pub file: String,
    /// The base address of the releases: a folder for each, with the archives.
    pub base: String,
}

#[derive(Deserialize)]
struct Line {
    version: String,
    url: Option<String>,
    implementation: String,
    variant: String,
}

impl Listed {
    /// Finds the newest build in the output of `uv python list --output-format json`, which is sorted newest
    /// first.
    pub fn newest(json: &str) -> Option<Self> {
        let lines: Vec<Line> = serde_json::from_str(json).ok()?;
        lines
            .into_iter()
            .filter(|line| line.implementation == "cpython" && line.variant == "default")
            .find_map(|Line { version, url, .. }| {
                let mut parts = url.as_deref()?.rsplitn(3, '/');
                let (file, build, base) = (parts.next()?, parts.next()?, parts.next()?);
                let file = file.replace("%2B", "+");
                Some(Self { version, build: build.to_owned(), file, base: base.to_owned() })
            })
    }

    /// The address of the archive of another build.
    pub fn url_of(&self, python: &LockedInterpreter) -> String {
        format!("{}/{}/{}", self.base, python.build, python.file.replace('+', "%2B"))
    }

    /// The lock of this build, with the hash of its archive.
    pub(crate) fn locked(self, sha256: Sha256Digest) -> LockedInterpreter {
        let Self { version, build, file, .. } = self;
        LockedInterpreter { version, build, file, sha256 }
    }
}

//! The documents of `lock` and `fetch`.

pub(super) mod collection;
pub(crate) mod verify;

use crate::{
    domain::{
        digest::Sha256Digest,
        hub::upstream::Deviations,
        lockfile::{LockedInterpreter, LockedModel},
        profile::Device,
        size::ByteSize,
    },
    flow::models::lock::{Standing, UpstreamCheck},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// `awqdeploy/upstream/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UpstreamDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) repo: String,
    pub(crate) revision: String,
    /// The locked commit.
    pub(crate) commit: Option<String>,
    /// `same`, `moved`, `changed`, `vanished`.
    pub(crate) upstream: &'static str,
    /// The present commit of the revision, where it moved.
    pub(crate) now: Option<String>,
    pub(crate) changes: Deviations,
    pub(crate) why: Option<String>,
}

impl UpstreamDocument {
    pub(crate) fn of(profile: &str, checked: UpstreamCheck) -> Self {
        let UpstreamCheck { model, standing } = checked;
        let (upstream, now, changes, why) = match standing {
            Standing::Same => ("same", None, Deviations::new(), None),
            Standing::Moved { to, changes } => ("moved", Some(to.to_string()), changes, None),
            Standing::Changed(changes) => ("changed", None, changes, None),
            Standing::Vanished(fault) => ("vanished", None, Deviations::new(), Some(fault.to_string())),
        };
        Self {
            schema: "awqdeploy/upstream/v1",
            profile: profile.to_owned(),
            repo: model.repo,
            revision: model.revision,
            commit: model.commit.map(|commit| commit.to_string()),
            upstream,
            now,
            changes,
            why,
        }
    }
}

/// `awqdeploy/lock/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LockDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    /// The model's name in the store.
    pub(crate) digest: Sha256Digest,
    #[serde(flatten)]
    pub(crate) locked: LockedModel,
}

impl LockDocument {
    pub(crate) fn of(profile: &str, locked: LockedModel) -> Self {
        Self { schema: "awqdeploy/lock/v1", profile: profile.to_owned(), digest: locked.digest(), locked }
    }
}

/// `awqdeploy/fetch/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FetchDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) path: PathBuf,
    pub(crate) files: usize,
    pub(crate) bytes: ByteSize,
    /// Bytes of contents that were on this host already.
    pub(crate) found: ByteSize,
    pub(crate) downloaded: ByteSize,
}

/// `awqdeploy/runtime-lock/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RuntimeLockDocument {
    pub(crate) schema: &'static str,
    pub(crate) vllm: String,
    pub(crate) device: Device,
    pub(crate) python: String,
    pub(crate) platform: String,
    /// The lock's name.
    pub(crate) digest: Sha256Digest,
    /// The build of the interpreter. Null where the profile takes the host's.
    pub(crate) interpreter: Option<LockedInterpreter>,
    pub(crate) wheels: usize,
    pub(crate) bytes: ByteSize,
}

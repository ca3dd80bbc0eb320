//! The places below the root. Pure path arithmetic.

use crate::domain::{digest::Sha256Digest, generation_id::GenerationId};
use std::path::{Path, PathBuf};

/// The service manager of a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The host's.
    #[default]
    System,
    /// The calling user's: `systemctl --user`.
    User,
}

/// The places below one root directory, `/var/lib/awqdeploy` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    scope: Scope,
}

impl Layout {
    /// The places below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), scope: Scope::System }
    }

    /// Sets the service manager.
    #[must_use]
    pub fn under(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The service manager.
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file whose lock is held while anything below the root changes; its text names the holder.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The link to the current generation: the one atomic point of an activation.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The record of the last attempt at what a configuration declares.
    pub(crate) fn declared(&self) -> PathBuf {
        self.root.join("declared.json")
    }

    /// All generations.
    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// One generation's immutable directory.
    pub fn generation(&self, id: GenerationId) -> PathBuf {
        self.generations().join(id.to_string())
    }

    /// The generations that a person wants to keep: an empty file each, named by its number.
    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// All activations with their journals and evidence.
    pub fn activations(&self) -> PathBuf {
        self.root.join("activations")
    }

    /// One activation's journal and evidence; they are numbered from 1 in the order of their start.
    pub fn activation(&self, number: u64) -> PathBuf {
        self.activations().join(number.to_string())
    }

    /// A verified model as a plain folder, named by the digest of its locked file list.
    pub fn model(&self, digest: Sha256Digest) -> PathBuf {
        self.models().join(digest.to_string())
    }

    /// All models.
    pub fn models(&self) -> PathBuf {
        self.root.join("store/models")
    }

    /// All contents of models' files, each a file named by its digest. The models' files are links to them.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("store/blobs")
    }

    /// One content.
    pub fn blob(&self, content: Sha256Digest) -> PathBuf {
        self.blobs().join(content.to_string())
    }

    /// The locks of the models in the store, apart from profiles that may change.
    pub(crate) fn model_locks(&self) -> PathBuf {
        self.root.join("store/locks")
    }

    /// The lock of one model in the store.
    pub fn model_lock(&self, digest: Sha256Digest) -> PathBuf {
        self.model_locks().join(format!("{digest}.toml"))
    }

    /// The hash cache of files: they need not be hashed again while they stay untouched.
    pub fn hash_cache(&self) -> PathBuf {
        self.root.join("store/memo.json")
    }

    /// Where exports are half-made, outside of the root: a file each, so that what a kill leaves is found again.
    pub(crate) fn exports(&self) -> PathBuf {
        self.root.join("store/exports")
    }

    /// The models and contents that were found damaged, and not repaired since.
    pub fn damages(&self) -> PathBuf {
        self.root.join("store/damaged.json")
    }

    /// All installed runtimes.
    pub(crate) fn runtimes(&self) -> PathBuf {
        self.root.join("store/runtimes")
    }

    /// An installed runtime, named by the digest of its lock.
    pub fn runtime(&self, digest: Sha256Digest) -> PathBuf {
        self.runtimes().join(digest.to_string())
    }

    /// All interpreters that came with locks.
    pub(crate) fn pythons(&self) -> PathBuf {
        self.root.join("store/pythons")
    }

    /// An interpreter, named by the digest of its archive.
    pub fn python(&self, archive: Sha256Digest) -> PathBuf {
        self.pythons().join(archive.to_string())
    }

    /// The manifests of runtimes and interpreters, as they were installed.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("store/manifests")
    }

    /// The manifest of the runtime or interpreter of this name.
    pub fn manifest(&self, name: Sha256Digest) -> PathBuf {
        self.manifests().join(name.to_string())
    }

    /// The hash cache of runtimes and interpreters: they need not be hashed again while they stay untouched.
    pub fn trees(&self) -> PathBuf {
        self.root.join("store/trees.json")
    }

    /// The folder of half-made things, which are renamed to their final name.
    pub fn staging(&self) -> PathBuf {
        self.root.join("store/staging")
    }

    /// Files that are being fetched, or were until somebody stopped it: named by their content.
    pub fn downloads(&self) -> PathBuf {
        self.staging().join("fetch")
    }

    /// The count of failures in a row. It lies beside the root: the service's unit shows everything below
    /// read-only, even to commands of root.
    pub(crate) fn tally(&self) -> PathBuf {
        let name = self.root.file_name().unwrap_or_default().to_string_lossy();
        self.root.with_file_name(format!("{name}-tally.json"))
    }

    /// The copy of awqdeploy for the recovery at boot.
    pub fn binary(&self) -> PathBuf {
        self.root.join("bin/awqdeploy")
    }
}

//! Models in the store: taken in file by file, each proven to be what was locked.

mod export;
mod import;
pub mod peer;
pub mod repair;
pub mod source_folder;
mod state;
pub mod verify;

pub use export::{Exported, Sharing};
pub(crate) use import::gather;
pub use import::import;
pub(crate) use verify::differ;

use super::{
    os::fs,
    store::{
        Store, StoreWriter,
        hash_cache::{HashCache, Stamp},
    },
};
use crate::domain::{
    digest::Sha256Digest,
    lockfile::LockedModel,
    problem::{Kind, Problem},
};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

impl Store {
    /// The lock of a model in the store.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where there is none, or where it is that of another model.
    pub fn model_lock(&self, digest: Sha256Digest) -> Result<LockedModel, Problem> {
        let path = self.layout().model_lock(digest);
        let help = "`awqdeploy deploy PROFILE` puts it there again";
        let text = fs::read(&path)?.ok_or_else(|| {
            Problem::new(Kind::Unverified, format!("there is no lock `{}` in the store", path.display()))
                .help(help)
        })?;
        let model = LockedModel::parse(&path, &text)?;
        if model.digest() != digest {
            return Err(Problem::new(Kind::Unverified, format!("`{}` locks another model", path.display()))
                .help(help));
        }
        Ok(model)
    }

    /// All models in the store.
    pub(crate) fn models(&self) -> Result<Vec<Sha256Digest>, Problem> {
        digests(&self.layout().models())
    }
}

/// The entries of a directory that are named by digests.
pub(super) fn digests(directory: &Path) -> Result<Vec<Sha256Digest>, Problem> {
    Ok(fs::names(directory)?.iter().filter_map(|name| Sha256Digest::from_str(name).ok()).collect())
}

impl StoreWriter<'_> {
    /// Takes a finished file, just hashed to be `content`, into the store, in place of an older one. The file
    /// is moved.
    pub(crate) fn adopt(
        &self,
        staged: &Path,
        content: Sha256Digest,
        how: fs::Transfer,
    ) -> Result<(), Problem> {
        let layout = self.store().layout();
        // A file with other owners is left as it is.
        match how {
            // A link is synced since it was made.
            fs::Transfer::Linked => {}
            fs::Transfer::Cloned | fs::Transfer::Copied => fs::make_immutable(staged)?,
        }
        fs::make_directory(&layout.blobs())?;
        fs::replace(staged, &layout.blob(content))
    }

    /// Lays a model out of contents that are all in the store. Returns its folder.
    pub(crate) fn lay_out(&self, model: &LockedModel) -> Result<PathBuf, Problem> {
        let layout = self.store().layout();
        let digest = model.digest();
        let path = layout.model(digest);
        let staged = self.stage(&format!("model-{}", digest.short()))?;
        let mut cache = self.store().hash_cache()?;
        for file in &model.files {
            let to = staged.join(&file.path);
            fs::make_directory(to.parent().unwrap_or(&to))?;
            self.link(file.sha256, &to, &mut cache)?;
        }
        fs::sync_file_system(&staged)?;
        fs::make_directory(&layout.models())?;
        // The lock first: a model without one does not count.
        self.keep_model_lock(model)?;
        fs::publish(&staged, &path)?;
        // Each content was hashed on its way in.
        self.change_damages(|damages| damages.checked(model, []))?;
        self.keep_hash_cache(&cache)?;
        Ok(path)
    }

    /// Gives a content another name. That changes the file's stamp, so the hash cache is updated.
    fn link(&self, content: Sha256Digest, to: &Path, cache: &mut HashCache) -> Result<(), Problem> {
        let blob = self.store().layout().blob(content);
        let stamp = || {
            let found = std::fs::symlink_metadata(&blob).map_err(|e| fs::failed("look at", &blob, e))?;
            Ok::<_, Problem>(Stamp::of(&found))
        };
        let before = stamp()?;
        fs::link(&blob, to)?;
        cache.note_links(&content, &before, &stamp()?);
        Ok(())
    }

    /// Keeps the lock of a model in the store beside it.
    pub fn keep_model_lock(&self, model: &LockedModel) -> Result<(), Problem> {
        let layout = self.store().layout();
        fs::make_directory(&layout.model_locks())?;
        fs::write(&layout.model_lock(model.digest()), model.to_toml())
    }
}

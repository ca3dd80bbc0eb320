//! Frees what nothing needs, and pins what a person wants to keep.
//!
//! Each thing first loses its name in one step, and is then removed: nothing half-removed has a final name.

use super::{
    models::digests,
    os::fs,
    store::{Store, StoreWriter, numbers, partial_file},
};
use crate::domain::{
    activation::machine::{Activation, State},
    digest::Sha256Digest,
    generation_id::GenerationId,
    lockfile::{Interpreter, LockedModel},
    problem::{Kind, Problem},
    size::ByteSize,
    store::gc::{Collection, Inventory, Used},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of a block in `st_blocks`, whatever the file system's own are.
const BLOCK: u64 = 512;

impl Store {
    /// The generations that a person wants to keep.
    pub(crate) fn pinned(&self) -> Result<BTreeSet<GenerationId>, Problem> {
        Ok(numbers(&self.layout().pins())?.into_iter().map(GenerationId).collect())
    }

    /// Takes stock of the store, and of what needs its contents. `locked` are the models that profiles lock.
    pub fn stock(&self, locked: &[LockedModel]) -> Result<Inventory, Problem> {
        let used = |plan: &crate::domain::planning::plan::Plan| Used {
            model: plan.model.digest,
            runtime: plan.runtime.digest,
            python: plan.runtime.python.as_ref().and_then(Interpreter::locked),
        };
        let contents = |model: &LockedModel| model.files.iter().map(|file| file.sha256).collect();
        let layout = self.layout();
        let mut models = BTreeMap::new();
        for digest in self.models()? {
            // A model without its lock is as good as gone, and so are its files.
            models.insert(digest, self.model_lock(digest).map(|model| contents(&model)).unwrap_or_default());
        }
        let unfinished = self.last_activation()?.and_then(|recorded| match recorded.last()? {
            Activation { state: State::Done { .. }, .. } => None,
            Activation { from, to, .. } => Some(from.iter().chain([to]).copied().collect()),
        });
        Ok(Inventory {
            generations: self
                .every_generation()
                .map_err(|problem| {
                    problem.help("what it needs is not known, so that nothing is removed: restore it, or remove its folder")
                })?
                .iter()
                .map(|generation| (generation.id, used(&generation.plan)))
                .collect(),
            current: self.current()?,
            proven: self.known_good()?,
            pinned: self.pinned()?,
            unfinished: unfinished.unwrap_or_default(),
            models,
            locked: locked.iter().map(|model| (model.digest(), contents(model))).collect(),
            runtimes: digests(&layout.runtimes())?.into_iter().collect(),
            pythons: digests(&layout.pythons())?.into_iter().collect(),
            manifests: digests(&layout.manifests())?.into_iter().collect(),
            contents: digests(&layout.blobs())?.into_iter().collect(),
            downloads: partial_file::there(&layout.downloads())?,
        })
    }

    /// Bytes that the disk gets back when a collection is carried out: a file that has other names stays.
    pub fn freed(&self, collection: &Collection) -> Result<ByteSize, Problem> {
        let mut links = BTreeMap::new();
        for path in self.doomed(collection)? {
            count(&path, &mut links)?;
        }
        let gone = links.into_values().filter(|(seen, all, _)| seen >= all);
        Ok(ByteSize(gone.map(|(_, _, blocks)| blocks * BLOCK).sum()))
    }

    /// Bytes of the interrupted downloads that stay.
    pub(crate) fn downloads(&self, collection: &Collection) -> Result<ByteSize, Problem> {
        let downloads = self.layout().downloads();
        let others = partial_file::others(&downloads, &collection.downloads)?;
        let mut links = BTreeMap::new();
        for path in fs::names(&downloads)?.into_iter().map(|name| downloads.join(name)) {
            if !others.contains(&path) {
                count(&path, &mut links)?;
            }
        }
        Ok(ByteSize(links.into_values().map(|(_, _, blocks)| blocks * BLOCK).sum()))
    }

    /// The paths that a collection removes, generations first: what is left must never miss what it needs.
    fn doomed(&self, collection: &Collection) -> Result<Vec<PathBuf>, Problem> {
        let Collection { generations, models, runtimes, pythons, manifests, contents, .. } = collection;
        let layout = self.layout();
        let mut paths: Vec<PathBuf> = generations.iter().map(|id| layout.generation(*id)).collect();
        paths.extend(self.failed_activations(generations)?);
        paths.extend(models.iter().map(|model| layout.model(*model)));
        paths.extend(self.stray_locks(models)?);
        paths.extend(runtimes.iter().map(|runtime| layout.runtime(*runtime)));
        paths.extend(pythons.iter().map(|python| layout.python(*python)));
        paths.extend(manifests.iter().map(|name| layout.manifest(*name)));
        paths.extend(contents.iter().map(|content| layout.blob(*content)));
        let (staging, downloads) = (layout.staging(), layout.downloads());
        let staged = fs::names(&staging)?.into_iter().map(|name| staging.join(name));
        paths.extend(staged.filter(|path| *path != downloads));
        paths.extend(partial_file::others(&downloads, &collection.downloads)?);
        Ok(paths)
    }

    /// The locks of these models, and of models that are not there, as a kill may leave them.
    fn stray_locks(&self, models: &BTreeSet<Sha256Digest>) -> Result<Vec<PathBuf>, Problem> {
        let layout = self.layout();
        let kept: BTreeSet<PathBuf> = (self.models()?.into_iter())
            .filter(|model| !models.contains(model))
            .map(|model| layout.model_lock(model))
            .collect();
        let locks = fs::entries(&layout.model_locks())?.into_iter();
        Ok(locks.map(|name| layout.model_locks().join(name)).filter(|lock| !kept.contains(lock)).collect())
    }

    /// The activations that never proved these generations. The newest activation stays, and so do the
    /// measurements of proven generations: others are compared with them.
    fn failed_activations(&self, generations: &BTreeSet<GenerationId>) -> Result<Vec<PathBuf>, Problem> {
        let proven = self.known_good()?;
        let newest = self.last_activation()?.map(|recorded| recorded.number);
        let goes = |to: &GenerationId| generations.contains(to) && !proven.contains(to);
        let failed = self.activations()?.into_iter().filter(|recorded| {
            Some(recorded.number) != newest && recorded.last().is_some_and(|activation| goes(&activation.to))
        });
        Ok(failed.map(|recorded| self.layout().activation(recorded.number)).collect())
    }
}

impl StoreWriter<'_> {
    /// Carries out a collection.
    pub fn collect(&self, collection: &Collection) -> Result<(), Problem> {
        self.sweep_exports()?;
        let doomed = self.store().doomed(collection)?;
        let staging = self.store().layout().staging();
        fs::make_directory(&staging)?;
        let (half_made, named): (Vec<_>, Vec<_>) =
            doomed.into_iter().partition(|path| path.starts_with(&staging));
        let mut nameless = half_made;
        for (number, path) in named.iter().enumerate() {
            if path.symlink_metadata().is_ok() {
                let to = staging.join(format!("collected-{}-{number}", std::process::id()));
                fs::replace(path, &to)?;
                nameless.push(to);
            }
        }
        for path in nameless {
            fs::remove_entry(&path)?;
        }
        self.keep_trees()?;
        let Collection { models, contents, .. } = collection;
        self.change_damages(|damages| {
            damages.keep(|model| !models.contains(model), |content| !contents.contains(content));
        })?;
        let mut cache = self.store().hash_cache()?;
        cache.keep(|content| !collection.contents.contains(content));
        self.keep_hash_cache(&cache)
    }

    /// Keeps a generation until it is unpinned.
    pub fn pin(&self, id: GenerationId) -> Result<(), Problem> {
        self.store().generation(id)?;
        let pins = self.store().layout().pins();
        fs::make_directory(&pins)?;
        fs::write(&pins.join(id.to_string()), "")
    }

    /// Unpins a generation. One that is not pinned is a mistake.
    pub fn unpin(&self, id: GenerationId) -> Result<(), Problem> {
        if !self.store().pinned()?.contains(&id) {
            return Err(Problem::new(Kind::Usage, format!("generation {id} is not pinned"))
                .help("`awqdeploy generations` shows which are"));
        }
        fs::remove(&self.store().layout().pins().join(id.to_string()))
    }
}

/// By device and inode: names seen, names that exist, blocks.
type Links = BTreeMap<(u64, u64), (u64, u64, u64)>;

fn count(path: &Path, links: &mut Links) -> Result<(), Problem> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if metadata.is_dir() {
        // Only its owner may look into some of what is half-made.
        for name in fs::entries(path).unwrap_or_default() {
            count(&path.join(name), links)?;
        }
        // A directory's own names are those of its children, and go with them.
        links.insert((metadata.dev(), metadata.ino()), (1, 1, metadata.blocks()));
        return Ok(());
    }
    let entry =
        links.entry((metadata.dev(), metadata.ino())).or_insert((0, metadata.nlink(), metadata.blocks()));
    entry.0 += 1;
    Ok(())
}

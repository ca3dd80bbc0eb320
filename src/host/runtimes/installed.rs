//! Installed folders in the store, runtimes and interpreters: checks them against the manifest that was
//! written at the installation.
//!
//! A runtime has tens of thousands of files. While all their stamps are unchanged since they were hashed,
//! none is read: one hash over the stamps is remembered.

use super::uv;
use crate::{
    domain::{
        digest::Sha256Digest,
        problem::{Kind, Problem},
        size::ByteSize,
        store::manifest::{Entry, Manifest, Mode},
    },
    host::{
        models::{
            digests,
            verify::{self, Damage, Difference},
        },
        os::{
            fs,
            parallel::{self, Progress},
            signals::Interrupt,
        },
        store::{
            Store, StoreWriter,
            hash_cache::{Stamp, of_service},
            hashing,
        },
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

/// How often a folder that was just written to is looked at again. It is also the longest wait: after a clock
/// was set back the moment might never come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// The service's own hash cache in its directory.
const OWN: &str = "trees.json";

/// The hash cache of folders: the name of each in the store, with the hash over its manifest and all its
/// stamps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeHashCache(BTreeSet<(Sha256Digest, Sha256Digest)>);

/// The result of a check.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The files that differ from their manifest, by path. Empty: the folder is whole.
    pub(crate) damaged: Vec<Damage>,
    /// The name and the hash by which the folder can be recognised.
    pub(crate) noted: Option<(Sha256Digest, Sha256Digest)>,
}

/// A complete folder, ready to be published.
#[derive(Debug)]
pub struct Ready<'a> {
    /// The path of the folder now.
    pub staged: &'a Path,
    /// The contents, as [`finish`] found them.
    pub entries: BTreeMap<PathBuf, Entry>,
    /// The name in the store.
    pub name: Sha256Digest,
    /// The final path.
    pub to: &'a Path,
}

impl TreeHashCache {
    /// Reads the hash cache of a file. A damaged file counts as an empty one: everything is hashed again.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        Ok(fs::read_record(path)?.unwrap_or_default())
    }

    /// Reads the service's own hash cache, in the directory that systemd gives it (`StateDirectory=`). Empty
    /// where it has none.
    pub(crate) fn of_service() -> Self {
        // The cache only saves time: without it the service hashes.
        of_service(OWN).and_then(|path| Self::read(&path).ok()).unwrap_or_default()
    }

    /// Adds to the service's own hash cache what was proven now.
    pub(crate) fn add_to_own(noted: &[(Sha256Digest, Sha256Digest)]) -> Result<(), Problem> {
        let Some(path) = of_service(OWN).filter(|_| !noted.is_empty()) else { return Ok(()) };
        let mut cache = Self::of_service();
        for (name, stamps) in noted {
            cache.note(*name, *stamps);
        }
        fs::write_unlocked(&path, cache.text()?)
    }

    /// Merges two caches.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn knows(&self, name: Sha256Digest, stamps: Sha256Digest) -> bool {
        self.0.contains(&(name, stamps))
    }

    /// Replaces what was known of this folder.
    fn note(&mut self, name: Sha256Digest, stamps: Sha256Digest) {
        self.0.retain(|(known, _)| *known != name);
        self.0.insert((name, stamps));
    }

    fn text(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(|e| Problem::doing("write down what was hashed", e))
    }
}

impl Store {
    /// The manifest of this name. Nothing for installations of an earlier version, which wrote none.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where the record was changed.
    pub fn manifest(&self, name: Sha256Digest) -> Result<Option<Manifest>, Problem> {
        let path = self.layout().manifest(name);
        fs::read(&path)?.map(|text| Manifest::parse(&path, &text)).transpose()
    }

    /// All runtimes that are in the store.
    pub(crate) fn runtimes(&self) -> Result<Vec<Sha256Digest>, Problem> {
        digests(&self.layout().runtimes())
    }

    /// All interpreters that are in the store.
    pub(crate) fn pythons(&self) -> Result<Vec<Sha256Digest>, Problem> {
        digests(&self.layout().pythons())
    }

    /// The store's hash cache of folders.
    pub(crate) fn trees(&self) -> Result<TreeHashCache, Problem> {
        TreeHashCache::read(&self.layout().trees())
    }
}

impl StoreWriter<'_> {
    /// Gives a finished folder its final name, with a manifest. The folder is never there without one.
    pub fn publish(&self, ready: Ready<'_>) -> Result<(), Problem> {
        let Ready { staged, entries, name, to } = ready;
        let layout = self.store().layout();
        let manifest = Manifest::of(entries)?;
        for folder in [&layout.manifests(), to.parent().unwrap_or(to)] {
            fs::make_directory(folder)?;
        }
        fs::write(&layout.manifest(name), manifest.to_text())?;
        fs::publish_over(staged, to)?;
        // A rename touches nothing inside: the hashes stay true.
        self.note_tree(name, stamps(&manifest, &parts(to)?))
    }

    /// Saves what was proven.
    pub(crate) fn note_trees(&self, noted: &[(Sha256Digest, Sha256Digest)]) -> Result<(), Problem> {
        noted.iter().try_for_each(|(name, stamps)| self.note_tree(*name, *stamps))
    }

    fn note_tree(&self, name: Sha256Digest, stamps: Sha256Digest) -> Result<(), Problem> {
        let mut cache = self.store().trees()?;
        if cache.knows(name, stamps) {
            return Ok(());
        }
        cache.note(name, stamps);
        fs::write(&self.store().layout().trees(), cache.text()?)
    }

    /// Forgets folders that are no longer in the store.
    pub(crate) fn keep_trees(&self) -> Result<(), Problem> {
        let store = self.store();
        let mut cache = store.trees()?;
        let there = digests(&store.layout().manifests())?;
        let before = cache.0.len();
        cache.0.retain(|(name, _)| there.contains(name));
        if cache.0.len() == before { Ok(()) } else { fs::write(&store.layout().trees(), cache.text()?) }
    }
}

/// Checks the folder of this name against its manifest. Nothing is read if the hash cache knows it as it is.
pub(crate) fn check(
    (name, folder): (Sha256Digest, &Path),
    manifest: &Manifest,
    cache: &TreeHashCache,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Seen, Problem> {
    let began = SystemTime::now();
    let there = parts(folder)?;
    let before = stamps(manifest, &there);
    if cache.knows(name, before) {
        return Ok(Seen { damaged: Vec::new(), noted: Some((name, before)) });
    }
    let mut differences = BTreeMap::new();
    let mut jobs = Vec::new();
    for (path, entry) in manifest.entries().iter().filter(|(path, _)| *path != Path::new(uv::LOCK)) {
        match (there.get(path), entry) {
            (None, _) => drop(differences.insert(path, Difference::Missing)),
            (Some(found), Entry::File { sha256, size, mode }) => match plainly(found, *size, *mode) {
                Some(difference) => drop(differences.insert(path, difference)),
                None => jobs.push((folder.join(path), path, *sha256)),
            },
            (Some(found), Entry::Link { target }) => {
                let leads = std::fs::read_link(folder.join(path)).ok();
                if !found.is_symlink() || leads.as_ref() != Some(target) {
                    differences.insert(path, Difference::Content);
                }
            }
        }
    }
    let added = there.keys().filter(|path| !manifest.entries().contains_key(*path));
    differences.extend(added.map(|path| (path, Difference::Added)));
    let found =
        parallel::each(&jobs, interrupt, progress, |(path, _, _), worker| hashing::whole(path, worker))?;
    for ((_, path, expected), (_, sha256)) in jobs.iter().zip(found) {
        if sha256 != *expected {
            differences.insert(path, Difference::Content);
        }
    }
    let damage = |(path, difference): (&PathBuf, Difference)| Damage {
        path: path.clone(),
        difference,
        pieces: Vec::new(),
    };
    let damaged: Vec<_> = differences.into_iter().map(damage).collect();
    let after = parts(folder)?;
    let known = damaged.is_empty() && is_settled(&after, began) && stamps(manifest, &after) == before;
    Ok(Seen { damaged, noted: known.then_some((name, before)) })
}

/// The difference that shows without reading the content.
fn plainly(found: &Metadata, size: ByteSize, mode: Mode) -> Option<Difference> {
    if found.is_symlink() {
        return Some(Difference::Link);
    }
    if !found.is_file() {
        return Some(Difference::Special);
    }
    if found.len() != size.0 {
        return Some(Difference::Size(ByteSize(found.len())));
    }
    (mode_of(found) != mode).then_some(Difference::Mode)
}

fn mode_of(found: &Metadata) -> Mode {
    if found.mode() & 0o111 == 0 { Mode::Plain } else { Mode::Program }
}

/// The files below a folder that are a part of it. The lock of the uv that made it, which an earlier version left there, is
/// none: anybody can write to it.
fn parts(folder: &Path) -> Result<BTreeMap<PathBuf, Metadata>, Problem> {
    let mut there = verify::walk(folder)?;
    there.remove(Path::new(uv::LOCK));
    Ok(there)
}

/// Closes a folder to which nothing more is written to everybody else, syncs it, and hashes everything below it.
pub fn finish(
    folder: &Path,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<BTreeMap<PathBuf, Entry>, Problem> {
    fs::remove(&folder.join(uv::LOCK))?;
    fs::let_nobody_else_write(folder)?;
    fs::sync_file_system(folder)?;
    settle(folder)?;
    take_stock(folder, interrupt, progress)
}

/// Hashes everything below a folder.
pub(crate) fn take_stock(
    folder: &Path,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<BTreeMap<PathBuf, Entry>, Problem> {
    let mut entries = BTreeMap::new();
    let mut files = Vec::new();
    for (path, found) in parts(folder)? {
        let whole = folder.join(&path);
        if found.is_file() {
            files.push((whole, path, mode_of(&found)));
        } else if found.is_symlink() {
            let target = std::fs::read_link(&whole).map_err(|e| fs::failed("read the link", &whole, e))?;
            entries.insert(path, Entry::Link { target });
        } else {
            let what = format!("`{}` is no file, folder or link", whole.display());
            return Err(Problem::new(Kind::Unverified, what));
        }
    }
    let hashed =
        parallel::each(&files, interrupt, progress, |(path, ..), worker| hashing::whole(path, worker))?;
    for ((_, path, mode), (size, sha256)) in files.into_iter().zip(hashed) {
        entries.insert(path, Entry::File { sha256, size, mode });
    }
    Ok(entries)
}

/// The hash over a manifest and the stamps of its files: it changes with any of them.
fn stamps(manifest: &Manifest, there: &BTreeMap<PathBuf, Metadata>) -> Sha256Digest {
    let mut text = Vec::with_capacity(there.len() * 128);
    text.extend(manifest.digest().to_string().bytes());
    for (path, found) in there {
        text.extend(path.as_os_str().as_encoded_bytes());
        text.extend(format!("\0{:?} {:o}\n", Stamp::of(found), found.mode()).bytes());
    }
    Sha256Digest::of(text)
}

fn is_settled(there: &BTreeMap<PathBuf, Metadata>, now: SystemTime) -> bool {
    there.values().all(|found| Stamp::of(found).is_at_rest(now))
}

/// Waits until any later change is sure to show in the stamps.
fn settle(folder: &Path) -> Result<(), Problem> {
    let there = parts(folder)?;
    let began = Instant::now();
    while !is_settled(&there, SystemTime::now()) && began.elapsed() < SETTLED_AFTER {
        sleep(LOOK_EVERY);
    }
    Ok(())
}

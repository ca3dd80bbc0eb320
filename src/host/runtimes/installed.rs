//! Folders in the store that were installed: runtimes and interpreters, held against the manifest that was written
//! when they were.
//!
//! A runtime has tens of thousands of files. While the stamps of all of them are what they were when all were hashed,
//! none is read: one hash over the stamps is all that has to be remembered.

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

/// How often a folder is looked at that was written to just now, and the longest that this is waited for: a clock that
/// was set back may never come to pass.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// The service's own memo in its directory.
const OWN: &str = "trees.json";

/// The name of a folder in the store, each with the hash over its manifest and the stamps of all that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeHashCache(BTreeSet<(Sha256Digest, Sha256Digest)>);

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What is not as it was installed, by path. Empty: all is well.
    pub(crate) damaged: Vec<Damage>,
    /// The name and the hash by which the folder can be known again.
    pub(crate) noted: Option<(Sha256Digest, Sha256Digest)>,
}

/// A folder that is complete.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Where it is now.
    pub staged: &'a Path,
    /// What it holds, as [`finish`] found it.
    pub entries: BTreeMap<PathBuf, Entry>,
    /// Its name in the store.
    pub name: Sha256Digest,
    /// Where it is to be.
    pub to: &'a Path,
}

impl TreeHashCache {
    /// The memo in a file. One that cannot be understood is none: everything is hashed again.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        Ok(fs::read(path)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// The service's own, in the directory that systemd gives it (`StateDirectory=`). Nothing where it has none.
    pub(crate) fn of_service() -> Self {
        // It only saves time: without it the service hashes.
        of_service(OWN).and_then(|path| Self::read(&path).ok()).unwrap_or_default()
    }

    /// Adds to the service's own what was proven now.
    pub(crate) fn add_to_own(noted: &[(Sha256Digest, Sha256Digest)]) -> Result<(), Problem> {
        let Some(path) = of_service(OWN).filter(|_| !noted.is_empty()) else { return Ok(()) };
        let mut cache = Self::of_service();
        for (name, seal) in noted {
            cache.note(*name, *seal);
        }
        fs::write_unlocked(&path, cache.text()?)
    }

    /// What either knows.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn knows(&self, name: Sha256Digest, seal: Sha256Digest) -> bool {
        self.0.contains(&(name, seal))
    }

    /// What was known of this folder before is of the past.
    fn note(&mut self, name: Sha256Digest, seal: Sha256Digest) {
        self.0.retain(|(known, _)| *known != name);
        self.0.insert((name, seal));
    }

    fn text(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(|e| Problem::doing("write down what was hashed", e))
    }
}

impl Store {
    /// What was installed under this name. Nothing, where an earlier version did it, which kept no record.
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

    /// What was hashed before, by the store's memo.
    pub(crate) fn trees(&self) -> Result<TreeHashCache, Problem> {
        TreeHashCache::read(&self.layout().trees())
    }
}

impl StoreWriter<'_> {
    /// Gives a finished folder its final name, with a manifest of what it holds. It is never there without one.
    pub fn publish(&self, ready: Ready<'_>) -> Result<(), Problem> {
        let Ready { staged, entries, name, to } = ready;
        let layout = self.store().layout();
        let manifest = Manifest::of(entries)?;
        for folder in [&layout.manifests(), to.parent().unwrap_or(to)] {
            fs::make_directory(folder)?;
        }
        fs::write(&layout.manifest(name), manifest.to_text())?;
        fs::publish_over(staged, to)?;
        // A rename does not touch what is inside: what was hashed is what lies there now.
        self.note_tree(name, seal(&manifest, &verify::walk(to)?))
    }

    /// Writes down what was proven.
    pub(crate) fn note_trees(&self, noted: &[(Sha256Digest, Sha256Digest)]) -> Result<(), Problem> {
        noted.iter().try_for_each(|(name, seal)| self.note_tree(*name, *seal))
    }

    fn note_tree(&self, name: Sha256Digest, seal: Sha256Digest) -> Result<(), Problem> {
        let mut cache = self.store().trees()?;
        if cache.knows(name, seal) {
            return Ok(());
        }
        cache.note(name, seal);
        fs::write(&self.store().layout().trees(), cache.text()?)
    }

    /// Forgets what is in the store no more.
    pub(crate) fn keep_trees(&self) -> Result<(), Problem> {
        let store = self.store();
        let mut cache = store.trees()?;
        let there = digests(&store.layout().manifests())?;
        let before = cache.0.len();
        cache.0.retain(|(name, _)| there.contains(name));
        if cache.0.len() == before { Ok(()) } else { fs::write(&store.layout().trees(), cache.text()?) }
    }
}

/// Holds the folder of this name against its manifest. Nothing is read where the memo knows it as it is.
pub(crate) fn check(
    (name, folder): (Sha256Digest, &Path),
    manifest: &Manifest,
    cache: &TreeHashCache,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Seen, Problem> {
    let began = SystemTime::now();
    let there = verify::walk(folder)?;
    let before = seal(manifest, &there);
    if cache.knows(name, before) {
        return Ok(Seen { damaged: Vec::new(), noted: Some((name, before)) });
    }
    let mut differences = BTreeMap::new();
    let mut jobs = Vec::new();
    for (path, entry) in manifest.entries() {
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
    let after = verify::walk(folder)?;
    let known = damaged.is_empty() && is_settled(&after, began) && seal(manifest, &after) == before;
    Ok(Seen { damaged, noted: known.then_some((name, before)) })
}

/// What differs without a look at the content.
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

/// Makes sure that a folder to which nothing more is written is on the disk, and hashes everything below it.
pub fn finish(
    folder: &Path,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<BTreeMap<PathBuf, Entry>, Problem> {
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
    for (path, found) in verify::walk(folder)? {
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

/// One hash over what a folder is to hold, and all that cannot stay the same when anything of it changes.
fn seal(manifest: &Manifest, there: &BTreeMap<PathBuf, Metadata>) -> Sha256Digest {
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

/// Waits until a change of what was written just now is sure to show.
fn settle(folder: &Path) -> Result<(), Problem> {
    let there = verify::walk(folder)?;
    let began = Instant::now();
    while !is_settled(&there, SystemTime::now()) && began.elapsed() < SETTLED_AFTER {
        sleep(LOOK_EVERY);
    }
    Ok(())
}

//! Verifies the model and the runtime before each start of the service; a rollback does so before it stops
//! anything.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::LockedModel,
        planning::inputs::{PlannedModel, PlannedRuntime},
        problem::{Kind, Problem},
        profile::VerifyAtStart,
        size::ByteSize,
        store::{layout::Layout, manifest::Part},
    },
    host::{
        models::verify::{self, Damage, VerifyResult},
        os::signals::Interrupt,
        runtimes::installed::{self, TreeHashCache},
        store::{Store, hash_cache::HashCache, nix_store},
    },
};
use std::path::PathBuf;

const MENDS: &str = "`awqdeploy verify --all --repair` mends what is in the store";

/// The hash cache to use: untouched files in it need not be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The store's cache.
    Stored,
    /// The store's cache, and the service's own.
    ToService,
    /// None: everything is read.
    Nothing,
}

/// A runtime that was verified.
#[derive(Clone, Debug, Default)]
pub struct VerifiedRuntime {
    /// The names and hashes by which its folders can be recognised.
    pub noted: Vec<(Sha256Digest, Sha256Digest)>,
    /// Folders without a manifest: an earlier version installed them.
    pub unrecorded: Vec<PathBuf>,
}

/// A model in the store that was compared with its lock.
#[derive(Clone, Debug)]
pub struct CheckedModel {
    /// The lock.
    pub lock: LockedModel,
    /// The result.
    pub found: VerifyResult,
}

/// Compares a model in the store with its lock. Files that the store's hash cache or `own` knows are not
/// read, unless the profile asks for it.
///
/// # Errors
/// [`Kind::Unverified`] where it was never locked, or was found damaged before and not repaired since.
pub(crate) fn check_model(
    store: &Store,
    model: &PlannedModel,
    own: HashCache,
    interrupt: &Interrupt,
    see: &mut dyn FnMut(ByteSize, ByteSize),
) -> Result<CheckedModel, Problem> {
    let digest = model.digest.ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("the model `{}` was never locked", model.repo)).help(MENDS)
    })?;
    let lock = store.model_lock(digest)?;
    store.not_damaged(&lock)?;
    let cache = match model.verify_at_start {
        VerifyAtStart::Memo => store.hash_cache()?.or(own),
        VerifyAtStart::Full => HashCache::default(),
    };
    let of = lock.size();
    let folder = store.layout().model(digest);
    let found = verify::stored(&folder, &lock, &cache, interrupt, &mut |done| see(done, of))?;
    Ok(CheckedModel { lock, found })
}

impl CheckedModel {
    /// The result, if nothing differs.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where anything does: the engine would load it without a word.
    pub fn judged(self) -> Result<VerifyResult, Problem> {
        if self.found.damaged.is_empty() {
            Ok(self.found)
        } else {
            Err(refused("the model is not what was locked", &self.found.damaged).help(MENDS))
        }
    }
}

/// Verifies a model in the store: [`check_model`], and that nothing differs.
///
/// # Errors
/// As [`check_model`] and [`CheckedModel::judged`].
pub fn verify_model(
    store: &Store,
    model: &PlannedModel,
    own: HashCache,
    interrupt: &Interrupt,
    see: &mut dyn FnMut(ByteSize, ByteSize),
) -> Result<VerifyResult, Problem> {
    check_model(store, model, own, interrupt, see)?.judged()
}

/// Verifies the runtime of a plan, and its interpreter: every file is as it was installed, and there is no
/// other. What Nix built is in Nix's store, where nothing is ever changed.
///
/// # Errors
/// [`Kind::Unverified`] where anything differs: Python would run it without a word.
pub fn verify_runtime(
    store: &Store,
    runtime: &PlannedRuntime,
    known: Known,
    interrupt: &Interrupt,
    see: &mut dyn FnMut(ByteSize, ByteSize),
) -> Result<VerifiedRuntime, Problem> {
    let cache = match known {
        Known::Stored => store.trees()?,
        Known::ToService => store.trees()?.or(TreeHashCache::of_service()),
        Known::Nothing => TreeHashCache::default(),
    };
    let mut proved = VerifiedRuntime::default();
    for (part, name) in runtime.installed() {
        let folder = folder_of(store.layout(), part, name);
        if nix_store::StorePath::behind(&folder).is_some() {
            continue;
        }
        let help = "`awqdeploy verify --all --repair` installs it again";
        if !folder.is_dir() {
            let what = format!("`{}` is gone", folder.display());
            return Err(Problem::new(Kind::Unverified, what).help(help));
        }
        let Some(manifest) = store.manifest(name)? else {
            if runtime.python.is_some() {
                let what = format!("there is no record of what `{}` held", folder.display());
                return Err(Problem::new(Kind::Unverified, what).help(help));
            }
            proved.unrecorded.push(folder);
            continue;
        };
        let of = manifest.size();
        let seen =
            installed::check((name, &folder), &manifest, &cache, interrupt, &mut |done| see(done, of))?;
        if !seen.damaged.is_empty() {
            return Err(refused(&format!("{part} is not what was installed"), &seen.damaged).help(help));
        }
        proved.noted.extend(seen.noted);
    }
    Ok(proved)
}

/// The folder of a part of this name.
pub(crate) fn folder_of(layout: &Layout, part: Part, name: Sha256Digest) -> PathBuf {
    match part {
        Part::Runtime => layout.runtime(name),
        Part::Interpreter => layout.python(name),
    }
}

/// The problem with all damage in one line: it becomes the service's status.
fn refused(what: &str, damaged: &[Damage]) -> Problem {
    let first = damaged.first().map(ToString::to_string).unwrap_or_default();
    let others = match damaged.len() - 1 {
        0 => String::new(),
        1 => ", and 1 other file differs".to_owned(),
        others => format!(", and {others} other files differ"),
    };
    Problem::new(Kind::Unverified, format!("{what}: {first}{others}"))
}

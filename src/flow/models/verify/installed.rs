//! Runtimes and interpreters: every file against what it was when it was installed.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedInterpreter, LockedRuntime},
        problem::Problem,
        profile::Python,
        size::ByteSize,
        store::manifest::Part,
    },
    flow::{
        context::World,
        event::{Event, Observer},
        models::verify_at_start::folder_of,
    },
    host::{
        models::verify::Damage,
        runtimes::{
            self,
            installed::{self, TreeHashCache},
            interpreters,
            uv::{self, Uv},
        },
        store::{
            StoreWriter,
            nix_store::{PathStatus, StorePath},
        },
    },
};
use std::{path::PathBuf, time::Duration};

/// What a runtime or an interpreter was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The record of its installation.
    Record,
    /// Nix's own record of what it has built.
    Nix,
    /// Nothing: Nix built it, and could not be asked.
    NixUnasked,
    /// Nothing: an earlier version installed it, and kept no record.
    Nobody,
}

/// A runtime or an interpreter that was verified.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedTree {
    /// What it is: `vLLM 0.26.0 (c1cb137e4323)`.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) path: PathBuf,
    /// What it was held against.
    pub(crate) by: By,
    /// How many files and links it has.
    pub(crate) files: usize,
    /// Their length.
    pub(crate) bytes: ByteSize,
    /// What is not as it was installed.
    pub(crate) damaged: Vec<Damage>,
    /// What was not, and is again.
    pub(crate) repaired: Vec<Damage>,
    /// What Nix says where it finds a difference.
    pub(crate) complaint: Option<String>,
}

/// Whether what is damaged is installed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// It is.
    Again,
    /// It is only told.
    Never,
}

/// Verifies one part of a runtime. Nothing is taken on trust: every file is read.
pub(super) fn one(
    world: &World,
    (part, digest): (Part, Sha256Digest),
    mend: Mend,
    observer: &dyn Observer,
) -> Result<VerifiedTree, Problem> {
    let path = folder_of(world.layout(), part, digest);
    observer.see(Event::Stage(format!("verify `{}`", path.display())));
    let mut verified = VerifiedTree {
        name: format!("{} ({})", name(world, part, digest)?, digest.short()),
        path,
        by: By::Record,
        files: 0,
        bytes: ByteSize(0),
        damaged: Vec::new(),
        repaired: Vec::new(),
        complaint: None,
    };
    if let Some(nix) = StorePath::behind(&verified.path) {
        verified.by = By::Nix;
        match nix.verify()? {
            PathStatus::Whole => {}
            PathStatus::Unasked => verified.by = By::NixUnasked,
            PathStatus::Damaged(complaint) => verified.complaint = Some(complaint),
        }
        return Ok(verified);
    }
    look(world, digest, &mut verified, observer)?;
    if mend == Mend::Again && !verified.is_clean() {
        let writer = world.store.writer(Duration::ZERO, "awqdeploy verify --repair")?;
        observer.see(Event::Stage(format!("install {} again", verified.name)));
        if again(world, &writer, (part, digest), observer)? {
            drop(writer);
            let found = std::mem::take(&mut verified.damaged);
            look(world, digest, &mut verified, observer)?;
            verified.repaired =
                found.into_iter().filter(|damage| !verified.damaged.contains(damage)).collect();
        }
    }
    Ok(verified)
}

fn look(
    world: &World,
    digest: Sha256Digest,
    verified: &mut VerifiedTree,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let Some(manifest) = world.store.manifest(digest)? else {
        verified.by = By::Nobody;
        return Ok(());
    };
    let of = manifest.size();
    let progress = &mut |done| observer.see(Event::Progress { done, of });
    let seen = installed::check(
        (digest, &verified.path),
        &manifest,
        &TreeHashCache::default(),
        &world.interrupt,
        progress,
    )?;
    // Where that is not allowed now, the next start has to hash it.
    if let Ok(locked) = world.store.writer(Duration::ZERO, "awqdeploy verify") {
        let _unkept = locked.note_trees(seen.noted.as_slice());
    }
    verified.by = By::Record;
    (verified.files, verified.bytes, verified.damaged) = (manifest.entries().len(), of, seen.damaged);
    Ok(())
}

impl VerifiedTree {
    /// Whether it is as it was installed, as far as that is known.
    pub(crate) fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.complaint.is_none()
    }
}

/// By the newest generation that uses it.
fn name(world: &World, part: Part, digest: Sha256Digest) -> Result<String, Problem> {
    let generations = world.store.generations()?;
    let named = generations.iter().rev().find_map(|generation| {
        let runtime = &generation.plan.runtime;
        match (part, &runtime.python) {
            (Part::Runtime, _) if runtime.digest == Some(digest) => Some(format!("vLLM {}", runtime.vllm)),
            (Part::Interpreter, Some(Interpreter::Locked(python))) if python.sha256 == digest => {
                Some(format!("Python {}", python.version))
            }
            _ => None,
        }
    });
    Ok(named.unwrap_or_else(|| part.to_string()))
}

/// Installs it again where a lock of a profile or a generation says what it is. `false`: none does.
fn again(
    world: &World,
    writer: &StoreWriter<'_>,
    (part, digest): (Part, Sha256Digest),
    observer: &dyn Observer,
) -> Result<bool, Problem> {
    let said = &mut |words: &str| observer.see(Event::Installing(words.trim().to_owned()));
    let uv = &Uv::installing(world.layout(), uv::variables())?.declared_by(world.library.declared());
    let interrupt = &world.interrupt;
    match part {
        Part::Interpreter => match pythons(world)?.into_iter().find(|python| python.sha256 == digest) {
            Some(python) => interpreters::install(writer, uv, &python, interrupt, said).map(|_| true),
            None => Ok(false),
        },
        Part::Runtime => {
            let of = |(lock, python): &(LockedRuntime, Interpreter)| lock.installed_for(python) == digest;
            match locks(world).into_iter().find(of) {
                Some((runtime, interpreter)) => {
                    let (runtime, interpreter) = (&runtime, &interpreter);
                    let order = runtimes::InstallJob { name: digest, runtime, interpreter, uv, interrupt };
                    runtimes::install(writer, &order, said).map(|()| true)
                }
                None => Ok(false),
            }
        }
    }
}

/// Of every profile, what it locks. One that cannot be read says nothing.
fn locks(world: &World) -> Vec<(LockedRuntime, Interpreter)> {
    let profiles = world.library.names().unwrap_or_default();
    let lock = |name: &String| {
        let profile = world.library.load(name).ok()?;
        let lock = world.library.locked_runtime(profile.runtime()).ok()?;
        let both = [Python::System, profile.runtime().python.clone()];
        Some(both.map(|python| (lock.clone(), Interpreter::of(&lock, &python))))
    };
    profiles.iter().filter_map(lock).flatten().collect()
}

fn pythons(world: &World) -> Result<Vec<LockedInterpreter>, Problem> {
    let generations = world.store.generations()?;
    let of_generations = generations.into_iter().filter_map(|generation| generation.plan.runtime.python);
    let of_locks = locks(world).into_iter().map(|(_, python)| python);
    let locked = |python| match python {
        Interpreter::Locked(python) => Some(python),
        Interpreter::System { .. } => None,
    };
    Ok(of_generations.chain(of_locks).filter_map(locked).collect())
}

//! Verifies runtimes and interpreters: every file against the manifest of the installation.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedInterpreter, LockedRuntime},
        problem::Problem,
        profile::Python,
        size::ByteSize,
        store::manifest::Part,
    },
    flow::{context::Context, event::Event, models::verify_at_start::folder_of},
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

/// The record that a runtime or interpreter was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The manifest of its installation.
    Record,
    /// Nix's own record of what it has built.
    Nix,
    /// None: Nix built it, and could not be asked.
    NixUnasked,
    /// None: an earlier version installed it, without a manifest.
    Nobody,
}

/// A runtime or an interpreter that was verified.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedTree {
    /// The name: `vLLM 0.26.0 (c1cb137e4323)`.
    pub(crate) name: String,
    /// The folder.
    pub(crate) path: PathBuf,
    /// The record that it was compared with.
    pub(crate) by: By,
    /// The number of its files and links.
    pub(crate) files: usize,
    /// The sum of their lengths.
    pub(crate) bytes: ByteSize,
    /// The files that differ.
    pub(crate) damaged: Vec<Damage>,
    /// The files that differed, and were repaired.
    pub(crate) repaired: Vec<Damage>,
    /// The message of Nix, where it finds a difference.
    pub(crate) complaint: Option<String>,
}

/// The way to treat a damaged runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// Install it again.
    Again,
    /// Only report it.
    Never,
}

impl VerifiedTree {
    /// A part that could not be verified.
    pub(super) fn unread(name: String, path: PathBuf, problem: &Problem) -> Self {
        Self {
            name,
            path,
            by: By::Nobody,
            files: 0,
            bytes: ByteSize(0),
            damaged: Vec::new(),
            repaired: Vec::new(),
            complaint: Some(problem.in_one_line()),
        }
    }
}

/// Verifies one part of a runtime. Nothing is taken on trust: every file is read.
pub(super) fn one(
    context: &Context,
    (part, digest): (Part, Sha256Digest),
    mend: Mend,
) -> Result<VerifiedTree, Problem> {
    let path = folder_of(context.layout(), part, digest);
    context.tell(Event::Stage(format!("verify `{}`", path.display())));
    let mut verified = VerifiedTree {
        name: format!("{} ({})", name(context, part, digest)?, digest.short()),
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
    look(context, digest, &mut verified)?;
    if mend == Mend::Again && !verified.is_clean() {
        let writer = context.store.writer(Duration::ZERO, "awqdeploy verify --repair")?;
        context.tell(Event::Stage(format!("install {} again", verified.name)));
        if again(context, &writer, (part, digest))? {
            drop(writer);
            let found = std::mem::take(&mut verified.damaged);
            look(context, digest, &mut verified)?;
            verified.repaired =
                found.into_iter().filter(|damage| !verified.damaged.contains(damage)).collect();
        }
    }
    Ok(verified)
}

fn look(context: &Context, digest: Sha256Digest, verified: &mut VerifiedTree) -> Result<(), Problem> {
    let Some(manifest) = context.store.manifest(digest)? else {
        verified.by = By::Nobody;
        return Ok(());
    };
    let of = manifest.size();
    let progress = &mut |done| context.tell(Event::Progress { done, of });
    let seen = installed::check(
        (digest, &verified.path),
        &manifest,
        &TreeHashCache::default(),
        &context.interrupt,
        progress,
    )?;
    // Without the right to record it, the next start has to hash it.
    if let Ok(locked) = context.store.writer(Duration::ZERO, "awqdeploy verify") {
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

/// The name of a part, by the newest generation that uses it.
fn name(context: &Context, part: Part, digest: Sha256Digest) -> Result<String, Problem> {
    let generations = context.store.generations()?;
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

/// Installs a part again, if a profile's lock or a generation names it. `false`: none does.
fn again(
    context: &Context,
    writer: &StoreWriter<'_>,
    (part, digest): (Part, Sha256Digest),
) -> Result<bool, Problem> {
    let said = &mut |words: &str| context.tell(Event::Installing(words.trim().to_owned()));
    let uv = &Uv::installing(context.layout(), uv::variables())?.declared_by(context.library.declared());
    let interrupt = &context.interrupt;
    match part {
        Part::Interpreter => match pythons(context)?.into_iter().find(|python| python.sha256 == digest) {
            Some(python) => interpreters::install(writer, uv, &python, interrupt, said).map(|_| true),
            None => Ok(false),
        },
        Part::Runtime => {
            let of = |(lock, python): &(LockedRuntime, Interpreter)| lock.installed_for(python) == digest;
            match locks(context).into_iter().find(of) {
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

/// The runtime locks of all profiles. One that cannot be read is skipped.
fn locks(context: &Context) -> Vec<(LockedRuntime, Interpreter)> {
    let profiles = context.library.names().unwrap_or_default();
    let lock = |name: &String| {
        let profile = context.library.load(name).ok()?;
        let lock = context.library.locked_runtime(profile.runtime()).ok()?;
        let both = [Python::System, profile.runtime().python.clone()];
        Some(both.map(|python| (lock.clone(), Interpreter::of(&lock, &python))))
    };
    profiles.iter().filter_map(lock).flatten().collect()
}

fn pythons(context: &Context) -> Result<Vec<LockedInterpreter>, Problem> {
    let generations = context.store.generations()?;
    let of_generations = generations.into_iter().filter_map(|generation| generation.plan.runtime.python);
    let of_locks = locks(context).into_iter().map(|(_, python)| python);
    let locked = |python| match python {
        Interpreter::Locked(python) => Some(python),
        Interpreter::System { .. } => None,
    };
    Ok(of_generations.chain(of_locks).filter_map(locked).collect())
}

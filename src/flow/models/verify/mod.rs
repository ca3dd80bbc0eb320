//! `verify`: compares every byte of models with their locks, and of runtimes with their manifests, offline,
//! and repairs damage.

mod installed;

pub(crate) use installed::{By, VerifiedTree};

use super::{not_locked, runtime, verify_at_start::folder_of};
use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::LockedModel,
        problem::{Kind, Problem},
        size::ByteSize,
        store::manifest::Part,
    },
    flow::{context::Context, event::Event},
    host::{
        models::{
            repair::{PieceSource, Repaired},
            source_folder::Folder,
            verify::{self, Damage, VerifyResult},
        },
        store::hash_cache::HashCache,
    },
};
use installed::Mend;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long the record of damage waits for whoever is at work.
const MARK_WAIT: Duration = Duration::from_secs(10);

/// Which models are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The current generation's.
    Current,
    /// The model of a profile.
    Profile(String),
    /// All in the store.
    All,
}

/// The way to treat damage.
#[derive(Clone, Copy)]
pub enum Damaged<'a> {
    /// Report it.
    Told,
    /// Repair it, from copies on this host and then from these sources.
    Repaired(&'a [&'a dyn PieceSource]),
}

/// The result of a verification.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The models.
    pub models: Vec<VerifiedModel>,
    /// The runtimes and interpreters.
    pub(crate) runtimes: Vec<VerifiedTree>,
    /// The time that it took.
    pub(crate) took: Duration,
}

/// One model that was verified.
#[derive(Clone, Debug)]
pub struct VerifiedModel {
    /// The profile that it is locked for, or its repository.
    pub name: String,
    /// The folder.
    pub(crate) path: PathBuf,
    /// The number of its files.
    pub(crate) files: usize,
    /// The sum of their lengths.
    pub(crate) bytes: ByteSize,
    /// The files that differ from their lock.
    pub(crate) damaged: Vec<Damage>,
    /// The files that differed, and were repaired.
    pub repaired: Vec<Damage>,
    /// Why sources of a repair did not give what is still missing.
    pub unavailable: Vec<String>,
    /// Why it could not be verified at all.
    pub problem: Option<String>,
}

/// A model to verify, and its folder.
struct Target {
    name: String,
    model: LockedModel,
    place: Place,
    /// Another folder that has its files.
    source: Option<PathBuf>,
}

enum Place {
    Stored(Sha256Digest),
    Given(Folder),
}

impl VerifiedModel {
    fn unread(name: String, path: PathBuf, problem: &Problem) -> Self {
        Self {
            name,
            path,
            files: 0,
            bytes: ByteSize(0),
            damaged: Vec::new(),
            repaired: Vec::new(),
            unavailable: Vec::new(),
            problem: Some(problem.in_one_line()),
        }
    }
}

impl Verified {
    /// Whether everything is as it was locked and installed.
    pub fn is_clean(&self) -> bool {
        self.models.iter().all(|model| model.damaged.is_empty() && model.problem.is_none())
            && self.runtimes.iter().all(VerifiedTree::is_clean)
    }
}

/// Hashes every file of these models. Proven files are noted for the next start, if this process may write
/// that down.
pub fn verify(context: &Context, which: &Which, damaged: Damaged<'_>) -> Result<Verified, Problem> {
    let began = Instant::now();
    // Proven contents need not be read again for the next model that has them.
    let mut proven = HashCache::default();
    let mut verify = |target| one(context, target, damaged, &mut proven);
    let models = match which {
        Which::Current => {
            let plan = context.store.deployed()?.plan;
            let stored =
                plan.model.digest.map(|digest| stored(context, digest, plan.profile.clone())).transpose()?;
            vec![verify(stored.ok_or_else(|| not_locked(&plan.profile))?)?]
        }
        Which::Profile(name) => vec![verify(of_profile(context, name)?)?],
        Which::All => {
            let each = all(context)?.into_iter().map(|(name, digest)| {
                match stored(context, digest, name.clone()).and_then(&mut verify) {
                    // Damage of one must not hide how the others are.
                    Err(problem) if problem.kind != Kind::Interrupted => {
                        Ok(VerifiedModel::unread(name, context.layout().model(digest), &problem))
                    }
                    verified => verified,
                }
            });
            each.collect::<Result<_, _>>()?
        }
    };
    let mend = match damaged {
        Damaged::Told => Mend::Never,
        Damaged::Repaired(_) => Mend::Again,
    };
    let parts = parts(context, which)?.into_iter();
    let runtimes = parts.map(|part| match installed::one(context, part, mend) {
        Err(problem) if *which == Which::All && problem.kind != Kind::Interrupted => {
            Ok(VerifiedTree::unread(part.1.short(), folder_of(context.layout(), part.0, part.1), &problem))
        }
        verified => verified,
    });
    let runtimes = runtimes.collect::<Result<_, _>>()?;
    Ok(Verified { models, runtimes, took: began.elapsed() })
}

/// The parts of runtimes in the store to verify.
fn parts(context: &Context, which: &Which) -> Result<BTreeSet<(Part, Sha256Digest)>, Problem> {
    let installed = match which {
        Which::Current => context.store.deployed()?.plan.runtime.installed(),
        Which::Profile(name) => {
            let profile = context.library.load(name)?;
            // One that is not locked is not in the store either.
            let planned =
                runtime::runtime(context, &context.library, &profile).map(|(planned, _)| planned.installed());
            planned.unwrap_or_default()
        }
        Which::All => {
            let runtimes = context.store.runtimes()?.into_iter().map(|name| (Part::Runtime, name));
            let pythons = context.store.pythons()?.into_iter().map(|name| (Part::Interpreter, name));
            runtimes.chain(pythons).collect()
        }
    };
    let there = |(part, name): &(Part, Sha256Digest)| folder_of(context.layout(), *part, *name).exists();
    // A missing part is found before the generation is started; there is nothing to read.
    Ok(installed.into_iter().filter(there).collect())
}

fn one(
    context: &Context,
    target: Target,
    damaged: Damaged<'_>,
    proven: &mut HashCache,
) -> Result<VerifiedModel, Problem> {
    let Target { name, model, place, source } = target;
    let path = match &place {
        Place::Stored(digest) => context.layout().model(*digest),
        Place::Given(folder) => folder.path().to_owned(),
    };
    context.tell(Event::Stage(format!("verify `{}`", path.display())));
    let of = model.size();
    let progress = &mut |done| context.tell(Event::Progress { done, of });
    let checked = match &place {
        Place::Stored(_) => verify::stored(&path, &model, proven, &context.interrupt, progress)?,
        Place::Given(folder) => verify::given(folder, &model, &context.interrupt, progress)?,
    };
    if let Place::Stored(_) = place {
        checked.noted.iter().for_each(|(content, stamp)| proven.note(*content, *stamp));
        remember(context, &model, &checked);
    }
    let mut verified = VerifiedModel {
        name,
        path,
        files: model.files.len(),
        bytes: of,
        damaged: checked.damaged,
        repaired: Vec::new(),
        unavailable: Vec::new(),
        problem: None,
    };
    if let (Damaged::Repaired(sources), false) = (damaged, verified.damaged.is_empty()) {
        if let Place::Given(_) = place {
            return Err(Problem::new(
                Kind::Usage,
                format!("`{}` is not in the store", verified.path.display()),
            )
            .help("only what is in the store is repaired; fetch the files of that folder again"));
        }
        context.tell(Event::Stage(format!("repair {}", verified.name)));
        repair(context, &model, source, sources, &mut verified)?;
    }
    Ok(verified)
}

fn repair(
    context: &Context,
    model: &LockedModel,
    source: Option<PathBuf>,
    sources: &[&dyn PieceSource],
    verified: &mut VerifiedModel,
) -> Result<(), Problem> {
    // A missing folder is no reason not to ask elsewhere.
    let folder = source.and_then(|path| Folder::open(&path, &model.repo, &model.revision).ok());
    let folder = folder.iter().map(|folder| folder as &dyn PieceSource);
    let all: Vec<&dyn PieceSource> = folder.chain(sources.iter().copied()).collect();
    let writer = context.store.writer(Duration::ZERO, "awqdeploy verify --repair")?;
    let repaired = writer.repair(model, verified.damaged.clone(), &all, &context.interrupt)?;
    let Repaired { left, troubles } = repaired;
    // Damage that was repaired all the same needs no excuse.
    if !left.is_empty() {
        for trouble in &troubles {
            context.tell(Event::Warning(trouble.clone()));
        }
        verified.unavailable = troubles.into_iter().collect();
    }
    let found = std::mem::replace(&mut verified.damaged, left);
    verified.repaired = found.into_iter().filter(|damage| !verified.damaged.contains(damage)).collect();
    Ok(())
}

/// Writes down what was proven, and what was found damaged. Where the former is not allowed now, the next start has to
/// hash it; where the latter is not, somebody has to be told.
fn remember(context: &Context, model: &LockedModel, checked: &VerifyResult) {
    let wait = if checked.damaged.is_empty() { Duration::ZERO } else { MARK_WAIT };
    let noted = context.store.writer(wait, "awqdeploy verify").and_then(|writer| writer.note(model, checked));
    if let (Err(problem), false) = (noted, checked.damaged.is_empty()) {
        let why = problem.in_one_line();
        context.tell(Event::Warning(format!(
            "the damage could not be recorded, so the next start may not see it: {why}"
        )));
    }
}

fn of_profile(context: &Context, name: &str) -> Result<Target, Problem> {
    let profile = context.library.load(name)?;
    let model = context.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let digest = model.digest();
    let remembered = || model.from.clone().filter(|folder| folder.is_dir());
    let source = profile.model().path.clone().or_else(remembered);
    let place = match &source {
        _ if context.layout().model(digest).is_dir() => Place::Stored(digest),
        Some(path) => Place::Given(Folder::open(path, &model.repo, &model.revision)?),
        None => {
            not_on_its_way(context)?;
            let what = format!("the model of `{name}` is not on this host");
            return Err(Problem::new(Kind::Unverified, what)
                .help(format!("`awqdeploy deploy {name}` takes it into the store")));
        }
    };
    Ok(Target { name: profile.name().to_owned(), model, place, source })
}

/// A problem while another process changes the store: it may be about to bring what is missing.
fn not_on_its_way(context: &Context) -> Result<(), Problem> {
    if !context.layout().lock().exists() {
        return Ok(());
    }
    match context.store.writer(Duration::ZERO, "awqdeploy verify") {
        Err(problem) if problem.kind == Kind::Busy => Err(problem),
        // Whoever may not write here cannot tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// All models in the store, each with the name of its newest profile.
fn all(context: &Context) -> Result<Vec<(String, Sha256Digest)>, Problem> {
    let generations = context.store.generations()?;
    let name = |digest: Sha256Digest| {
        let newest = generations.iter().rev().find(|generation| generation.plan.model.digest == Some(digest));
        newest.map_or_else(|| digest.short(), |generation| generation.plan.profile.clone())
    };
    let mut models: Vec<_> =
        context.store.models()?.into_iter().map(|digest| (name(digest), digest)).collect();
    // A profile that was locked again has had several models.
    let names: Vec<String> = models.iter().map(|(name, _)| name.clone()).collect();
    for (name, digest) in &mut models {
        if names.iter().filter(|other| *other == name).count() > 1 {
            *name = format!("{name} ({})", digest.short());
        }
    }
    Ok(models)
}

/// A model in the store, whatever its profile has become.
fn stored(context: &Context, digest: Sha256Digest, name: String) -> Result<Target, Problem> {
    let model = context.store.model_lock(digest)?;
    let source = context.library.load(&name).ok().and_then(|profile| profile.model().path.clone());
    let source = source.or_else(|| model.from.clone().filter(|folder| folder.is_dir()));
    Ok(Target { name, model, place: Place::Stored(digest), source })
}

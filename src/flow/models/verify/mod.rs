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
            repair::{Copies, PieceSource},
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

/// What to do about damage.
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

impl Verified {
    /// Whether everything is as it was locked and installed.
    pub fn is_clean(&self) -> bool {
        self.models.iter().all(|model| model.damaged.is_empty())
            && self.runtimes.iter().all(VerifiedTree::is_clean)
    }
}

/// Hashes every file of these models. Proven files are noted for the next start, if this process may write
/// that down.
pub fn verify(context: &Context, which: &Which, damaged: Damaged<'_>) -> Result<Verified, Problem> {
    let began = Instant::now();
    let targets = match which {
        Which::Current => {
            let plan = context.store.deployed()?.plan;
            let stored =
                plan.model.digest.map(|digest| stored(context, digest, plan.profile.clone())).transpose()?;
            vec![stored.ok_or_else(|| not_locked(&plan.profile))?]
        }
        Which::Profile(name) => vec![of_profile(context, name)?],
        Which::All => all(context)?,
    };
    // Proven contents need not be read again for the next model that has them.
    let mut proven = HashCache::default();
    let mut models = Vec::new();
    for target in targets {
        models.push(one(context, target, damaged, &mut proven)?);
    }
    let mend = match damaged {
        Damaged::Told => Mend::Never,
        Damaged::Repaired(_) => Mend::Again,
    };
    let parts = parts(context, which)?.into_iter();
    let runtimes = parts.map(|part| installed::one(context, part, mend)).collect::<Result<_, _>>()?;
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
    let copies = Copies(&context.store);
    let mut all: Vec<&dyn PieceSource> = vec![&copies];
    all.extend(folder.iter().map(|folder| folder as &dyn PieceSource));
    all.extend(sources);
    let writer = context.store.writer(Duration::ZERO, "awqdeploy verify --repair")?;
    let left = writer.repair(model, verified.damaged.clone(), &all, &context.interrupt)?;
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
            let what = format!("the model of `{name}` is not on this host");
            return Err(Problem::new(Kind::Unverified, what)
                .help(format!("`awqdeploy deploy {name}` takes it into the store")));
        }
    };
    Ok(Target { name: profile.name().to_owned(), model, place, source })
}

fn all(context: &Context) -> Result<Vec<Target>, Problem> {
    let generations = context.store.generations()?;
    let name = |digest: Sha256Digest| {
        let newest = generations.iter().rev().find(|generation| generation.plan.model.digest == Some(digest));
        newest.map_or_else(|| digest.short(), |generation| generation.plan.profile.clone())
    };
    let target = |digest| stored(context, digest, name(digest));
    let mut targets = context.store.models()?.into_iter().map(target).collect::<Result<Vec<_>, _>>()?;
    // A profile that was locked again has had several models.
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    for target in &mut targets {
        if names.iter().filter(|name| **name == target.name).count() > 1 {
            target.name = format!("{} ({})", target.name, target.model.digest().short());
        }
    }
    Ok(targets)
}

/// A model in the store, whatever its profile has become.
fn stored(context: &Context, digest: Sha256Digest, name: String) -> Result<Target, Problem> {
    let model = context.store.model_lock(digest)?;
    let source = context.library.load(&name).ok().and_then(|profile| profile.model().path.clone());
    let source = source.or_else(|| model.from.clone().filter(|folder| folder.is_dir()));
    Ok(Target { name, model, place: Place::Stored(digest), source })
}

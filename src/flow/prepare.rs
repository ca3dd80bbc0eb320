//! From a profile's name to a plan: reads everything, changes nothing.

use super::world::{Engine, World};
use crate::{
    domain::{
        checkpoint::Checkpoint,
        digest::Digest,
        facts::Facts,
        generation::Generation,
        layout::Layout,
        lock::{LockedModel, LockedRuntime},
        plan::{Inputs, Plan, PlannedModel, PlannedRuntime, Refusal},
        preflight,
        problem::{Kind, Problem},
        profile::{Model, Profile},
        size::Bytes,
        version::Version,
    },
    host::{self, checkpoint::Presence, fs, runtimes},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A plan and everything that carrying it out needs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What is to be.
    pub plan: Plan,
    /// The profile's text, kept with the generation.
    pub profile: String,
    /// The model's files.
    pub model: LockedModel,
    /// Where to take them from, if they are not in the store.
    pub wanted: Model,
    /// The runtime, unless it is not awqdeploy's to install.
    pub runtime: Option<(Digest, LockedRuntime)>,
    /// What serves now.
    pub current: Option<Generation>,
    /// What a person has decided to do without.
    pub waived: BTreeSet<Waiver>,
}

/// A safeguard that a person can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiver {
    /// What failed before is not tried again.
    Retry,
    /// Nothing is stopped that could not come back.
    NoWayBack,
}

/// What a plan is made of, beside the host's facts.
struct Materials {
    profile: Profile,
    /// Absent where the model is not locked yet.
    locked: Option<LockedModel>,
    model: PlannedModel,
    checkpoint: Checkpoint,
    runtime: PlannedRuntime,
    /// Absent where the runtime is not awqdeploy's to install.
    wheels: Option<(Digest, LockedRuntime)>,
}

/// Where the checkpoint is read.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// In the store, else in the profile's folder, else as it was published.
    Known,
    /// In this folder, whatever the profile says.
    In(&'a Path, Presence),
}

/// The plan for a profile on these facts. The model need not be locked, nor be on this machine.
pub fn plan(
    world: &World,
    name: &str,
    facts: &Facts,
    weights: Weights<'_>,
) -> Result<Result<Plan, Refusal>, Problem> {
    Ok(Materials::gather(world, name, weights)?.plan(facts, world.layout()))
}

/// Everything for a deployment, or why there cannot be one.
pub fn prepare(world: &World, name: &str) -> Result<Prepared, Problem> {
    let materials = Materials::gather(world, name, Weights::Known)?;
    if materials.locked.is_none() {
        return Err(not_locked(materials.profile.name()));
    }
    let plan = materials.plan(&world.facts, world.layout())?;
    let Materials { profile, locked: Some(model), wheels, .. } = materials else {
        return Err(not_locked(name));
    };
    let current = world.store.current_generation()?;
    one_service(current.as_ref(), &plan)?;
    Ok(Prepared {
        plan,
        profile: world.library.text(name)?,
        model,
        wanted: profile.model().clone(),
        runtime: wheels,
        current,
        waived: BTreeSet::new(),
    })
}

/// The same, with the installed vLLM's consent: it is asked what it makes of the command line.
pub fn plan_with_consent(
    world: &World,
    name: &str,
    facts: &Facts,
    weights: Weights<'_>,
) -> Result<Result<Plan, Refusal>, Problem> {
    let materials = Materials::gather(world, name, weights)?;
    let plan = match materials.plan(facts, world.layout()) {
        Ok(plan) => plan,
        refused => return Ok(refused),
    };
    let answer = host::engine_word::ask(&plan)?;
    Ok(answer.agree(&plan, &materials.checkpoint).map(|()| plan))
}

impl Materials {
    fn gather(world: &World, name: &str, weights: Weights<'_>) -> Result<Self, Problem> {
        let profile = world.library.load(name)?;
        neighbours(world, &profile)?;
        let locked = world.library.lock(profile.name())?;
        let (runtime, wheels) = runtime(world, &profile)?;
        let checkpoint = match weights {
            Weights::Known => checkpoint(world, &profile, locked.as_ref())?,
            Weights::In(folder, presence) => {
                host::checkpoint::read(folder, presence)?.ok_or_else(|| nothing_in(folder))?
            }
        };
        let model = planned_model(world, &profile, locked.as_ref());
        Ok(Self { profile, locked, model, checkpoint, runtime, wheels })
    }

    fn plan(&self, facts: &Facts, layout: &Layout) -> Result<Plan, Refusal> {
        let Self { profile, model, checkpoint, runtime, .. } = self;
        let wheels = self.wheels.iter().flat_map(|(_, locked)| &locked.wheels);
        if let (Some(transformers), Some(version)) =
            (wheels.clone().find(|wheel| wheel.name == "transformers"), Version::of(&runtime.vllm))
        {
            preflight::transformers(version, &transformers.version)?;
        }
        Plan::of(Inputs { profile, model, checkpoint, runtime, facts, layout })
    }
}

/// Two profiles of one service must share its address: clients must not notice the migration. A
/// neighbour that cannot be read says nothing.
fn neighbours(world: &World, profile: &Profile) -> Result<(), Problem> {
    let names = world.library.names().unwrap_or_default();
    let others: Vec<Profile> = names
        .iter()
        .filter(|name| *name != profile.name())
        .filter_map(|name| world.library.load(name).ok())
        .collect();
    for other in &others {
        Profile::same_service(&[profile, other])?;
    }
    Ok(())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(Kind::Refused, refusal.message).help(refusal.help)
    }
}

fn planned_model(world: &World, profile: &Profile, locked: Option<&LockedModel>) -> PlannedModel {
    let wanted = profile.model();
    let digest = locked.map(LockedModel::digest);
    let path = match (digest, &wanted.path) {
        (Some(digest), _) => world.layout().model(digest),
        (None, Some(path)) => path.clone(),
        (None, None) => PathBuf::from(&wanted.repo),
    };
    PlannedModel {
        repo: wanted.repo.clone(),
        revision: locked.map_or(&wanted.revision, |locked| &locked.revision).clone(),
        served_name: wanted.served_name.clone(),
        digest,
        path,
        verify_at_start: wanted.verify_at_start,
    }
}

fn runtime(
    world: &World,
    profile: &Profile,
) -> Result<(PlannedRuntime, Option<(Digest, LockedRuntime)>), Problem> {
    let vllm = profile.runtime().vllm.clone();
    if let Engine::Command(command) = &world.engine {
        return Ok((PlannedRuntime { vllm, digest: None, command: command.clone() }, None));
    }
    let locked = world.library.locked_runtime(profile.runtime())?;
    let digest = locked.digest();
    let command = runtimes::command(&world.layout().runtime(digest));
    Ok((PlannedRuntime { vllm, digest: Some(digest), command }, Some((digest, locked))))
}

/// The checkpoint's shape: from the store, else from the profile's folder, else as it was published.
fn checkpoint(world: &World, profile: &Profile, locked: Option<&LockedModel>) -> Result<Checkpoint, Problem> {
    let stored = locked.map(|model| world.layout().model(model.digest()));
    let files_total = locked.map(|model| model.files.iter().map(|file| file.size).sum::<Bytes>());
    for folder in stored.iter().chain(&profile.model().path) {
        // The engine of a rehearsal has weights in name only.
        if let Engine::Command(_) = world.engine {
            if let Some(text) = fs::read(&folder.join("config.json"))? {
                return Checkpoint::of(&text, files_total);
            }
        } else if let Some(mut checkpoint) = host::checkpoint::read(folder, Presence::Whole)? {
            checkpoint.files_total = checkpoint.files_total.or(files_total);
            return Ok(checkpoint);
        }
    }
    let known = Checkpoint::known(&profile.model().repo);
    match (known, &profile.model().path) {
        (_, Some(path)) if locked.is_some() => Err(missing(path)),
        (Some(known), _) => Ok(known),
        (None, Some(path)) => Err(missing(path)),
        (None, None) => Err(Problem::new(
            Kind::Unverified,
            format!("nothing is known of the model `{}`: its files are not here", profile.model().repo),
        )
        .help(
            "`awqdeploy lock PROFILE` and `awqdeploy fetch PROFILE` get them from the hub; or name their folder as \
             `path` in the profile's `[model]`",
        )),
    }
}

fn nothing_in(folder: &Path) -> Problem {
    let what = format!("there is no `config.json` in `{}`", folder.display());
    Problem::new(Kind::Unverified, what).help("name the checkpoint's folder with `--checkpoint DIR`")
}

fn missing(path: &Path) -> Problem {
    Problem::new(
        Kind::Unverified,
        format!("there is no `config.json` in the model folder `{}`", path.display()),
    )
    .help("correct `path` in the profile's `[model]`, or fetch the model's files again")
}

pub(super) fn not_locked(name: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("the model of `{name}` is not locked")).help(format!(
        "record its files once: `awqdeploy lock {name}` asks the hub, `awqdeploy lock {name} --from FOLDER` \
             takes what is here"
    ))
}

/// One root keeps one service: its generations are what that service can return to.
fn one_service(current: Option<&Generation>, plan: &Plan) -> Result<(), Problem> {
    match current {
        Some(current) if current.plan.service != plan.service => Err(Problem::new(
            Kind::Refused,
            format!(
                "this root keeps the service `{}`, and `{}` wants `{}`",
                current.plan.service, plan.profile, plan.service
            ),
        )
        .help("name another root for another service with `--root DIR`")),
        _ => Ok(()),
    }
}

//! `diff`: two generations or profiles side by side.

use crate::{
    domain::{
        generation::diff::{self, Section, Side},
        generation_id::GenerationId,
        lockfile::{LockedModel, LockedRuntime},
        planning::plan::Plan,
        problem::Problem,
    },
    flow::{
        context::World,
        plan::{self, Weights},
    },
    host::vllm::running_server,
};
use std::{collections::BTreeMap, path::Path};

/// One of the two, as it was asked for, and what was found.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Absent for a profile.
    pub generation: Option<GenerationId>,
    /// The profile.
    pub profile: String,
}

/// What differs between `a` and `b`: numbers of generations, or profiles as they would be deployed now.
pub fn difference(world: &World, a: &str, b: &str) -> Result<([Compared; 2], Vec<Section>), Problem> {
    let (one, here) = side(world, a)?;
    let (other, there) = side(world, b)?;
    Ok(([one, other], diff::between(&here, &there)))
}

fn side(world: &World, wanted: &str) -> Result<(Compared, Side), Problem> {
    let (generation, plan) = match wanted.parse().map(GenerationId) {
        Ok(id) => (Some(id), world.store.generation(id)?.plan),
        Err(_) => (None, plan::plan(world, wanted, Weights::Known)?.planned?),
    };
    let locked = match plan.model.digest {
        // A lock that is gone says nothing of what it was.
        Some(digest) => world.store.model_lock(digest).ok(),
        None => None,
    };
    let locked = match locked {
        Some(locked) => Some(locked),
        None => world.library.lock(&plan.profile)?.filter(|lock| Some(lock.digest()) == plan.model.digest),
    };
    let files = locked.as_ref().map(|LockedModel { files, .. }| Side::files_of(files));
    let packages = packages(world, generation, &plan)?;
    let compared = Compared { generation, profile: plan.profile.clone() };
    Ok((compared, Side { plan, files, packages }))
}

/// What was found when it was adopted; what is installed; or what its lock would install.
fn packages(
    world: &World,
    generation: Option<GenerationId>,
    plan: &Plan,
) -> Result<Option<BTreeMap<String, String>>, Problem> {
    if let Some(adopted) = generation.map(|id| world.store.adopted(id)).transpose()?.flatten() {
        return Ok(Some(adopted.packages));
    }
    let installed = match plan.runtime.command.first() {
        Some(python) => running_server::packages(Path::new(python))?,
        None => BTreeMap::new(),
    };
    if !installed.is_empty() {
        return Ok(Some(installed));
    }
    let locked = world.library.load(&plan.profile).ok();
    let locked = locked.and_then(|profile| world.library.locked_runtime(profile.runtime()).ok());
    let name = |locked: &LockedRuntime| {
        let python = plan.runtime.python.as_ref();
        python.map_or_else(|| locked.digest(), |python| locked.installed_for(python))
    };
    let locked = locked.filter(|locked| Some(name(locked)) == plan.runtime.digest);
    let wheel = |wheel: &crate::domain::lockfile::LockedWheel| {
        (wheel.name.replace('-', "_").to_lowercase(), wheel.version.clone())
    };
    Ok(locked.map(|locked| locked.wheels.iter().map(wheel).collect()))
}

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
        context::Context,
        plan::{self, Weights},
    },
    host::vllm::running_server,
};
use std::{collections::BTreeMap, path::Path};

/// One of the two, as it was named and found.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The generation. Absent for a profile.
    pub generation: Option<GenerationId>,
    /// The profile.
    pub profile: String,
}

/// The differences between `a` and `b`: numbers of generations, or profiles as they would be deployed now.
pub fn difference(context: &Context, a: &str, b: &str) -> Result<([Compared; 2], Vec<Section>), Problem> {
    let (one, here) = side(context, a)?;
    let (other, there) = side(context, b)?;
    Ok(([one, other], diff::between(&here, &there)))
}

fn side(context: &Context, wanted: &str) -> Result<(Compared, Side), Problem> {
    let (generation, plan) = match wanted.parse().map(GenerationId) {
        Ok(id) => (Some(id), context.store.generation(id)?.plan),
        Err(_) => (None, plan::plan(context, wanted, Weights::Known)?.planned?),
    };
    let locked = match plan.model.digest {
        // A lock that is gone tells no files.
        Some(digest) => context.store.model_lock(digest).ok(),
        None => None,
    };
    let locked = match locked {
        Some(locked) => Some(locked),
        None => context.library.lock(&plan.profile)?.filter(|lock| Some(lock.digest()) == plan.model.digest),
    };
    let files = locked.as_ref().map(|LockedModel { files, .. }| Side::files_of(files));
    let packages = packages(context, generation, &plan)?;
    let compared = Compared { generation, profile: plan.profile.clone() };
    Ok((compared, Side { plan, files, packages }))
}

/// The packages of a deployment: as found at its adoption, as installed, or as its lock would install.
fn packages(
    context: &Context,
    generation: Option<GenerationId>,
    plan: &Plan,
) -> Result<Option<BTreeMap<String, String>>, Problem> {
    if let Some(adopted) = generation.map(|id| context.store.adopted(id)).transpose()?.flatten() {
        return Ok(Some(adopted.packages));
    }
    let installed = match plan.runtime.command.first() {
        Some(python) => running_server::packages(Path::new(python))?,
        None => BTreeMap::new(),
    };
    if !installed.is_empty() {
        return Ok(Some(installed));
    }
    let locked = context.library.load(&plan.profile).ok();
    let locked = locked.and_then(|profile| context.library.locked_runtime(profile.runtime()).ok());
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

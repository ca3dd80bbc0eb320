//! `profiles`: what can be deployed, and how far each is.

use super::status;
use crate::{
    domain::{generation_id::GenerationId, problem::Problem, profile::Profile},
    flow::context::Context,
};

/// A profile, or what is wrong with it, and how far it is.
#[derive(Debug)]
pub struct ListedProfile {
    /// The name of the profile.
    pub name: String,
    /// The profile itself, or its mistake.
    pub profile: Result<Profile, Problem>,
    /// How far it is.
    pub stage: Stage,
    /// The newest generation of it that counts for that.
    pub generation: Option<GenerationId>,
}

/// How far a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Serves now.
    Serves,
    /// Proven on this host.
    Proven,
    /// Tried, and never proven.
    Tried,
    /// The model is in the store.
    Fetched,
    /// The model is locked.
    Locked,
    /// Only written.
    Written,
}

/// All profiles, by their names.
pub fn profiles(context: &mut Context) -> Result<Vec<ListedProfile>, Problem> {
    let names = context.library.names()?;
    let status = status::status(context)?;
    let serving = status.serving.and(status.current).map(|current| (current.id, current.plan.profile));
    let proven = context.store.known_good()?;
    let generations = context.store.generations()?;
    let newest = |name: &str, wanted: &dyn Fn(GenerationId) -> bool| {
        let of = |id: &GenerationId| wanted(*id);
        generations.iter().filter(|of| of.plan.profile == name).map(|found| found.id).rfind(of)
    };
    Ok(names
        .into_iter()
        .map(|name| {
            let lock = context.library.lock(&name);
            let fetched = |digest| context.layout().model(digest).is_dir();
            let serves = serving.as_ref().filter(|(_, profile)| *profile == name).map(|(id, _)| *id);
            let (stage, generation) = if serves.is_some() {
                (Stage::Serves, serves)
            } else if let Some(id) = newest(&name, &|id| proven.contains(&id)) {
                (Stage::Proven, Some(id))
            } else if let Some(id) = newest(&name, &|_| true) {
                (Stage::Tried, Some(id))
            } else {
                let stage = match lock {
                    Ok(Some(lock)) if fetched(lock.digest()) => Stage::Fetched,
                    Ok(Some(_)) => Stage::Locked,
                    Ok(None) | Err(_) => Stage::Written,
                };
                (stage, None)
            };
            let profile = context.library.load_to_plan(&name);
            ListedProfile { name, profile, stage, generation }
        })
        .collect())
}

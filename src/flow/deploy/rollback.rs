//! `rollback`: activates a proven generation. It needs no network and installs nothing.

use super::rollback_check;
use crate::{
    domain::{
        activation::request::ActivationRequest,
        generation::Generation,
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::{
        activation::{
            driver::{self, ResumePolicy},
            outcome::{Action, Outcome},
            recover,
            run::execute,
        },
        context::World,
        event::Observer,
        running,
    },
    host::{store::Store, systemd::service::Condition},
};
use std::time::Duration;

/// The generation to roll back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest proven generation before the current one.
    Previous,
    /// The newest proven generation of this profile.
    Profile(String),
    /// This generation.
    Generation(GenerationId),
}

/// The generation that a rollback would activate.
pub(crate) fn find(store: &Store, target: &Target) -> Result<Generation, Problem> {
    let proven = store.known_good()?;
    let current = store.current()?;
    let generations: Vec<_> =
        store.generations()?.into_iter().filter(|generation| proven.contains(&generation.id)).collect();
    let found = match target {
        Target::Previous => {
            let before = |generation: &&Generation| current.is_none_or(|current| generation.id < current);
            generations.iter().rfind(before).ok_or("no earlier generation passed its validation".to_owned())
        }
        Target::Profile(profile) => generations
            .iter()
            .rfind(|generation| generation.plan.profile == *profile)
            .ok_or(format!("no generation of `{profile}` passed its validation")),
        Target::Generation(id) => generations
            .iter()
            .find(|generation| generation.id == *id)
            .ok_or(format!("generation {id} is not there, or never passed its validation")),
    };
    found.cloned().map_err(|what| {
        Problem::new(Kind::Usage, what).help("`awqdeploy generations` lists those that can be returned to")
    })
}

/// Rolls back to a proven generation. If that fails it returns to the one that runs now.
pub fn rollback(world: &mut World, target: &Target, observer: &dyn Observer) -> Result<Outcome, Problem> {
    let store = world.store.clone();
    let plan = find(&store, target)?.plan;
    let service = &plan.service;
    world.service_manager.command(service)?.claim(&store.units(&plan)?)?;
    let writer = store.writer(Duration::ZERO, "awqdeploy rollback")?;
    recover::finish(world, &writer, ResumePolicy::Finish, observer)?;
    // What was found before the lock was held may have changed.
    let to = find(&store, target)?;
    let stuck = driver::not_stuck(store.last_activation()?.as_ref()).is_err();
    let serves = !running::warn(world, service, observer)?
        && world.service_manager.observe(service).condition()? == Condition::Active;
    // A stuck activation is over only once another one has ended well.
    if serves && !stuck && store.current()? == Some(to.id) {
        let profile = to.plan.profile;
        return Ok(Outcome { action: Action::Rollback, profile, generation: to.id, activation: None });
    }
    rollback_check::whole(world, &writer, &to, observer)?;
    execute(world, writer, ActivationRequest { action: Action::Rollback, to: to.id }, observer)
}

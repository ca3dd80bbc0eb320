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
        context::Context,
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
            let found = generations.iter().rfind(before);
            return found.cloned().ok_or_else(|| nothing_earlier(&generations, current));
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

/// Refuses a rollback where no earlier generation is proven, and names one that is.
fn nothing_earlier(proven: &[Generation], current: Option<GenerationId>) -> Problem {
    let other = proven.iter().rfind(|generation| current != Some(generation.id));
    let own = proven.iter().find(|generation| current == Some(generation.id));
    let named =
        |generation: &Generation| format!("generation {} ({})", generation.id, generation.plan.profile);
    let (only, help) = match (other, own) {
        (Some(other), _) => (
            format!(": {} is, and is newer", named(other)),
            format!("`awqdeploy rollback {}` activates it", other.id),
        ),
        (None, Some(own)) => (
            format!(": {} is the only one that is, and is current", named(own)),
            "deploy another profile: then there is something to roll back to".to_owned(),
        ),
        (None, None) => (String::new(), "`awqdeploy deploy PROFILE` proves one".to_owned()),
    };
    Problem::new(Kind::Usage, format!("no earlier generation is proven{only}")).help(help)
}

/// Rolls back to a proven generation. If that fails it returns to the one that serves now.
pub fn rollback(context: &mut Context, target: &Target) -> Result<Outcome, Problem> {
    let store = context.store.clone();
    let plan = find(&store, target)?.plan;
    let service = &plan.service;
    context.service_manager.command(service)?.claim(&store.units(&plan)?)?;
    let writer = store.writer(Duration::ZERO, "awqdeploy rollback")?;
    recover::finish(context, &writer, ResumePolicy::Finish)?;
    // The target that was found before the lock was held may have changed.
    let to = find(&store, target)?;
    let stuck = driver::not_stuck(store.last_activation()?.as_ref()).is_err();
    let serves = !running::warn(context, service)?
        && context.service_manager.observe(service).condition()? == Condition::Active;
    // A stuck activation is over only once another one has ended well.
    if serves && !stuck && store.current()? == Some(to.id) {
        let profile = to.plan.profile;
        return Ok(Outcome { action: Action::Rollback, profile, generation: to.id, activation: None });
    }
    rollback_check::whole(context, &writer, &to)?;
    execute(context, writer, ActivationRequest { action: Action::Rollback, to: to.id })
}

//! `apply`: deploys the declaration of a configuration, unless that was tried already.

use crate::{
    domain::{
        activation::machine::{Conclusion, End},
        digest::Sha256Digest,
        generation::{
            Generation,
            declaration::{self, Attempt, Current, Ended, Next, Now, Texts, Why},
        },
        generation_id::GenerationId,
        problem::Problem,
    },
    flow::{
        activation::outcome::{Action, Outcome},
        context::Context,
        deploy,
        event::Event,
        plan::Prepared,
    },
    host::{machine, os::fs, store::Store},
};
use std::{path::PathBuf, time::Duration};

/// A declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The profile to run.
    pub(crate) active: String,
    /// The profile of the rollback target.
    pub(crate) fallback: Option<String>,
    /// The folder of the units that were rendered for the declaration, if any.
    pub(crate) units: Option<PathBuf>,
}

/// The end of an attempt to deploy a declaration.
#[derive(Clone, Debug)]
pub(crate) enum Applied {
    /// Deployed, it or its fallback, with this outcome.
    Deployed(Outcome),
    /// Nothing was done: it runs already, as this outcome says.
    Unchanged(Outcome),
    /// Nothing was done, although it does not run.
    Stands(Why),
}

/// How long the deployment's process may still hold the root when its end is recorded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Deploys a declaration. `prepare` makes a profile ready, and may show it.
///
/// # Errors
/// As a deployment. Without an end that speaks for or against the declaration, the next call tries again.
pub(crate) fn apply(
    context: &mut Context,
    declared: &Declared,
    prepare: &dyn Fn(&Context, &str) -> Result<Prepared, Problem>,
) -> Result<Applied, Problem> {
    let store = context.store.clone();
    keep_what_serves(context, &store)?;
    let digest = digest(context, declared)?;
    let boot = machine::boot()?;
    let activations = store.last_activation()?.map_or(0, |last| last.number);
    let serves = store.current_generation()?;
    let current = match &serves {
        None => None,
        Some(Generation { id, plan, .. }) => Some(Current {
            generation: *id,
            profile: &plan.profile,
            is_declared: is_declared(context, &store, declared, *id)?,
        }),
    };
    let last = store.attempt()?;
    let attempt = |end| Attempt { declaration: digest, boot: boot.clone(), after: activations, end };
    match declaration::next(digest, last.as_ref(), Now { boot: &boot, activations, current }) {
        Next::Serves(generation) => {
            let profile = declared.active.clone();
            let action = Action::Deploy;
            Ok(Applied::Unchanged(Outcome { action, profile, generation, activation: None }))
        }
        Next::Stands(why) => {
            if why == Why::HostWentDown {
                note(&store, Duration::ZERO, &attempt(Some(Ended::HostWentDown)))?;
            }
            Ok(Applied::Stands(why))
        }
        Next::Deploy => {
            note(&store, Duration::ZERO, &attempt(None))?;
            let outcome = bring_about(context, &store, declared, prepare)?;
            note(&store, PATIENCE, &attempt(end(&outcome)))?;
            Ok(Applied::Deployed(outcome))
        }
    }
}

/// Deploys the fallback first, unless one is proven; then the declared profile.
fn bring_about(
    context: &mut Context,
    store: &Store,
    declared: &Declared,
    prepare: &dyn Fn(&Context, &str) -> Result<Prepared, Problem>,
) -> Result<Outcome, Problem> {
    let proven = store.known_good()?;
    let generations = store.generations()?;
    let is_proven = |profile: &String| {
        generations
            .iter()
            .any(|generation| generation.plan.profile == *profile && proven.contains(&generation.id))
    };
    if let Some(fallback) = declared.fallback.as_ref().filter(|fallback| !is_proven(fallback)) {
        context.tell(Event::Stage(format!("no generation of `{fallback}` is proven: it is deployed first")));
        let prepared = prepare(context, fallback)?;
        let outcome = deploy::deploy(context, &prepared)?;
        if !matches!(outcome.conclusion(), Conclusion::Done | Conclusion::AlreadySo) {
            return Ok(outcome);
        }
    }
    let prepared = prepare(context, &declared.active)?;
    deploy::deploy(context, &prepared)
}

/// The end of an attempt, by its outcome.
fn end(outcome: &Outcome) -> Option<Ended> {
    let generation = outcome.generation;
    match outcome.activation.as_ref().map(|activated| &activated.ended.end) {
        None | Some(End::Committed) => Some(Ended::Committed { generation }),
        Some(End::RolledBack { cause }) if outcome.conclusion() == Conclusion::WentBack => {
            Ended::after(generation, cause)
        }
        Some(End::RolledBack { .. } | End::Stuck { .. }) => None,
    }
}

fn note(store: &Store, wait: Duration, attempt: &Attempt) -> Result<(), Problem> {
    store.writer(wait, "awqdeploy apply")?.keep_attempt(attempt)
}

/// Keeps the running server's units where a distribution has put those of the declaration in place already:
/// the server goes on under its own, whatever becomes of the rest.
fn keep_what_serves(context: &mut Context, store: &Store) -> Result<(), Problem> {
    let Some(Generation { plan, .. }) = store.current_generation()? else { return Ok(()) };
    let units = store.units(&plan)?;
    context.service_manager.command(&plan.service)?.keep(&units)
}

fn digest(context: &Context, declared: &Declared) -> Result<Sha256Digest, Problem> {
    let mut said = Vec::new();
    for name in [Some(&declared.active), declared.fallback.as_ref()].into_iter().flatten() {
        let service = context.library.load(name)?.service().to_owned();
        let unit = match &declared.units {
            Some(folder) => fs::read(&folder.join(format!("{service}.service")))?,
            None => None,
        };
        said.push((name, context.library.texts(name)?, unit));
    }
    let texts: Vec<_> = said
        .iter()
        .map(|(name, texts, unit)| Texts {
            name,
            profile: &texts.profile,
            model: texts.model.as_deref(),
            runtime: texts.runtime.as_deref(),
            unit: unit.as_deref(),
        })
        .collect();
    Ok(declaration::digest(&texts))
}

/// Whether this generation was made from the declared profile and model.
fn is_declared(
    context: &Context,
    store: &Store,
    declared: &Declared,
    id: GenerationId,
) -> Result<bool, Problem> {
    let generation = store.generation(id)?;
    let made_from = store.profile(id)?.unwrap_or_default();
    let model = context.library.lock(&declared.active)?.map(|lock| lock.digest());
    Ok(generation.plan.profile == declared.active
        && declaration::same(&made_from, &context.library.text(&declared.active)?)
        && generation.plan.model.digest == model)
}

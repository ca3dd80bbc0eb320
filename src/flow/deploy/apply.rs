//! `apply`: deploys what a configuration declares, unless that was tried already.

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
        context::World,
        deploy,
        event::{Event, Observer},
        plan::Prepared,
    },
    host::{machine, os::fs, store::Store},
};
use std::{path::PathBuf, time::Duration};

/// What is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The profile that shall serve.
    pub(crate) active: String,
    /// The profile to return to.
    pub(crate) fallback: Option<String>,
    /// The folder of the units that were rendered for it, where they were.
    pub(crate) units: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Applied {
    /// It was deployed, or its way back was, and that ended so.
    Deployed(Outcome),
    /// Nothing was done: it is so already, as this outcome says.
    Unchanged(Outcome),
    /// Nothing was done, and it does not serve.
    Stands(Why),
}

/// How long the root may still be held by whoever carried the deployment out, when its end is put on record.
const PATIENCE: Duration = Duration::from_secs(30);

/// Brings about what is declared. `prepare` makes a profile ready, and may show it.
///
/// # Errors
/// As a deployment. What did not come to an end that speaks for or against it is tried again by the next call.
pub(crate) fn apply(
    world: &mut World,
    declared: &Declared,
    prepare: &dyn Fn(&World, &str) -> Result<Prepared, Problem>,
    observer: &dyn Observer,
) -> Result<Applied, Problem> {
    let store = world.store.clone();
    keep_what_serves(world, &store)?;
    let digest = digest(world, declared)?;
    let boot = machine::boot()?;
    let activations = store.last_activation()?.map_or(0, |last| last.number);
    let serves = store.current_generation()?;
    let current = match &serves {
        None => None,
        Some(Generation { id, plan, .. }) => Some(Current {
            generation: *id,
            profile: &plan.profile,
            is_declared: is_declared(world, &store, declared, *id)?,
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
            let outcome = bring_about(world, &store, declared, prepare, observer)?;
            note(&store, PATIENCE, &attempt(end(&outcome)))?;
            Ok(Applied::Deployed(outcome))
        }
    }
}

/// The way back first, unless there is one that was proven; then what shall serve.
fn bring_about(
    world: &mut World,
    store: &Store,
    declared: &Declared,
    prepare: &dyn Fn(&World, &str) -> Result<Prepared, Problem>,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    let proven = store.known_good()?;
    let generations = store.generations()?;
    let is_proven = |profile: &String| {
        generations
            .iter()
            .any(|generation| generation.plan.profile == *profile && proven.contains(&generation.id))
    };
    if let Some(fallback) = declared.fallback.as_ref().filter(|fallback| !is_proven(fallback)) {
        observer.see(Event::Stage(format!("no generation of `{fallback}` is proven: it is deployed first")));
        let prepared = prepare(world, fallback)?;
        let outcome = deploy::deploy(world, &prepared, observer)?;
        if !matches!(outcome.conclusion(), Conclusion::Done | Conclusion::AlreadySo) {
            return Ok(outcome);
        }
    }
    let prepared = prepare(world, &declared.active)?;
    deploy::deploy(world, &prepared, observer)
}

/// What is to be remembered of this outcome.
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

/// Where a distribution declares units, those of what is declared may be in place already: what serves goes on under its
/// own, whatever becomes of the rest.
fn keep_what_serves(world: &mut World, store: &Store) -> Result<(), Problem> {
    let Some(Generation { plan, .. }) = store.current_generation()? else { return Ok(()) };
    let units = store.units(&plan)?;
    world.service_manager.command(&plan.service)?.keep(&units)
}

fn digest(world: &World, declared: &Declared) -> Result<Sha256Digest, Problem> {
    let mut said = Vec::new();
    for name in [Some(&declared.active), declared.fallback.as_ref()].into_iter().flatten() {
        let service = world.library.load(name)?.service().to_owned();
        let unit = match &declared.units {
            Some(folder) => fs::read(&folder.join(format!("{service}.service")))?,
            None => None,
        };
        said.push((name, world.library.texts(name)?, unit));
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

/// Whether this generation was made from the profile and the model that are declared.
fn is_declared(world: &World, store: &Store, declared: &Declared, id: GenerationId) -> Result<bool, Problem> {
    let generation = store.generation(id)?;
    let made_from = store.profile(id)?.unwrap_or_default();
    let model = world.library.lock(&declared.active)?.map(|lock| lock.digest());
    Ok(generation.plan.profile == declared.active
        && declaration::same(&made_from, &world.library.text(&declared.active)?)
        && generation.plan.model.digest == model)
}

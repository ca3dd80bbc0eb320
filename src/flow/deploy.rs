//! `deploy`: everything on disk and verified first, then one activation.

use super::{
    activate::{self, Ended, Left, activate},
    event::{Event, Observer},
    fetch::Order,
    live::{self, Live},
    outcome::{Action, Activated, Outcome},
    prepare::Prepared,
    recover,
    world::World,
};
use crate::{
    domain::{
        activation::{End, GenerationId},
        digest::Digest,
        generation::Generation,
        problem::{Kind, Problem},
        report::Report,
        unit,
    },
    host::{
        hub::Settings,
        models, port, runtimes, secrets,
        service::Condition,
        store::{Evidence, Locked, Store},
    },
};
use std::{path::PathBuf, time::Duration};

/// Carries out what was prepared. Until the activation begins nothing that serves is touched, and a
/// signal ends it; from then on a signal makes it go back.
pub fn deploy(world: &mut World, prepared: &Prepared, observer: &dyn Observer) -> Result<Outcome, Problem> {
    let store = world.store.clone();
    let plan = &prepared.plan;
    // The means first: nothing is worth preparing without them.
    world.keeper.command(&plan.service)?;
    secrets::prove(&plan.secrets)?;
    let locked = store.lock(Duration::ZERO, &format!("awqdeploy deploy {}", plan.profile))?;
    recover::finish(world, &locked, Left::Finish, observer)?;
    activate::not_stuck(store.last_activation()?.as_ref())?;

    let current = store.current_generation()?;
    let condition = world.keeper.observe(&plan.service).condition()?;
    let serves = condition == Condition::Active;
    let same = |current: &&Generation| current.plan == *plan && current.made_by == env!("CARGO_PKG_VERSION");
    if let Some(current) = current.as_ref().filter(|_| serves).filter(same) {
        let (profile, generation) = (plan.profile.clone(), current.id);
        return Ok(Outcome { action: Action::Deploy, profile, generation, activation: None });
    }
    world.keeper.command(&plan.service)?.claim(&unit::all(plan, store.layout()))?;
    // A service of ours that runs, or that systemd tries to start again and again, lets go of its own port.
    let runs = !matches!(condition, Condition::Down(_));
    if !current.as_ref().is_some_and(|current| runs && current.plan.serve.listen == plan.serve.listen) {
        port::free(plan.serve.listen)?;
    }
    let binary = stage(world, &locked, prepared, observer)?;
    world.interrupt.check()?;
    let to = locked.add_generation(plan.clone(), &prepared.profile, &binary)?;
    carry_out(world, &locked, Action::Deploy, to, observer)
}

/// One activation of a generation that is whole and verified, and the validation of what serves after it.
pub(super) fn carry_out(
    world: &mut World,
    locked: &Locked<'_>,
    action: Action,
    to: GenerationId,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    let store = locked.store();
    let Generation { plan, .. } = store.generation(to)?;
    let from = return_to(store, to)?;
    let baseline = live::baseline(world, &plan, observer)?;
    let services = world.keeper.command(&plan.service)?;
    let interrupt = world.interrupt.clone();
    let live = |number| Live::new(locked, services, observer, interrupt.clone(), number, to).beside(baseline);
    let (ended, mut live) = activate(locked, from, to, live, &world.interrupt, observer)?;
    let returned = match (&ended.end, from) {
        (End::RolledBack { .. }, Some(from)) => {
            observer.see(Event::Stage(format!("validate generation {from}, which serves again")));
            Some(live.validate_returned(from)?)
        }
        _ => None,
    };
    drop(live);
    world.tell(&ended, returned.as_ref());
    let activation = Some(activated(store, ended, returned)?);
    Ok(Outcome { action, profile: plan.profile, generation: to, activation })
}

/// What to go back to if `to` fails: what serves, if it is proven; else the newest that is.
fn return_to(store: &Store, to: GenerationId) -> Result<Option<GenerationId>, Problem> {
    let proven = store.proven()?;
    let current = store.current()?.filter(|current| proven.contains(current));
    Ok(current.or_else(|| proven.into_iter().rev().find(|id| *id != to)))
}

fn activated(store: &Store, ended: Ended, returned: Option<Report>) -> Result<Activated, Problem> {
    let report = store.report(ended.number, Evidence::Candidate)?;
    let recorded = store.last_activation()?.filter(|recorded| recorded.number == ended.number);
    let journal = recorded.map(|recorded| recorded.journal).unwrap_or_default();
    Ok(Activated { ended, journal, report, returned })
}

/// Puts everything that the generation needs into the store, and proves it. Returns the binary that is to
/// run it.
fn stage(
    world: &World,
    locked: &Locked<'_>,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<PathBuf, Problem> {
    world.interrupt.check()?;
    let model = &prepared.model;
    if prepared.wanted.path.is_none() && !world.layout().model(model.digest()).is_dir() {
        let settings = Settings::from_environment()?;
        let wanted = &prepared.wanted;
        // Proven while it came: it need not be hashed once more.
        Order { world, wanted, model, settings: &settings, observer }.fill(locked)?;
    } else {
        observer.see(Event::Stage(format!("verify the files of `{}`", model.repo)));
        let of = model.size();
        let source = prepared.wanted.path.as_deref();
        models::take_in(locked, model, source, &world.interrupt, &mut |done| {
            observer.see(Event::Progress { done, of });
        })?;
    }
    let there = |digest: &Digest| locked.store().layout().runtime(*digest).is_dir();
    if let Some((digest, runtime)) = prepared.runtime.as_ref().filter(|(digest, _)| !there(digest)) {
        observer.see(Event::Stage(format!(
            "install vLLM {} ({} wheels)",
            runtime.vllm,
            runtime.wheels.len()
        )));
        let said = &mut |words: &str| observer.see(Event::Installing(words.trim().to_owned()));
        runtimes::install(locked, *digest, runtime, said).map_err(|problem| {
            // uv hears Ctrl-C too: that it failed then is not the wheels' fault.
            if world.interrupt.came() {
                Problem::new(Kind::Interrupted, "stopped before anything was changed")
            } else {
                problem
            }
        })?;
    }
    locked.keep_binary(&world.binary)
}

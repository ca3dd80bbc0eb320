//! From an order to its outcome: carried out in this process, or handed to the service manager and followed.

use super::{
    activate::{Ended, activate},
    event::{Event, Observer},
    follow::{CtrlC, follow},
    live::{self, Live},
    outcome::{Activated, Outcome},
    warm,
    world::{Carrier, World},
};
use crate::{
    domain::{
        activation::{Activation, End, way_back},
        generation_id::GenerationId,
        journal::{Entry, plain_restart},
        order::Order,
        problem::Problem,
    },
    host::{
        foreign,
        store::{Evidence, Locked, Store},
        transient,
    },
};
use std::path::Path;

/// One activation of a generation that is whole and verified. From here on it is in the hands of whoever carries
/// activations out.
pub(super) fn carry_out(
    world: &mut World,
    locked: Locked<'_>,
    order: Order,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    match world.carrier {
        Carrier::Here => {
            let number = locked.order(&order)?;
            conduct(world, &locked, number, order, observer)
        }
        Carrier::ServiceManager => {
            let number = hand_over(world, locked, order)?;
            observer.see(Event::Stage(format!("activation {number}: the service manager carries it out")));
            follow(world, number, CtrlC::GoesBack, observer)
        }
    }
}

/// Hands an order to the service manager. Returns the number of its activation once that has its process.
pub(super) fn hand_over(world: &World, locked: Locked<'_>, order: Order) -> Result<u64, Problem> {
    // Wherever the caller's own file lies, this one is there when it must be started again.
    let program = locked.keep_binary(&world.binary)?;
    let service = locked.store().generation(order.to)?.plan.service;
    let number = locked.order(&order)?;
    drop(locked);
    transient::start(&service, number, &program, world.layout())?;
    Ok(number)
}

/// Carries an order out in this process, and validates what serves after it.
pub(super) fn conduct(
    world: &mut World,
    locked: &Locked<'_>,
    number: u64,
    order: Order,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    let store = locked.store();
    let plan = store.generation(order.to)?.plan;
    let from = return_to(store, Some(order.to))?;
    let _alone = world.keeper.alone(store.layout().root(), "awqdeploy")?;
    for id in [Some(order.to), from].into_iter().flatten() {
        remark_on_packages(store, id, observer)?;
    }
    let baseline = live::baseline(world, &plan, observer)?;
    warm::ahead(&plan, &world.interrupt, observer)?;
    let activation = Activation::new(from, order.to);
    let interrupt = world.interrupt.clone();
    let services = world.keeper.command(&plan.service)?;
    let mut live =
        Live::new(locked, services, observer, interrupt.clone(), number, activation.clone()).beside(baseline);
    let ended = activate(locked, number, activation, &mut live, &interrupt, observer)?;
    drop(live);
    close(world, locked, &ended, observer)?;
    outcome(store, order, ended)
}

/// Warns where the packages of an adopted generation are not those that were found: nothing pins them.
fn remark_on_packages(store: &Store, id: GenerationId, observer: &dyn Observer) -> Result<(), Problem> {
    let Some(adopted) = store.adopted(id).unwrap_or_default() else { return Ok(()) };
    let plan = store.generation(id)?.plan;
    let Some(python) = plan.serve.argv.first() else { return Ok(()) };
    let now = foreign::packages(Path::new(python))?;
    let changed: Vec<_> = adopted.packages.iter().filter(|(name, was)| now.get(*name) != Some(was)).collect();
    if let Some((name, was)) = changed.first() {
        let is = now.get(*name).map_or("gone", String::as_str);
        observer.see(Event::Warning(format!(
            "{} packages of generation {id} were changed since it was adopted: `{name}` was {was}, and is {is}",
            changed.len()
        )));
    }
    Ok(())
}

/// What follows the end of an activation: what serves again after one that went back is validated, unless that was
/// done, and the host's journal is told, whoever else listens.
pub(super) fn close(
    world: &World,
    locked: &Locked<'_>,
    ended: &Ended,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let validated = validate_returned(world, locked, ended, observer);
    // What cannot be read is told to whoever asks for it.
    let returned = locked.store().report(ended.number, Evidence::Returned).unwrap_or_default();
    world.tell(ended, returned.as_ref());
    validated
}

fn validate_returned(
    world: &World,
    locked: &Locked<'_>,
    ended: &Ended,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let (End::RolledBack { .. }, Some(from)) = (&ended.end, ended.activation.from) else {
        return Ok(());
    };
    // One that is damaged is measured anew.
    if locked.store().report(ended.number, Evidence::Returned).unwrap_or_default().is_some() {
        return Ok(());
    }
    observer.see(Event::Stage(format!("validate generation {from}, which serves again")));
    let whose = world.keeper.processes(&locked.store().generation(from)?.plan.service)?;
    live::validate_returned(locked, ended.number, from, whose, observer)
}

/// How an activation that has ended went, with its evidence.
pub(super) fn outcome(store: &Store, order: Order, ended: Ended) -> Result<Outcome, Problem> {
    // Evidence that is damaged does not change how it ended.
    let report = store.report(ended.number, Evidence::Candidate).unwrap_or_default();
    let returned = match ended.end {
        End::RolledBack { .. } => store.report(ended.number, Evidence::Returned).unwrap_or_default(),
        _ => None,
    };
    let journal = store.activation(ended.number)?.journal;
    let plain_restart = match ended.activation.from {
        Some(from) => restart_before(store, ended.number, &journal, from)?,
        None => None,
    };
    Ok(Outcome {
        action: order.action,
        profile: store.generation(order.to)?.plan.profile,
        generation: order.to,
        activation: Some(Activated { ended, journal, report, returned, plain_restart }),
    })
}

/// Seconds that a plain restart of what served before takes, by what is on record until this activation.
fn restart_before(
    store: &Store,
    number: u64,
    journal: &[Entry],
    from: GenerationId,
) -> Result<Option<f64>, Problem> {
    for earlier in store.activations_before(number)? {
        let restart = plain_restart(journal, &earlier?.journal, from);
        if restart.is_some() {
            return Ok(restart);
        }
    }
    Ok(None)
}

/// What to go back to if `to` fails, which may not be there yet.
pub(super) fn return_to(store: &Store, to: Option<GenerationId>) -> Result<Option<GenerationId>, Problem> {
    Ok(way_back(&store.returnable()?, store.current()?, to))
}

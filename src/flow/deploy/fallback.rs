//! What becomes of a proven generation that fails over and over: its starts and ends are counted across boots, and
//! after five failures in a row the newest other proven generation is activated in its place.

use super::rollback_check;
use crate::{
    domain::{
        activation::{
            failure_count::{FailureCount, LIMIT},
            machine::Activation,
            request::{Action, ActivationRequest},
        },
        generation::Generation,
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::{
        activation::{
            driver::{self, ResumePolicy},
            outcome::Outcome,
            recover,
            run::execute,
        },
        context::World,
        event::{Event, Observer},
        lock_wait::LOCK_PATIENCE,
    },
    host::{
        store::{Store, StoreWriter},
        systemd::{
            failure_count,
            service::{self, Condition},
        },
    },
};

/// The service starts. A problem where it failed too often to be started once more, and goes back instead: that is
/// ordered then. Nothing that is wrong with the counting keeps a service from starting.
pub(crate) fn begun(world: &World) -> Result<(), Problem> {
    let Ok(Some(current)) = counted(world, |tally, id| tally.begun(id, failure_count::now())) else {
        return Ok(());
    };
    Err(Problem::new(
        Kind::Unexpected,
        format!("generation {} failed {LIMIT} times in a row: the service goes back", current.id),
    )
    .help("`awqdeploy follow` shows how; `awqdeploy logs` has why"))
}

/// The service has ended. Goes back where that was one failure too many.
pub(crate) fn ended(world: &World) -> Result<(), Problem> {
    counted(world, |tally, id| tally.ended(id, failure_count::ending(), &failure_count::now())).map(drop)
}

/// Counts, and has the service go back if it is time and there is something to go back to. What is left then.
fn counted(
    world: &World,
    count: impl FnOnce(FailureCount, GenerationId) -> FailureCount,
) -> Result<Option<Generation>, Problem> {
    // What is tried is judged by whoever tries it.
    if service::on_trial() {
        return Ok(None);
    }
    let (store, layout) = (&world.store, world.layout());
    let current = store.deployed()?;
    let tally = count(failure_count::read(layout)?, current.id);
    failure_count::write(layout, &tally)?;
    if tally.failures(current.id) < LIMIT || targets(store, &tally, current.id)?.is_empty() {
        return Ok(None);
    }
    failure_count::go_back(&current.plan.service, &layout.binary(), layout)?;
    Ok(Some(current))
}

/// Goes back from what serves, if it failed too often. Nothing where that is not so any more.
pub(crate) fn fall_back(world: &mut World, observer: &dyn Observer) -> Result<Option<Outcome>, Problem> {
    let store = world.store.clone();
    let writer = store.writer(LOCK_PATIENCE, "awqdeploy fallback")?;
    recover::finish(world, &writer, ResumePolicy::Finish, observer)?;
    let current = store.deployed()?;
    let tally = failure_count::read(world.layout())?;
    let serves = world.service_manager.observe(&current.plan.service).condition()? == Condition::Active;
    if serves || tally.failures(current.id) < LIMIT {
        return Ok(None);
    }
    let stuck = driver::not_stuck(store.last_activation()?.as_ref());
    let to = match &stuck {
        Ok(()) => whole(world, &writer, &tally, current.id, observer)?,
        Err(_) => None,
    };
    let Some(to) = to else {
        failure_count::write(world.layout(), &tally.excused())?;
        observer.see(Event::Warning(format!(
            "generation {} failed {LIMIT} times in a row, and there is nothing to go back to",
            current.id
        )));
        return stuck.map(|()| None);
    };
    observer.see(Event::Stage(format!(
        "generation {} ({}) failed {} times in a row: go back to generation {} ({})",
        current.id,
        current.plan.profile,
        tally.failures(current.id),
        to.id,
        to.plan.profile
    )));
    let newest = store.newest_order()?.unwrap_or_default();
    failure_count::write(world.layout(), &tally.leaving(current.id, newest))?;
    execute(world, writer, ActivationRequest { action: Action::Rollback, to: to.id }, observer).map(Some)
}

/// The best that can be gone back to, and is whole.
fn whole(
    world: &World,
    writer: &StoreWriter<'_>,
    tally: &FailureCount,
    failing: GenerationId,
    observer: &dyn Observer,
) -> Result<Option<Generation>, Problem> {
    for id in targets(writer.store(), tally, failing)? {
        let generation = writer.store().generation(id)?;
        match rollback_check::whole(world, writer, &generation, observer) {
            Ok(()) => return Ok(Some(generation)),
            Err(problem) => observer.see(Event::Warning(format!(
                "generation {id} cannot be gone back to: {}",
                problem.in_one_line()
            ))),
        }
    }
    Ok(None)
}

fn targets(store: &Store, tally: &FailureCount, failing: GenerationId) -> Result<Vec<GenerationId>, Problem> {
    let recorded = store.activations()?;
    let activations: Vec<(u64, &Activation)> =
        recorded.iter().filter_map(|recorded| Some((recorded.number, recorded.last()?))).collect();
    Ok(tally.targets(failing, &store.known_good()?, &activations))
}

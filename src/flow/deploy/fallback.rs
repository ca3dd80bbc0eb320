//! Rolls back a proven generation that fails again and again: its starts and ends are counted across boots,
//! and after five failures in a row the newest other proven generation is activated.

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
        context::Context,
        event::Event,
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

/// Counts a start of the service. A problem where it failed too often: then a rollback is requested instead.
/// A fault of the counting keeps no service from starting.
pub(crate) fn begun(context: &Context) -> Result<(), Problem> {
    let Ok(Some(current)) = counted(context, |tally, id| tally.begun(id, failure_count::now())) else {
        return Ok(());
    };
    Err(Problem::new(
        Kind::Unexpected,
        format!("generation {} failed {LIMIT} times in a row: the service is rolled back", current.id),
    )
    .help("`awqdeploy follow` shows how; `awqdeploy logs` has why"))
}

/// Counts an end of the service. Requests a rollback where that was one failure too many.
pub(crate) fn ended(context: &Context) -> Result<(), Problem> {
    counted(context, |tally, id| tally.ended(id, failure_count::ending(), &failure_count::now())).map(drop)
}

/// Counts, and requests a rollback if it is time and there is a target. Returns the generation that is left.
fn counted(
    context: &Context,
    count: impl FnOnce(FailureCount, GenerationId) -> FailureCount,
) -> Result<Option<Generation>, Problem> {
    // A generation on trial is judged by its activation.
    if service::on_trial() {
        return Ok(None);
    }
    let (store, layout) = (&context.store, context.layout());
    let current = store.deployed()?;
    let tally = count(failure_count::read(layout)?, current.id);
    failure_count::write(layout, &tally)?;
    if tally.failures(current.id) < LIMIT || targets(store, &tally, current.id)?.is_empty() {
        return Ok(None);
    }
    failure_count::go_back(&current.plan.service, &layout.binary(), layout)?;
    Ok(Some(current))
}

/// Rolls back from the running generation, if it failed too often. Nothing where that is no longer so.
pub(crate) fn fall_back(context: &mut Context) -> Result<Option<Outcome>, Problem> {
    let store = context.store.clone();
    let writer = store.writer(LOCK_PATIENCE, "awqdeploy fallback")?;
    recover::finish(context, &writer, ResumePolicy::Finish)?;
    let current = store.deployed()?;
    let tally = failure_count::read(context.layout())?;
    let serves = context.service_manager.observe(&current.plan.service).condition()? == Condition::Active;
    if serves || tally.failures(current.id) < LIMIT {
        return Ok(None);
    }
    let stuck = driver::not_stuck(store.last_activation()?.as_ref());
    let to = match &stuck {
        Ok(()) => whole(context, &writer, &tally, current.id)?,
        Err(_) => None,
    };
    let Some(to) = to else {
        failure_count::write(context.layout(), &tally.excused())?;
        context.tell(Event::Warning(format!(
            "generation {} failed {LIMIT} times in a row, and there is nothing to roll back to",
            current.id
        )));
        return stuck.map(|()| None);
    };
    context.tell(Event::Stage(format!(
        "generation {} ({}) failed {} times in a row: roll back to generation {} ({})",
        current.id,
        current.plan.profile,
        tally.failures(current.id),
        to.id,
        to.plan.profile
    )));
    let newest = store.newest_order()?.unwrap_or_default();
    failure_count::write(context.layout(), &tally.leaving(current.id, newest))?;
    execute(context, writer, ActivationRequest { action: Action::Rollback, to: to.id }).map(Some)
}

/// The best rollback target that is whole.
fn whole(
    context: &Context,
    writer: &StoreWriter<'_>,
    tally: &FailureCount,
    failing: GenerationId,
) -> Result<Option<Generation>, Problem> {
    for id in targets(writer.store(), tally, failing)? {
        let generation = writer.store().generation(id)?;
        match rollback_check::whole(context, writer, &generation) {
            Ok(()) => return Ok(Some(generation)),
            Err(problem) => context.tell(Event::Warning(format!(
                "generation {id} cannot be returned to: {}",
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

//! Commands that no person gives: what the service manager runs.

use crate::{
    cli::{
        args::{Global, Tallied},
        context::{context, interruptible, layout},
        progress::Screen,
    },
    domain::{exit_status::ExitStatus, problem::Problem},
    flow::{
        activation::worker::{self, Part},
        context::{Executor, World},
        deploy::fallback,
        supervise,
    },
    host::{event_loop, rehearsal::engine, store::Store},
};

/// What the service manager runs to carry an activation out.
pub(super) fn activate(
    global: &Global,
    number: u64,
    rest: bool,
    screen: &Screen,
) -> Result<ExitStatus, Problem> {
    let part = if rest { Part::Rest } else { Part::Whole };
    let mut world = World { executor: Executor::Here, ..interruptible(global)? };
    let outcome = worker::activation(&mut world, number, part, screen)?;
    Ok(outcome.map_or(ExitStatus::Done, |outcome| outcome.conclusion().into()))
}

/// What the service's unit runs beside it.
pub(super) fn tally(global: &Global, what: Tallied) -> Result<ExitStatus, Problem> {
    let world = context(global)?;
    match what {
        Tallied::Begun => fallback::begun(&world),
        Tallied::Ended => fallback::ended(&world),
    }
    .map(|()| ExitStatus::Done)
}

/// What the service manager runs once a service failed too often.
pub(super) fn fallback(global: &Global, screen: &Screen) -> Result<ExitStatus, Problem> {
    let mut world = interruptible(global)?;
    let outcome = fallback::fall_back(&mut world, screen)?;
    Ok(outcome.map_or(ExitStatus::Done, |outcome| outcome.conclusion().into()))
}

/// What the service's unit runs.
pub(super) fn supervise(global: &Global, owner: Option<u32>) -> Result<ExitStatus, Problem> {
    let parent = owner.map_or(supervise::Parent::Ignored, |owner| supervise::Parent::Followed { owner });
    let store = Store::new(layout(global));
    event_loop()?.block_on(supervise::supervise(&store, parent)).map(|()| ExitStatus::Done)
}

/// What a rehearsal's supervisor runs in vLLM's place.
pub(super) fn engine(arguments: &[String]) -> Result<ExitStatus, Problem> {
    let options = engine::Options::from_arguments(arguments, |name| std::env::var(name).ok())?;
    event_loop()?.block_on(engine::run(options)).map(|()| ExitStatus::Done)
}

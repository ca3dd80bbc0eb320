//! The commands that the service manager gives, and no person.

use crate::{
    cli::{
        args::{Global, Tallied},
        context::{context, layout, on_screen},
        progress::Screen,
    },
    domain::{exit_status::ExitStatus, problem::Problem},
    flow::{
        activation::worker::{self, Part},
        context::{Context, Executor},
        deploy::fallback,
        supervise,
    },
    host::{event_loop, rehearsal::engine, store::Store},
};
use std::rc::Rc;

/// Runs the worker of an activation, for the service manager.
pub(crate) fn activate(
    global: &Global,
    number: u64,
    rest: bool,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let part = if rest { Part::Rest } else { Part::Whole };
    let mut context = Context { executor: Executor::Here, ..on_screen(global, screen)? };
    let outcome = worker::activation(&mut context, number, part)?;
    Ok(outcome.map_or(ExitStatus::Done, |outcome| outcome.conclusion().into()))
}

/// Counts a start or end of the service, for its unit.
pub(crate) fn tally(global: &Global, what: Tallied) -> Result<ExitStatus, Problem> {
    let context = context(global)?;
    match what {
        Tallied::Begun => fallback::begun(&context),
        Tallied::Ended => fallback::ended(&context),
    }
    .map(|()| ExitStatus::Done)
}

/// Rolls back a service that failed too often, for the service manager.
pub(crate) fn fallback(global: &Global, screen: &Rc<Screen>) -> Result<ExitStatus, Problem> {
    let mut context = on_screen(global, screen)?;
    let outcome = fallback::fall_back(&mut context)?;
    Ok(outcome.map_or(ExitStatus::Done, |outcome| outcome.conclusion().into()))
}

/// Runs the supervisor, for the service's unit.
pub(crate) fn supervise(global: &Global, owner: Option<u32>) -> Result<ExitStatus, Problem> {
    let parent = owner.map_or(supervise::Parent::Ignored, |owner| supervise::Parent::Followed { owner });
    let store = Store::new(layout(global));
    event_loop()?.block_on(supervise::supervise(&store, parent)).map(|()| ExitStatus::Done)
}

/// Runs the stand-in for vLLM, for a rehearsal's supervisor.
pub(crate) fn engine(arguments: &[String]) -> Result<ExitStatus, Problem> {
    let options = engine::Options::from_arguments(arguments, |name| std::env::var(name).ok())?;
    event_loop()?.block_on(engine::run(options)).map(|()| ExitStatus::Done)
}

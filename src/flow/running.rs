//! Compares the running server with the one that should run: asks the service manager and the process itself,
//! never the records alone.

use super::{
    context::World,
    event::{Event, Observer},
};
use crate::domain::{
    activation::running::{Remedy, Runs},
    problem::Problem,
};

/// The running server. Unknown where nobody can be asked.
pub(super) fn runs(world: &mut World, service: &str) -> Runs {
    let layout = world.layout().clone();
    world.service_manager.observe(service).runs(&layout).unwrap_or(Runs::Unknown)
}

/// The remedy for a wrong running server, if it is wrong.
pub(super) fn remedy(world: &mut World, service: &str) -> Result<Option<Remedy>, Problem> {
    let runs = runs(world, service);
    Ok(runs.remedy(world.store.current()?, &world.store.returnable()?))
}

/// Warns of a wrong running server. Returns whether it is wrong.
pub(super) fn warn(world: &mut World, service: &str, observer: &dyn Observer) -> Result<bool, Problem> {
    let current = world.store.current()?;
    let Some(other) = runs(world, service).other_than(current) else { return Ok(false) };
    let should =
        current.map_or("nothing should".to_owned(), |current| format!("generation {current} should"));
    observer.see(Event::Warning(format!("generation {other} runs, and {should}")));
    Ok(true)
}

//! Whether what runs is what should: asked of the service manager and of the process itself, never of the records alone.

use super::{
    context::World,
    event::{Event, Observer},
};
use crate::domain::{
    activation::running::{Remedy, Runs},
    problem::Problem,
};

/// What the service runs. Where nobody can be asked that is not known.
pub(super) fn runs(world: &mut World, service: &str) -> Runs {
    let layout = world.layout().clone();
    world.service_manager.observe(service).runs(&layout).unwrap_or(Runs::Unknown)
}

/// What ends a difference between what runs and what should, where there is one.
pub(super) fn remedy(world: &mut World, service: &str) -> Result<Option<Remedy>, Problem> {
    let runs = runs(world, service);
    Ok(runs.remedy(world.store.current()?, &world.store.returnable()?))
}

/// Tells such a difference. Whether there is one.
pub(super) fn warn(world: &mut World, service: &str, observer: &dyn Observer) -> Result<bool, Problem> {
    let current = world.store.current()?;
    let Some(other) = runs(world, service).other_than(current) else { return Ok(false) };
    let should =
        current.map_or("nothing should".to_owned(), |current| format!("generation {current} should"));
    observer.see(Event::Warning(format!("generation {other} runs, and {should}")));
    Ok(true)
}

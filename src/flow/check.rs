//! `validate`: proves again that what serves does so well.

use super::{event::Observer, live, world::World};
use crate::domain::{problem::Problem, report::Report};

/// Validates what serves now. Nothing is changed, whatever it shows.
pub fn validate(world: &World, observer: &dyn Observer) -> Result<Report, Problem> {
    let current = world.store.deployed()?;
    live::report(&world.store, &current.plan, current.id, &world.interrupt, observer)
}

//! `validate`: proves again that what serves does so well.

use super::{event::Observer, live, world::World};
use crate::domain::{
    generation::Generation,
    problem::{Kind, Problem},
    report::Report,
};

/// Validates what serves now. Nothing is changed, whatever it shows.
pub fn validate(world: &World, observer: &dyn Observer) -> Result<Report, Problem> {
    let current = current(world)?;
    live::report(&world.store, &current.plan, current.id, &world.interrupt, observer)
}

pub(super) fn current(world: &World) -> Result<Generation, Problem> {
    let current = world.store.current()?.ok_or_else(|| {
        Problem::new(Kind::Usage, "nothing is deployed").help("deploy a profile: `awqdeploy deploy PROFILE`")
    })?;
    world.store.generation(current)
}

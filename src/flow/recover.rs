//! `recover`: ends what an interrupted activation left, so that something proven serves.

use super::{
    activate::{self, Ended, Host, Left},
    event::Observer,
    live::Live,
    world::World,
};
use crate::{
    domain::{activation::GenerationId, generation::Generation, problem::Problem},
    host::{signals::Interrupt, store::Locked},
};
use std::time::Duration;

/// How long boot recovery waits for another awqdeploy.
const BOOT_PATIENCE: Duration = Duration::from_mins(1);

/// Goes back from an interrupted or stuck activation. Nothing to do is no problem.
pub fn recover(world: &mut World, observer: &dyn Observer) -> Result<Option<Ended>, Problem> {
    let store = world.store.clone();
    let locked = store.lock(Duration::ZERO, "awqdeploy recover")?;
    finish(world, &locked, Left::Unstick, observer)
}

/// The same under a lock that is held already.
pub(super) fn finish(
    world: &mut World,
    locked: &Locked<'_>,
    left: Left,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let ended = undo(world, locked, left, observer)?;
    tell(world, ended.as_ref());
    Ok(ended)
}

/// The same for whoever tells the host's journal of it.
pub(super) fn undo(
    world: &mut World,
    locked: &Locked<'_>,
    left: Left,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let _alone = world.keeper.alone(world.store.layout().root(), "awqdeploy recover")?;
    let keeper = &mut world.keeper;
    activate::recover(
        locked,
        left,
        move |number, activation| {
            let plan = locked.store().generation(activation.to)?.plan;
            let services = keeper.command(&plan.service)?;
            Ok(Live::new(locked, services, observer, Interrupt::default(), number, activation.to))
        },
        observer,
    )
}

fn tell(world: &World, ended: Option<&Ended>) {
    if let Some(ended) = ended {
        world.tell(ended, None);
    }
}

/// What boot does: nothing runs yet, and systemd starts the service once this is done. To start it
/// here would wait for ever, since the service is ordered after this.
pub fn recover_at_boot(world: &mut World, observer: &dyn Observer) -> Result<Option<Ended>, Problem> {
    let store = world.store.clone();
    let locked = store.lock(BOOT_PATIENCE, "awqdeploy recover --boot")?;
    let ended = activate::recover(
        &locked,
        Left::Finish,
        |_, _| Ok(Boot { locked: &locked, world: &mut *world }),
        observer,
    )?;
    tell(world, ended.as_ref());
    if let Some(Generation { plan, .. }) = store.current_generation()? {
        let units = store.units(&plan)?;
        world.keeper.command(&plan.service)?.remember(&units)?;
    }
    Ok(ended)
}

struct Boot<'a> {
    locked: &'a Locked<'a>,
    world: &'a mut World,
}

impl Host for Boot<'_> {
    fn stop(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.locked.point(to).map_err(|problem| problem.to_string())
    }

    /// Only the unit's text is made to fit what `current` points at.
    fn start(&mut self) -> Result<(), String> {
        self.install().map_err(|problem| problem.to_string())
    }

    fn validate(&mut self, _generation: GenerationId) -> Result<(), String> {
        Err("nothing is validated at boot".to_owned())
    }
}

impl Boot<'_> {
    fn install(&mut self) -> Result<(), Problem> {
        let store = self.locked.store();
        let Some(Generation { plan, .. }) = store.current_generation()? else {
            return Ok(());
        };
        let units = store.units(&plan)?;
        self.world.keeper.command(&plan.service)?.install(&units)
    }
}

//! `recover`: ends what an interrupted activation left, so that something proven serves.

use super::{
    driver::{self, ResumePolicy, Steps},
    outcome::Ended,
    run::{self, execute},
    steps::Live,
};
use crate::{
    domain::{
        activation::{
            request::{Action, ActivationRequest},
            running::{AtBoot, Remedy, at_boot},
        },
        generation::Generation,
        generation_id::GenerationId,
        problem::Problem,
    },
    flow::{
        context::World,
        event::{Event, Observer},
        lock_wait, running,
    },
    host::{
        os::signals::Interrupt,
        store::{Store, StoreWriter},
        systemd::{service::Trust, transient_unit},
    },
};
use std::time::Duration;

/// How long boot recovery waits for another awqdeploy.
const BOOT_PATIENCE: Duration = Duration::from_mins(1);

/// What is done where another root's activation has the host's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Whoever asked may ask again.
    Refuses,
    /// There is nobody to ask again: it waits, however long that takes.
    Waits,
}

/// Goes back from an interrupted or stuck activation; then has what should run, where something else does. Nothing to do
/// is no problem.
pub fn recover(world: &mut World, observer: &dyn Observer) -> Result<Option<Ended>, Problem> {
    let store = world.store.clone();
    let writer = store.writer(Duration::ZERO, "awqdeploy recover")?;
    if let Some(ended) = finish(world, &writer, ResumePolicy::Unstick, observer)? {
        return Ok(Some(ended));
    }
    let Some(service) = service(&store)? else { return Ok(None) };
    match running::remedy(world, &service)? {
        None => {
            // What is committed is never left on trial. Where there is no service manager, nothing is.
            if let Ok(mut services) = world.service_manager.command(&service) {
                services.trust(Trust::Committed)?;
            }
            Ok(None)
        }
        Some(remedy) => mend(world, writer, &service, remedy, observer),
    }
}

/// Ends a difference between what runs and what should.
fn mend(
    world: &mut World,
    writer: StoreWriter<'_>,
    service: &str,
    remedy: Remedy,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    running::warn(world, service, observer)?;
    match remedy {
        Remedy::Start(to) => {
            let order = ActivationRequest { action: Action::Rollback, to };
            let outcome = execute(world, writer, order, observer)?;
            Ok(outcome.activation.map(|activated| activated.ended))
        }
        Remedy::Stop => {
            let _alone = world.service_manager.alone(world.store.layout().root(), "awqdeploy recover")?;
            world.service_manager.command(service)?.stop()?;
            Ok(None)
        }
    }
}

/// The service below a root: that of what is current, else of what was tried last. Nothing where none is known.
fn service(store: &Store) -> Result<Option<String>, Problem> {
    let last = store.last_activation()?.and_then(|last| Some(last.last()?.to));
    let known = store.current()?.into_iter().chain(last).find_map(|id| store.generation(id).ok());
    Ok(known.map(|generation| generation.plan.service))
}

/// The same under a lock that is held already.
pub(crate) fn finish(
    world: &mut World,
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let ended = undo(world, writer, left, Busy::Refuses, observer)?;
    tell(world, ended.as_ref());
    Ok(ended)
}

/// The same for whoever tells the host's journal of it.
pub(crate) fn undo(
    world: &mut World,
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
    busy: Busy,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let unfinished = driver::is_unfinished(writer.store(), left)?;
    let alone =
        |world: &mut World| world.service_manager.alone(world.store.layout().root(), "awqdeploy recover");
    let _alone = match busy {
        // Also where nothing is to be done: what follows would be refused later.
        Busy::Refuses => alone(world)?,
        Busy::Waits if !unfinished => return Ok(None),
        Busy::Waits => {
            lock_wait::take(world, alone, |_| true, observer)?.ok_or_else(driver::next_boot_goes_back)?
        }
    };
    let service_manager = &mut world.service_manager;
    driver::recover(
        writer,
        left,
        move |number, activation| {
            // To go back, the record of what is left need not be whole.
            let store = writer.store();
            let back = |problem| activation.from.map_or(Err(problem), |from| store.generation(from));
            let service = store.generation(activation.to).or_else(back)?.plan.service;
            let services = service_manager.command(&service)?;
            Ok(Live::new(writer, services, observer, Interrupt::default(), number, activation.clone()))
        },
        observer,
    )
}

fn tell(world: &World, ended: Option<&Ended>) {
    if let Some(ended) = ended {
        world.tell(ended, None);
    }
}

/// What boot does. Where the service is up already, this is no boot: somebody isolated a target, or started it anew.
/// Then whatever is to be done is handed to the service manager. To do it here would wait for ever, since the service
/// is ordered after this.
pub(crate) fn recover_at_boot(world: &mut World, observer: &dyn Observer) -> Result<Option<Ended>, Problem> {
    let store = world.store.clone();
    let Some(service) = service(&store)? else { return point_back(world, observer) };
    let (last, scope) = (store.last_activation()?, world.layout().scope());
    let number = last.as_ref().map_or(0, |last| last.number);
    // Where no service manager answers, as early in a boot, nothing runs.
    if transient_unit::runs(&service, number, scope).unwrap_or_default() {
        observer.see(Event::Stage(format!("activation {number} is at work: it needs no recovery")));
        return Ok(None);
    }
    let condition = world.service_manager.observe(&service).condition();
    let up = condition.is_ok_and(|condition| !condition.is_stopped());
    let unfinished = driver::is_unfinished(&store, ResumePolicy::Finish)?;
    match at_boot(up, unfinished, if up { running::remedy(world, &service)? } else { None }) {
        AtBoot::PointBack => point_back(world, observer),
        AtBoot::Nothing => Ok(None),
        AtBoot::Resume => {
            observer.see(Event::Warning(format!(
                "the host is up, and activation {number} has no end: the service manager goes back with it"
            )));
            transient_unit::start(&service, number, &world.layout().binary(), world.layout())?;
            Ok(None)
        }
        AtBoot::Mend(Remedy::Start(to)) => {
            running::warn(world, &service, observer)?;
            let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
            run::hand_over(world, writer, ActivationRequest { action: Action::Rollback, to })?;
            Ok(None)
        }
        AtBoot::Mend(remedy @ Remedy::Stop) => {
            let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
            mend(world, writer, &service, remedy, observer)
        }
    }
}

/// Nothing runs yet, and systemd starts the service once this is done.
fn point_back(world: &mut World, observer: &dyn Observer) -> Result<Option<Ended>, Problem> {
    let store = world.store.clone();
    let ended = if driver::is_unfinished(&store, ResumePolicy::Finish)? {
        // Not for ever: whoever holds it may wait for the service, which waits for this. The next try finds it tried
        // already, and hands all to the service manager.
        let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
        driver::recover(
            &writer,
            ResumePolicy::Finish,
            |_, _| Ok(Boot { writer: &writer, world: &mut *world }),
            observer,
        )?
    } else {
        None
    };
    tell(world, ended.as_ref());
    // What cannot be read cannot be started either, which its service says.
    if let Some(Generation { plan, .. }) = store.current_generation().unwrap_or_default() {
        let units = store.units(&plan)?;
        world.service_manager.command(&plan.service)?.remember(&units)?;
    }
    Ok(ended)
}

struct Boot<'a> {
    writer: &'a StoreWriter<'a>,
    world: &'a mut World,
}

impl Steps for Boot<'_> {
    fn stop(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.writer.point(to).map_err(|problem| problem.to_string())
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
        let store = self.writer.store();
        let Some(Generation { plan, .. }) = store.current_generation()? else {
            return Ok(());
        };
        let units = store.units(&plan)?;
        self.world.service_manager.command(&plan.service)?.install(&units)
    }
}

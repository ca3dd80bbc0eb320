//! `recover`: finishes what an interrupted activation left, so that a proven generation runs.

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
    flow::{context::Context, event::Event, lock_wait, running},
    host::{
        os::signals::Interrupt,
        store::{Store, StoreWriter},
        systemd::{service::Trust, transient_unit},
    },
};
use std::{rc::Rc, time::Duration};

/// How long boot recovery waits for another awqdeploy.
const BOOT_PATIENCE: Duration = Duration::from_mins(1);

/// The choice where another root's activation has the host's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Refuse: the caller can ask again.
    Refuses,
    /// Wait, however long that takes: there is nobody to ask again.
    Waits,
}

/// Rolls back an interrupted or stuck activation; then starts the right server, if another one runs. Having
/// nothing to do is no problem.
pub fn recover(context: &mut Context) -> Result<Option<Ended>, Problem> {
    let store = context.store.clone();
    let writer = store.writer(Duration::ZERO, "awqdeploy recover")?;
    if let Some(ended) = finish(context, &writer, ResumePolicy::Unstick)? {
        return Ok(Some(ended));
    }
    let Some(service) = service(&store)? else { return Ok(None) };
    match running::remedy(context, &service)? {
        None => {
            // A committed generation is never left on trial. Without a service manager none is.
            if let Ok(mut services) = context.service_manager.command(&service) {
                services.trust(Trust::Committed)?;
            }
            Ok(None)
        }
        Some(remedy) => mend(context, writer, &service, remedy),
    }
}

/// Applies the remedy for a wrong running server.
fn mend(
    context: &mut Context,
    writer: StoreWriter<'_>,
    service: &str,
    remedy: Remedy,
) -> Result<Option<Ended>, Problem> {
    running::warn(context, service)?;
    match remedy {
        Remedy::Start(to) => {
            let order = ActivationRequest { action: Action::Rollback, to };
            let outcome = execute(context, writer, order)?;
            Ok(outcome.activation.map(|activated| activated.ended))
        }
        Remedy::Stop => {
            let _alone = context.service_manager.alone(context.store.layout().root(), "awqdeploy recover")?;
            context.service_manager.command(service)?.stop()?;
            Ok(None)
        }
    }
}

/// The service below a root: that of the current generation, else of the last tried one. Nothing where none
/// is known.
fn service(store: &Store) -> Result<Option<String>, Problem> {
    let last = store.last_activation()?.and_then(|last| Some(last.last()?.to));
    let known = store.current()?.into_iter().chain(last).find_map(|id| store.generation(id).ok());
    Ok(known.map(|generation| generation.plan.service))
}

/// Finishes an activation under a lock that is already held.
pub(crate) fn finish(
    context: &mut Context,
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
) -> Result<Option<Ended>, Problem> {
    let ended = undo(context, writer, left, Busy::Refuses)?;
    notify(context, ended.as_ref());
    Ok(ended)
}

/// Finishes an activation, for a caller that tells the host's journal itself.
pub(crate) fn undo(
    context: &mut Context,
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
    busy: Busy,
) -> Result<Option<Ended>, Problem> {
    let unfinished = driver::is_unfinished(writer.store(), left)?;
    let alone = |context: &mut Context| {
        context.service_manager.alone(context.store.layout().root(), "awqdeploy recover")
    };
    let _alone = match busy {
        // Also where nothing is to be done: what follows would be refused later.
        Busy::Refuses => alone(context)?,
        Busy::Waits if !unfinished => return Ok(None),
        Busy::Waits => lock_wait::take(context, alone, |_| true)?.ok_or_else(driver::next_boot_goes_back)?,
    };
    let Context { service_manager, observer, .. } = context;
    let observer = &**observer;
    driver::recover(
        writer,
        left,
        move |number, activation| {
            // A rollback needs no intact record of what was left.
            let store = writer.store();
            let back = |problem| activation.from.map_or(Err(problem), |from| store.generation(from));
            let service = store.generation(activation.to).or_else(back)?.plan.service;
            let services = service_manager.command(&service)?;
            Ok(Live::new(writer, services, observer, Interrupt::default(), number, activation.clone()))
        },
        observer,
    )
}

fn notify(context: &Context, ended: Option<&Ended>) {
    if let Some(ended) = ended {
        context.notify(ended, None);
    }
}

/// Recovers at boot. Where the service is up already, this is no boot: somebody isolated a target, or started
/// this unit anew. Then the service manager gets the work. Doing it here would wait for ever, since the
/// service is ordered after this.
pub(crate) fn recover_at_boot(context: &mut Context) -> Result<Option<Ended>, Problem> {
    let store = context.store.clone();
    let Some(service) = service(&store)? else { return point_back(context) };
    let (last, scope) = (store.last_activation()?, context.layout().scope());
    let number = last.as_ref().map_or(0, |last| last.number);
    // Where no service manager answers, as early in a boot, nothing runs.
    if transient_unit::runs(&service, number, scope).unwrap_or_default() {
        context.tell(Event::Stage(format!("activation {number} is at work: it needs no recovery")));
        return Ok(None);
    }
    let condition = context.service_manager.observe(&service).condition();
    let up = condition.is_ok_and(|condition| !condition.is_stopped());
    let unfinished = driver::is_unfinished(&store, ResumePolicy::Finish)?;
    match at_boot(up, unfinished, if up { running::remedy(context, &service)? } else { None }) {
        AtBoot::PointBack => point_back(context),
        AtBoot::Nothing => Ok(None),
        AtBoot::Resume => {
            context.tell(Event::Warning(format!(
                "the host is up, and activation {number} has no end: the service manager rolls it back"
            )));
            transient_unit::start(&service, number, &context.layout().binary(), context.layout())?;
            Ok(None)
        }
        AtBoot::Mend(Remedy::Start(to)) => {
            running::warn(context, &service)?;
            let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
            run::hand_over(context, writer, ActivationRequest { action: Action::Rollback, to })?;
            Ok(None)
        }
        AtBoot::Mend(remedy @ Remedy::Stop) => {
            let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
            mend(context, writer, &service, remedy)
        }
    }
}

/// Points back. Nothing runs yet, and systemd starts the service after this.
fn point_back(context: &mut Context) -> Result<Option<Ended>, Problem> {
    let store = context.store.clone();
    let ended = if driver::is_unfinished(&store, ResumePolicy::Finish)? {
        // Not for ever: the holder may wait for the service, which waits for this. The next try then hands
        // everything to the service manager.
        let writer = store.writer(BOOT_PATIENCE, "awqdeploy recover --boot")?;
        let observer = Rc::clone(&context.observer);
        driver::recover(
            &writer,
            ResumePolicy::Finish,
            |_, _| Ok(Boot { writer: &writer, context: &mut *context }),
            &*observer,
        )?
    } else {
        None
    };
    notify(context, ended.as_ref());
    // A generation that cannot be read cannot be started either, and its service says so.
    if let Some(Generation { plan, .. }) = store.current_generation().unwrap_or_default() {
        let units = store.units(&plan)?;
        context.service_manager.command(&plan.service)?.remember(&units)?;
    }
    Ok(ended)
}

struct Boot<'a> {
    writer: &'a StoreWriter<'a>,
    context: &'a mut Context,
}

impl Steps for Boot<'_> {
    fn stop(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.writer.point(to).map_err(|problem| problem.to_string())
    }

    /// Only fits the unit's text to the generation of `current`.
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
        self.context.service_manager.command(&plan.service)?.install(&units)
    }
}

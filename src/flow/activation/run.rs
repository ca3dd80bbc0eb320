//! From a request to its outcome: carried out in this process, or handed to the service manager and followed.

use super::{
    driver::activate,
    ending::{close, outcome, return_to},
    follow::{CtrlC, follow},
    outcome::Outcome,
    readahead,
    steps::Live,
};
use crate::{
    domain::{
        activation::{
            machine::Activation,
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        problem::Problem,
    },
    flow::{
        context::{Context, Executor},
        event::{Event, Observer},
        validate::generation,
    },
    host::{
        store::{Store, StoreWriter},
        systemd::transient_unit,
        vllm::running_server,
    },
};
use std::path::Path;

/// Activates a generation that is whole and verified. From here on the executor does the work.
pub(crate) fn execute(
    context: &mut Context,
    writer: StoreWriter<'_>,
    order: ActivationRequest,
) -> Result<Outcome, Problem> {
    match context.executor {
        Executor::Here => {
            let number = writer.order(&order)?;
            execute_here(context, &writer, number, order)
        }
        Executor::ServiceManager => {
            let number = hand_over(context, writer, order)?;
            context.tell(Event::Stage(format!("activation {number}: the service manager carries it out")));
            follow(context, number, CtrlC::GoesBack)
        }
    }
}

/// Hands a request to the service manager. Returns the number of its activation once that has its process.
pub(crate) fn hand_over(
    context: &Context,
    writer: StoreWriter<'_>,
    order: ActivationRequest,
) -> Result<u64, Problem> {
    // This copy is still there when the worker must be restarted, wherever the caller's own file is.
    let program = writer.keep_binary(&context.binary)?;
    let service = writer.store().generation(order.to)?.plan.service;
    let number = writer.order(&order)?;
    drop(writer);
    transient_unit::start(&service, number, &program, context.layout())?;
    Ok(number)
}

/// Carries a request out in this process, and validates the server after a rollback.
pub(crate) fn execute_here(
    context: &mut Context,
    writer: &StoreWriter<'_>,
    number: u64,
    order: ActivationRequest,
) -> Result<Outcome, Problem> {
    let store = writer.store();
    let plan = store.generation(order.to)?.plan;
    let from = return_to(store, Some(order.to))?;
    let _alone = context.service_manager.alone(store.layout().root(), "awqdeploy")?;
    for id in [Some(order.to), from].into_iter().flatten() {
        remark_on_packages(store, id, &*context.observer)?;
    }
    let baseline = generation::baseline(context, &plan)?;
    // The rollback target was judged when it was proven.
    if order.action == Action::Deploy {
        generation::judgeable(context, &plan, baseline.as_ref())?;
    }
    readahead::ahead(&plan, &context.interrupt, &*context.observer)?;
    let activation = Activation::new(from, order.to);
    let interrupt = context.interrupt.clone();
    let services = context.service_manager.command(&plan.service)?;
    let mut live =
        Live::new(writer, services, &*context.observer, interrupt.clone(), number, activation.clone())
            .beside(baseline);
    let ended = activate(writer, number, activation, &mut live, &interrupt, &*context.observer)?;
    drop(live);
    close(context, writer, &ended)?;
    outcome(store, order, ended)
}

/// Warns where an adopted generation's packages have changed: nothing pins them.
fn remark_on_packages(store: &Store, id: GenerationId, observer: &dyn Observer) -> Result<(), Problem> {
    let Some(adopted) = store.adopted(id).unwrap_or_default() else { return Ok(()) };
    let plan = store.generation(id)?.plan;
    let Some(python) = plan.serve.argv.first() else { return Ok(()) };
    let now = running_server::packages(Path::new(python))?;
    let changed: Vec<_> = adopted.packages.iter().filter(|(name, was)| now.get(*name) != Some(was)).collect();
    if let Some((name, was)) = changed.first() {
        let is = now.get(*name).map_or("gone", String::as_str);
        observer.see(Event::Warning(format!(
            "{} packages of generation {id} were changed since it was adopted: `{name}` was {was}, and is {is}",
            changed.len()
        )));
    }
    Ok(())
}

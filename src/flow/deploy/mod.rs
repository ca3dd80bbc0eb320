//! `deploy`: everything on disk and verified first, then one activation.

pub(crate) mod apply;
pub(crate) mod drift;
pub(crate) mod fallback;
pub mod rollback;
mod rollback_check;

use super::{
    activation::{
        driver::{self, ResumePolicy},
        outcome::{Action, Outcome},
        recover,
        run::execute,
    },
    context::{Context, ServiceManager},
    event::Event,
    models::{
        fetch,
        runtime::{RuntimeSource, Supply},
        verify_at_start::{Known, verify_runtime},
    },
    plan::{Prepared, Waiver},
    running,
    validate::generation,
};
use crate::{
    domain::{
        activation::{machine, request::ActivationRequest},
        planning::plan::Plan,
        problem::{Kind, Problem},
    },
    host::{
        hub::Settings,
        models,
        os::{port, secrets},
        runtimes::{
            self,
            uv::{self, Uv},
        },
        store::{Recorded, Store, StoreWriter},
        systemd::service::Condition,
        vllm::running_server,
    },
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Deploys a prepared plan. Until the activation begins the running server is not touched, and a signal ends
/// the deployment; from then on a signal rolls it back.
pub fn deploy(context: &mut Context, prepared: &Prepared) -> Result<Outcome, Problem> {
    let store = context.store.clone();
    let plan = &prepared.plan;
    // First of all: without a service manager nothing is worth preparing.
    context.service_manager.command(&plan.service)?;
    secrets::verify(&plan.secrets)?;
    let from_nix =
        prepared.runtime.as_ref().is_some_and(|supply| matches!(supply.source, RuntimeSource::Nix(_)));
    if from_nix && plan.memory.gpu.is_some() {
        runtimes::verify_driver(Path::new(runtimes::DRIVER))?;
    }
    let writer = store.writer(Duration::ZERO, &format!("awqdeploy deploy {}", plan.profile))?;
    recover::finish(context, &writer, ResumePolicy::Finish)?;
    driver::not_stuck(store.last_activation()?.as_ref())?;
    // Reports another activation on these GPUs before anything is fetched. The executor takes the lock anew.
    drop(context.service_manager.alone(store.layout().root(), "awqdeploy deploy")?);

    // A generation whose record is damaged is replaced like any other.
    let current = store.current()?.and_then(|id| store.generation(id).ok());
    let condition = context.service_manager.observe(&plan.service).condition()?;
    let serves = !running::warn(context, &plan.service)? && condition == Condition::Active;
    if let Some(current) = current.as_ref().filter(|current| serves && current.is_of(plan)) {
        let (profile, generation) = (plan.profile.clone(), current.id);
        return Ok(Outcome { action: Action::Deploy, profile, generation, activation: None });
    }
    context.service_manager.command(&plan.service)?.claim(&store.units(plan)?)?;
    // A service of ours that runs, or that systemd keeps restarting, frees its own port.
    let runs = !matches!(condition, Condition::Down(_)) || by_hand(&store)?;
    if !current.as_ref().is_some_and(|current| runs && current.plan.serve.listen == plan.serve.listen) {
        port::free(plan.serve.listen)?;
    }
    if !prepared.waived.contains(&Waiver::Retry) {
        not_failed_before(&store, plan)?;
    }
    // One that serves is measured before the stop.
    let measurable = serves.then_some(current.as_ref()).flatten().is_some_and(|current| {
        plan.gates.baseline.as_ref().is_some_and(|baseline| baseline.profile == current.plan.profile)
    });
    if !measurable {
        generation::judgeable(context, plan, None)?;
    }
    let binary = stage(context, &writer, prepared)?;
    context.interrupt.check()?;
    if !prepared.waived.contains(&Waiver::NoWayBack) {
        rollback_check::verify_target(context, &writer)?;
    }
    prepared.confirm(context)?;
    let to = writer.add_generation(plan.clone(), &prepared.profile, &binary)?;
    // A rehearsal is over before Nix collects.
    if matches!(context.service_manager, ServiceManager::Systemd(_)) {
        writer.hold_program(to, &context.binary)?;
    }
    execute(context, writer, ActivationRequest { action: Action::Deploy, to })
}

/// Whether an adopted process still runs: it ends when the service stops.
fn by_hand(store: &Store) -> Result<bool, Problem> {
    Ok(store
        .all_adopted()?
        .iter()
        .any(|adopted| adopted.unit.is_none() && running_server::lives(&adopted.process)))
}

/// A problem if the same plan was tried before by the same program and failed by itself.
fn not_failed_before(store: &Store, plan: &Plan) -> Result<(), Problem> {
    let activations = store.activations()?;
    let activations = || activations.iter().filter_map(Recorded::last);
    let last = store.generations()?.into_iter().rfind(|generation| generation.is_of(plan));
    match last.and_then(|last| Some((last.id, machine::failed(activations(), last.id)?))) {
        None => Ok(()),
        Some((id, cause)) => Err(Problem::new(
            Kind::Refused,
            format!("generation {id} was the same, and failed: {cause}"),
        )
        .help(format!(
            "`awqdeploy why {id}` has the evidence; change the profile, or try it again with `--retry`"
        ))),
    }
}

/// Puts everything that the generation needs into the store, and verifies it. Returns the binary that is to
/// run it.
fn stage(context: &Context, writer: &StoreWriter<'_>, prepared: &Prepared) -> Result<PathBuf, Problem> {
    context.interrupt.check()?;
    let model = &prepared.model;
    if prepared.wanted.path.is_none() && !context.layout().model(model.digest()).is_dir() {
        let settings = Settings::from_environment()?;
        let wanted = &prepared.wanted;
        // Verified as it came: it need not be hashed again.
        fetch::FetchJob { context, wanted, model, settings: &settings }.fill(writer)?;
    } else {
        context.tell(Event::Stage(format!("verify the files of `{}`", model.repo)));
        let of = model.size();
        let source = prepared.wanted.path.as_deref();
        models::import(writer, model, source, &context.interrupt, &mut |done| {
            context.tell(Event::Progress { done, of });
        })?;
    }
    if let Some(supply) = &prepared.runtime {
        install(context, writer, prepared, supply)?;
    }
    writer.keep_binary(&context.binary)
}

/// Puts the runtime into the store: from Nix, or by installing its wheels.
fn install(
    context: &Context,
    writer: &StoreWriter<'_>,
    prepared: &Prepared,
    supply: &Supply,
) -> Result<(), Problem> {
    let Supply { digest, locked: runtime, source } = supply;
    let interpreter = match source {
        RuntimeSource::Nix(built) => return runtimes::adopt(writer, built),
        RuntimeSource::Wheels(interpreter) => interpreter,
    };
    let planned = &prepared.plan.runtime;
    match verify_runtime(writer.store(), planned, Known::Stored, &context.interrupt, &mut |_, _| ()) {
        Ok(proved) if proved.unrecorded.is_empty() => return writer.note_trees(&proved.noted),
        Err(problem) if problem.kind == Kind::Interrupted => return Err(problem),
        // Missing, damaged, or older than manifests: installed again.
        Ok(_) | Err(_) => {}
    }
    context.tell(Event::Stage(format!("install vLLM {} ({} wheels)", runtime.vllm, runtime.wheels.len())));
    let said = &mut |words: &str| context.tell(Event::Installing(words.trim().to_owned()));
    let uv = &Uv::installing(context.layout(), uv::variables())?.declared_by(context.library.declared());
    let order =
        runtimes::InstallJob { name: *digest, runtime, interpreter, uv, interrupt: &context.interrupt };
    runtimes::install(writer, &order, said).map_err(|problem| {
        // uv gets Ctrl-C too: its failure is then not the wheels' fault.
        if context.interrupt.came() {
            Problem::new(Kind::Interrupted, "stopped before anything was changed")
        } else {
            problem
        }
    })
}

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
    context::{ServiceManager, World},
    event::{Event, Observer},
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

/// Carries out what was prepared. Until the activation begins nothing that serves is touched, and a
/// signal ends it; from then on a signal makes it go back.
pub fn deploy(world: &mut World, prepared: &Prepared, observer: &dyn Observer) -> Result<Outcome, Problem> {
    let store = world.store.clone();
    let plan = &prepared.plan;
    // The means first: nothing is worth preparing without them.
    world.service_manager.command(&plan.service)?;
    secrets::verify(&plan.secrets)?;
    let from_nix =
        prepared.runtime.as_ref().is_some_and(|supply| matches!(supply.source, RuntimeSource::Nix(_)));
    if from_nix && plan.memory.gpu.is_some() {
        runtimes::verify_driver(Path::new(runtimes::DRIVER))?;
    }
    let writer = store.writer(Duration::ZERO, &format!("awqdeploy deploy {}", plan.profile))?;
    recover::finish(world, &writer, ResumePolicy::Finish, observer)?;
    driver::not_stuck(store.last_activation()?.as_ref())?;
    // Whoever activates on these GPUs is named before anything is fetched. Whoever carries this out takes the lock anew.
    drop(world.service_manager.alone(store.layout().root(), "awqdeploy deploy")?);

    // One whose record is damaged is replaced like any other.
    let current = store.current()?.and_then(|id| store.generation(id).ok());
    let condition = world.service_manager.observe(&plan.service).condition()?;
    let serves = !running::warn(world, &plan.service, observer)? && condition == Condition::Active;
    if let Some(current) = current.as_ref().filter(|current| serves && current.is_of(plan)) {
        let (profile, generation) = (plan.profile.clone(), current.id);
        return Ok(Outcome { action: Action::Deploy, profile, generation, activation: None });
    }
    world.service_manager.command(&plan.service)?.claim(&store.units(plan)?)?;
    // A service of ours that runs, or that systemd tries to start again and again, lets go of its own port.
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
        generation::judgeable(world, plan, None, observer)?;
    }
    let binary = stage(world, &writer, prepared, observer)?;
    world.interrupt.check()?;
    if !prepared.waived.contains(&Waiver::NoWayBack) {
        rollback_check::verify_target(world, &writer, observer)?;
    }
    prepared.confirm(world, observer)?;
    let to = writer.add_generation(plan.clone(), &prepared.profile, &binary)?;
    // A rehearsal is over before anybody collects.
    if matches!(world.service_manager, ServiceManager::Systemd(_)) {
        writer.hold_program(to, &world.binary)?;
    }
    execute(world, writer, ActivationRequest { action: Action::Deploy, to }, observer)
}

/// Whether a process that was adopted still serves: it ends when the service stops.
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

/// Puts everything that the generation needs into the store, and proves it. Returns the binary that is to
/// run it.
fn stage(
    world: &World,
    writer: &StoreWriter<'_>,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<PathBuf, Problem> {
    world.interrupt.check()?;
    let model = &prepared.model;
    if prepared.wanted.path.is_none() && !world.layout().model(model.digest()).is_dir() {
        let settings = Settings::from_environment()?;
        let wanted = &prepared.wanted;
        // Proven while it came: it need not be hashed once more.
        fetch::FetchJob { world, wanted, model, settings: &settings, observer }.fill(writer)?;
    } else {
        observer.see(Event::Stage(format!("verify the files of `{}`", model.repo)));
        let of = model.size();
        let source = prepared.wanted.path.as_deref();
        models::import(writer, model, source, &world.interrupt, &mut |done| {
            observer.see(Event::Progress { done, of });
        })?;
    }
    if let Some(supply) = &prepared.runtime {
        install(world, writer, prepared, supply, observer)?;
    }
    writer.keep_binary(&world.binary)
}

/// Puts the runtime into the store: from Nix, or by installing its wheels.
fn install(
    world: &World,
    writer: &StoreWriter<'_>,
    prepared: &Prepared,
    supply: &Supply,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let Supply { digest, locked: runtime, source } = supply;
    let interpreter = match source {
        RuntimeSource::Nix(built) => return runtimes::adopt(writer, built),
        RuntimeSource::Wheels(interpreter) => interpreter,
    };
    let planned = &prepared.plan.runtime;
    match verify_runtime(writer.store(), planned, Known::Stored, &world.interrupt, &mut |_, _| ()) {
        Ok(proved) if proved.unrecorded.is_empty() => return writer.note_trees(&proved.noted),
        Err(problem) if problem.kind == Kind::Interrupted => return Err(problem),
        // Missing, damaged, or of before there were records: it comes anew.
        Ok(_) | Err(_) => {}
    }
    observer.see(Event::Stage(format!("install vLLM {} ({} wheels)", runtime.vllm, runtime.wheels.len())));
    let said = &mut |words: &str| observer.see(Event::Installing(words.trim().to_owned()));
    let uv = &Uv::installing(world.layout(), uv::variables())?.declared_by(world.library.declared());
    let order = runtimes::InstallJob { name: *digest, runtime, interpreter, uv, interrupt: &world.interrupt };
    runtimes::install(writer, &order, said).map_err(|problem| {
        // uv hears Ctrl-C too: that it failed then is not the wheels' fault.
        if world.interrupt.came() {
            Problem::new(Kind::Interrupted, "stopped before anything was changed")
        } else {
            problem
        }
    })
}

//! From a profile's name to a plan: reads everything, changes nothing.

mod checkpoint;

use super::{
    context::{Context, Engine, Estimates},
    event::Event,
    models::{
        not_locked,
        runtime::{self, RuntimeSource, Supply},
    },
};
use crate::{
    domain::{
        checkpoint::Checkpoint,
        findings::{Finding, refusal::Refusal},
        generation::Generation,
        lockfile::LockedModel,
        machine::facts::Facts,
        planning::{
            engine_config::{self, Compared},
            inputs::{Inputs, PlannedModel, PlannedRuntime},
            plan::Plan,
            preflight,
        },
        problem::{Kind, Problem},
        profile::{Model, Profile},
        service::sandbox,
        size::ByteSize,
        store::layout::Layout,
        vllm::version::Version,
    },
    host::{self, vllm::isolated},
};
use checkpoint::LoadedCheckpoint;
pub(crate) use checkpoint::Weights;
pub(in crate::flow) use checkpoint::sought;
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeSet, path::PathBuf};

/// A plan and everything that its deployment needs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The profile as it was asked for.
    name: String,
    /// The plan.
    pub plan: Plan,
    /// The profile's text, kept with the generation.
    pub(crate) profile: String,
    /// The model's files.
    pub(crate) model: LockedModel,
    /// The profile's sources of the files, if they are not in the store.
    pub(crate) wanted: Model,
    /// The runtime, unless it is not awqdeploy's to install.
    pub(crate) runtime: Option<Supply>,
    /// The current generation.
    pub(crate) current: Option<Generation>,
    /// The safeguards that a person does without.
    pub waived: BTreeSet<Waiver>,
}

/// A safeguard that a person can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiver {
    /// A plan that failed before is not tried again.
    Retry,
    /// A server that could not come back is not stopped.
    NoWayBack,
}

/// The inputs of a plan, without the host's facts.
struct GatheredInputs {
    profile: Profile,
    /// The lock of the model. Absent where it is not locked yet.
    locked: Option<LockedModel>,
    model: PlannedModel,
    checkpoint: Checkpoint,
    /// The folder of the checkpoint on this host.
    folder: Option<PathBuf>,
    /// The remark on the checkpoint's source.
    finding: Option<Finding>,
    runtime: PlannedRuntime,
    /// The runtime's wheels. Absent where the runtime is not awqdeploy's to install.
    wheels: Option<Supply>,
}

/// The decision, and what the installed vLLM makes of it, where it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The plan, or why there is none.
    pub(crate) planned: Result<Plan, Refusal>,
    /// The values that plan and engine both have.
    pub(crate) engine: Vec<Compared>,
    /// How much of it is on this host.
    pub readiness: Readiness,
}

/// How much of what a deployment needs is on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Readiness {
    /// Whether the model is locked.
    pub locked: bool,
    /// Whether its files are in the store, or in the folder that the profile names.
    pub fetched: bool,
    /// Whether vLLM is installed. Null where it is not awqdeploy's to install.
    pub installed: Option<bool>,
    /// The bytes that are still to be downloaded of the model. Null where it is not locked.
    pub model_download_bytes: Option<ByteSize>,
    /// Of the wheels, at most: some may be in a cache. Null where there are none to install.
    pub wheels_download_bytes: Option<ByteSize>,
}

/// The plan for a profile. The model need not be locked, nor be on this machine.
pub(crate) fn plan(context: &Context, name: &str, weights: Weights<'_>) -> Result<Decision, Problem> {
    let inputs = GatheredInputs::gather(context, name, weights)?;
    let readiness = inputs.readiness(context.layout());
    let planned = inputs.plan(context)?;
    Ok(Decision { planned, engine: Vec::new(), readiness })
}

/// The plan for a profile, after asking the installed vLLM what it makes of the command line.
pub(crate) fn plan_with_consent(
    context: &Context,
    name: &str,
    weights: Weights<'_>,
) -> Result<Decision, Problem> {
    let materials = GatheredInputs::gather(context, name, weights)?;
    let readiness = materials.readiness(context.layout());
    let plan = match materials.plan(context)? {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Decision { planned: Err(refusal), engine: Vec::new(), readiness }),
    };
    let engine = materials.ask(&plan, context.layout())?.map_err(|silent| {
        Problem::new(Kind::Unverified, "the installed vLLM cannot be asked").because(silent)
    })?;
    let planned = engine_config::agree(&engine).map(|()| plan);
    Ok(Decision { planned, engine, readiness })
}

/// Prepares a deployment, or says why there cannot be one.
pub fn prepare(context: &Context, name: &str) -> Result<Prepared, Problem> {
    let materials = GatheredInputs::gather(context, name, Weights::Known)?;
    if materials.locked.is_none() {
        return Err(not_locked(materials.profile.name()));
    }
    let plan = materials.plan(context)??;
    let GatheredInputs { profile, locked: Some(model), wheels, .. } = materials else {
        return Err(not_locked(name));
    };
    let current = context.store.current_generation()?;
    one_service(current.as_ref(), &plan)?;
    Ok(Prepared {
        name: name.to_owned(),
        plan,
        profile: context.library.text(name)?,
        model,
        wanted: profile.model().clone(),
        runtime: wheels,
        current,
        waived: BTreeSet::new(),
    })
}

impl Prepared {
    /// Checks the plan once everything is on this host, and nothing is stopped yet: against the weight files,
    /// and against the installed vLLM.
    pub(super) fn confirm(&self, context: &Context) -> Result<(), Problem> {
        let materials = GatheredInputs::gather(context, &self.name, Weights::Known)?;
        if !materials.plan(context)??.runs_as(&self.plan) {
            return Err(Problem::new(
                Kind::Refused,
                format!("the plan of `{}` is another now that its files are here", self.plan.profile),
            )
            .help("nothing was stopped; look at `awqdeploy plan PROFILE`, and deploy again: nothing is left to fetch"));
        }
        if matches!(context.engine, Engine::Command(_)) {
            return Ok(());
        }
        context.tell(Event::Stage("ask vLLM what it makes of its command line".to_owned()));
        if !isolated::is_enclosed(context.layout().scope()) {
            context.tell(Event::Warning(
                "no service manager can be used here: vLLM is asked without a sandbox, and without this environment"
                    .to_owned(),
            ));
        }
        let asked = materials.ask(&self.plan, context.layout());
        // Python gets Ctrl-C too: its failure then says nothing about the plan.
        context.interrupt.check()?;
        match asked? {
            Ok(compared) => Ok(engine_config::agree(&compared)?),
            Err(silent) => {
                context.tell(Event::Warning(format!(
                    "vLLM could not be asked what it makes of the plan: {silent}"
                )));
                Ok(())
            }
        }
    }
}

impl GatheredInputs {
    fn readiness(&self, layout: &Layout) -> Readiness {
        let stored = self.locked.as_ref().is_some_and(|model| layout.model(model.digest()).is_dir());
        let given = self.profile.model().path.as_ref().is_some_and(|path| path.is_dir());
        let fetched = stored || given;
        let model = self.locked.as_ref().map(LockedModel::size);
        let wheels = self.wheels.as_ref().filter(|supply| matches!(supply.source, RuntimeSource::Wheels(_)));
        let installed = self.wheels.as_ref().map(|supply| match supply.source {
            RuntimeSource::Nix(_) => true,
            RuntimeSource::Wheels(_) => layout.runtime(supply.digest).exists(),
        });
        let of_wheels =
            |supply: &Supply| ByteSize(supply.locked.wheels.iter().map(|wheel| wheel.size.0).sum());
        let missing = |size: ByteSize, there: bool| if there { ByteSize(0) } else { size };
        Readiness {
            locked: self.locked.is_some(),
            fetched,
            installed,
            model_download_bytes: model.map(|size| missing(size, fetched)),
            wheels_download_bytes: wheels.map(|supply| missing(of_wheels(supply), installed == Some(true))),
        }
    }

    fn gather(context: &Context, name: &str, weights: Weights<'_>) -> Result<Self, Problem> {
        let profile = context.library.load_to_plan(name)?;
        neighbours(context, &profile)?;
        let library = context.library.beside(name);
        let locked = library.lock(profile.name())?;
        let (runtime, wheels) = runtime::runtime(context, &library, &profile)?;
        let LoadedCheckpoint { checkpoint, folder, finding } =
            LoadedCheckpoint::read(context, &profile, locked.as_ref(), weights)?;
        let model = planned_model(context, &profile, locked.as_ref());
        Ok(Self { profile, locked, model, checkpoint, folder, finding, runtime, wheels })
    }

    /// The plan for the context's host, or why there is none.
    fn plan(&self, context: &Context) -> Result<Result<Plan, Refusal>, Problem> {
        let planned = self.decide(context.facts()?, context.layout());
        Ok(match context.estimates {
            Estimates::Accepted => planned,
            Estimates::Refused => planned.and_then(Plan::modelled),
        })
    }

    fn decide(&self, facts: &Facts, layout: &Layout) -> Result<Plan, Refusal> {
        let Self { profile, model, checkpoint, runtime, .. } = self;
        let wheels = self.wheels.iter().flat_map(|supply| &supply.locked.wheels);
        if let (Some(transformers), Some(version)) =
            (wheels.clone().find(|wheel| wheel.name == "transformers"), Version::of(&runtime.vllm))
        {
            preflight::transformers(version, &transformers.version)?;
        }
        let mut plan = Plan::of(Inputs { profile, model, checkpoint, runtime, facts, layout })?;
        plan.findings.extend(self.finding.clone());
        Ok(plan)
    }

    /// Compares the plan with the installed vLLM's answer, or says why there is none.
    fn ask(&self, plan: &Plan, layout: &Layout) -> Result<Result<Vec<Compared>, String>, Problem> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            Problem::new(Kind::Unverified, format!("the files of `{}` are not on this host", self.model.repo))
                .help("vLLM reads them before it answers: `awqdeploy fetch PROFILE` gets them")
        })?;
        let service = sandbox::Service {
            name: &plan.service,
            device: self.profile.runtime().device,
            memory_max: self.profile.memory().ram,
            serve: &plan.serve,
            secrets: &plan.secrets,
            model: folder,
            layout,
        };
        let word = host::vllm::engine_config::ask(&service, host::vllm::engine_config::PATIENCE)?;
        Ok(match &word.silent {
            Some(silent) => Err(silent.clone()),
            None => Ok(word.beside(plan, &self.checkpoint)),
        })
    }
}

/// Checks that two profiles of one service share its address: clients must not notice the migration. A
/// neighbour that cannot be read is skipped.
fn neighbours(context: &Context, profile: &Profile) -> Result<(), Problem> {
    let names = context.library.names().unwrap_or_default();
    let others: Vec<Profile> = names
        .iter()
        .filter(|name| *name != profile.name())
        .filter_map(|name| context.library.load(name).ok())
        .collect();
    for other in &others {
        Profile::same_service(&[profile, other])?;
    }
    Ok(())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(Kind::Refused, refusal.message).help(refusal.help)
    }
}

fn planned_model(context: &Context, profile: &Profile, locked: Option<&LockedModel>) -> PlannedModel {
    let wanted = profile.model();
    let digest = locked.map(LockedModel::digest);
    let path = match (digest, &wanted.path) {
        (Some(digest), _) => context.layout().model(digest),
        (None, Some(path)) => path.clone(),
        (None, None) => PathBuf::from(&wanted.repo),
    };
    PlannedModel {
        repo: wanted.repo.clone(),
        revision: locked.map_or(&wanted.revision, |locked| &locked.revision).clone(),
        served_name: wanted.served_name.clone(),
        digest,
        path,
        verify_at_start: wanted.verify_at_start,
    }
}

/// Checks that a root keeps one service: its generations are that service's rollback targets.
fn one_service(current: Option<&Generation>, plan: &Plan) -> Result<(), Problem> {
    match current {
        Some(current) if current.plan.service != plan.service => Err(Problem::new(
            Kind::Refused,
            format!(
                "this root keeps the service `{}`, and `{}` wants `{}`",
                current.plan.service, plan.profile, plan.service
            ),
        )
        .help("name another root for another service with `--root DIR`")),
        _ => Ok(()),
    }
}

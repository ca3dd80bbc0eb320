//! The plan: everything that a deployment decides, in one value, before anything is touched.

use super::{
    checkpoint::Checkpoint,
    digest::Digest,
    facts::Facts,
    invocation,
    layout::Layout,
    lock::Interpreter,
    manifest::Part,
    memory::Budget,
    needs::Need,
    placement::{self, Placement},
    prediction::Prediction,
    preflight::{self, Finding},
    profile::{Gates, Listen, Profile, TensorParallel, Timeouts, Tolerances, VerifyAtStart, Watch},
    secrets::Secrets,
    unit,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything that a generation runs. Stored with it, so that a rollback decides nothing anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The profile's name.
    pub profile: String,
    /// The systemd unit's name without suffix.
    pub service: String,
    /// The model in the store.
    pub model: PlannedModel,
    /// The runtime in the store.
    pub runtime: PlannedRuntime,
    /// What is run.
    pub serve: Serve,
    /// Where each byte goes.
    pub memory: Budget,
    /// How fast one stream will be. A prediction, not a measurement.
    pub prediction: Prediction,
    /// Files with secrets that the engine is given. Generations of before there were any have none.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// What validation must show.
    pub gates: Gates,
    /// How far from this it may be. Generations of before this could be said have the usual ones.
    #[serde(default)]
    pub tolerances: Tolerances,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How it is watched once it serves. Generations of before this was known are not.
    #[serde(default)]
    pub watch: Watch,
    /// What to know before going on.
    pub findings: Vec<Finding>,
    /// The service's systemd unit.
    pub unit: String,
}

/// A model in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedModel {
    /// `owner/name` on the hub.
    pub repo: String,
    /// The locked revision.
    pub revision: String,
    /// `--served-model-name`.
    pub served_name: String,
    /// Its name in the store. Absent while it is not locked yet.
    pub digest: Option<Digest>,
    /// Its folder.
    pub path: PathBuf,
    /// What the service reads of it before each start. Generations of before this was known have none.
    #[serde(default)]
    pub verify_at_start: VerifyAtStart,
}

/// A runtime in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRuntime {
    /// vLLM's version.
    pub vllm: String,
    /// Its name in the store. Absent for a runtime that is not installed by awqdeploy.
    pub digest: Option<Digest>,
    /// The command that `serve` and its arguments follow.
    pub command: Vec<String>,
    /// The interpreter that it was installed for. Absent where somebody else keeps the runtime, where Nix built it with
    /// its interpreter, and in generations of before the files of runtimes were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Interpreter>,
    /// What else it needs of the host, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

impl PlannedRuntime {
    /// What of it lies in the store: the runtime, and the interpreter where that is locked, each by its name there.
    pub fn installed(&self) -> Vec<(Part, Digest)> {
        let runtime = self.digest.map(|digest| (Part::Runtime, digest));
        let python = self.python.as_ref().and_then(Interpreter::locked);
        runtime.into_iter().chain(python.map(|name| (Part::Interpreter, name))).collect()
    }
}

/// The engine's command line, environment and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside those that the unit sets.
    pub env: BTreeMap<String, String>,
    /// Where it answers.
    pub listen: Listen,
}

/// Everything that a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What is wanted.
    pub profile: &'a Profile,
    /// The model: locked, or only known.
    pub model: &'a PlannedModel,
    /// Its shape.
    pub checkpoint: &'a Checkpoint,
    /// The runtime.
    pub runtime: &'a PlannedRuntime,
    /// The host.
    pub facts: &'a Facts,
    /// Where everything lies.
    pub layout: &'a Layout,
}

/// Why there is no plan. An expected outcome: nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// A stable name: `tensor-parallel-exceeds-gpus`.
    pub code: String,
    /// A lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Refusal {
    /// A refusal of this code.
    pub fn new(code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), help: help.into() }
    }
}

impl From<&Refusal> for Finding {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.code.clone(), refusal.message.clone()).help(refusal.help.clone())
    }
}

impl Plan {
    /// Decides everything. What is free now in VRAM and RAM is not asked: the service that is
    /// replaced still holds its share.
    pub fn of(inputs: Inputs<'_>) -> Result<Self, Refusal> {
        let facts = inputs.facts.visible(inputs.profile.environment());
        let inputs = Inputs { facts: &facts, ..inputs };
        let version = preflight::version(inputs)?;
        preflight::engine(inputs, version)?;
        let Placement { budget, prediction } = placement::place(inputs, version)?;
        let serve = invocation::serve(inputs, &budget);
        let findings = preflight::findings(inputs, version, &budget, prediction.expected());
        Ok(Self::whole(inputs, Placement { budget, prediction }, serve, findings))
    }

    /// Whether both run the same. What is only told may differ, the prediction and the findings: more is known of a host
    /// after each deployment, and that must not make another one of the same plan.
    pub fn runs_as(&self, other: &Self) -> bool {
        let run =
            |plan: &Self| Self { prediction: Prediction::default(), findings: Vec::new(), ..plan.clone() };
        run(self) == run(other)
    }

    /// The plan of what runs already, by these words. Nothing is refused, since it does run; its memory is that
    /// of the profile, as far as it is known.
    pub fn adopted(inputs: Inputs<'_>, serve: Serve) -> Self {
        let Inputs { profile, checkpoint, facts, .. } = inputs;
        let version = preflight::version(inputs).ok();
        let placement = version.and_then(|version| placement::place(inputs, version).ok());
        let placement = placement.unwrap_or_else(|| {
            let ranks = match profile.tensor_parallel() {
                TensorParallel::Auto => 1,
                TensorParallel::Fixed(ranks) => ranks,
            };
            let budget = Budget::of(checkpoint, profile, facts, ranks);
            Placement { budget, prediction: Prediction::default() }
        });
        Self::whole(inputs, placement, serve, Vec::new())
    }

    fn whole(inputs: Inputs<'_>, placement: Placement, serve: Serve, findings: Vec<Finding>) -> Self {
        let Inputs { profile, model, runtime, layout, .. } = inputs;
        let unit = unit::service(&unit::Service {
            name: profile.service(),
            device: profile.runtime().device,
            memory_max: profile.memory().ram,
            serve: &serve,
            secrets: profile.secrets(),
            model: &model.path,
            layout,
        });
        Self {
            profile: profile.name().to_owned(),
            service: profile.service().to_owned(),
            model: model.clone(),
            runtime: runtime.clone(),
            findings,
            serve,
            memory: placement.budget,
            prediction: placement.prediction,
            secrets: profile.secrets().clone(),
            gates: profile.gates().clone(),
            tolerances: profile.tolerances(),
            timeouts: profile.timeouts(),
            watch: profile.watch(),
            unit,
        }
    }
}

//! The plan: everything that a deployment decides, in one value, before anything is touched.

use super::{
    command_line,
    grid::Grid,
    inputs::{Inputs, PlannedModel, PlannedRuntime},
    memory::Budget,
    placement::{self, Placement, gpus},
    prediction::Prediction,
    preflight::{self, Finding},
};
use crate::domain::{
    findings::refusal::Refusal,
    profile::{Gates, Parallel, Timeouts, Tolerances, Watch, secrets::Secrets},
    service::unit::{self, GPU_READY, Unit},
    store::layout::Layout,
    vllm::serve::Serve,
};
use serde::{Deserialize, Serialize};

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
    /// The command line, environment and address.
    pub serve: Serve,
    /// The memory.
    pub memory: Budget,
    /// How fast one stream will be. A prediction, not a measurement.
    pub prediction: Prediction,
    /// Files with secrets for the engine. Older generations have none.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// The gates of the validation.
    pub gates: Gates,
    /// The tolerances between plan and running engine. Older generations have the usual ones.
    #[serde(default)]
    pub tolerances: Tolerances,
    /// The limits of time.
    pub timeouts: Timeouts,
    /// The probation after the commit. Older generations have none.
    #[serde(default)]
    pub watch: Watch,
    /// The findings, for a person.
    pub findings: Vec<Finding>,
    /// The service's systemd unit.
    pub unit: String,
}

impl From<&Refusal> for Finding {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.code.clone(), refusal.message.clone()).help(refusal.help.clone())
    }
}

impl Plan {
    /// Decides everything. Free VRAM and RAM are not asked for: the replaced service still holds its share.
    pub fn of(inputs: Inputs<'_>) -> Result<Self, Refusal> {
        let version = preflight::version(inputs)?;
        let pinned = gpus::pinned(inputs, version);
        let seen = inputs.facts.visible(inputs.profile.environment());
        let profile = pinned.as_ref().unwrap_or(inputs.profile);
        let facts = inputs.facts.visible(profile.environment());
        let inputs = Inputs { profile, facts: &facts, ..inputs };
        preflight::engine(inputs, version)?;
        let Placement { budget, prediction } = placement::place(inputs, version)?;
        let serve = command_line::serve(inputs, &budget);
        let mut findings = preflight::findings(inputs, version, &budget, prediction.expected());
        findings.extend(placement::mostly_unused(inputs, version, &budget));
        if budget.gpu.is_some() {
            findings.extend(gpus::idle(&seen, &facts, budget.gpus()));
        }
        Ok(Self::whole(inputs, Placement { budget, prediction }, serve, findings))
    }

    /// Refuses a plan that is an estimate: of a model that is not modelled nobody knows whether it fits.
    pub(crate) fn modelled(self) -> Result<Self, Refusal> {
        match self.findings.iter().find(|finding| finding.code == "architecture-not-modelled") {
            None => Ok(self),
            Some(finding) => Err(Refusal::new(
                &finding.code,
                format!("whether it fits is unknown: {}", finding.message),
                "with `--accept-estimate` it goes on by the sizes of the files; leave room for the KV cache",
            )),
        }
    }

    /// Whether both run the same. The prediction, what is left for the cache, and the findings may differ: more is
    /// known of a host after each deployment, and that must not make a new generation of the same plan.
    pub(crate) fn runs_as(&self, other: &Self) -> bool {
        let run = |plan: &Self| Self {
            memory: plan.memory.decided(),
            prediction: Prediction::default(),
            findings: Vec::new(),
            ..plan.clone()
        };
        run(self) == run(other)
    }

    /// The plan of a server that runs already, with this command line. Nothing is refused, since it does run;
    /// its memory is that of the profile, as far as it is known.
    pub(crate) fn adopted(inputs: Inputs<'_>, serve: Serve) -> Self {
        let Inputs { profile, checkpoint, facts, .. } = inputs;
        let version = preflight::version(inputs).ok();
        let placement = version.and_then(|version| placement::place(inputs, version).ok());
        let placement = placement.unwrap_or_else(|| {
            let one = |size: Parallel| size.fixed().unwrap_or(1);
            let grid =
                Grid { tensor: one(profile.tensor_parallel()), pipeline: one(profile.pipeline_parallel()) };
            let budget = Budget::on(checkpoint, profile, facts, grid);
            Placement { budget, prediction: Prediction::default() }
        });
        Self::whole(inputs, placement, serve, Vec::new())
    }

    /// Every unit of the plan: the service, its recovery at boot, and what it requires.
    pub(crate) fn units(&self, layout: &Layout) -> Vec<Unit> {
        let unit = |name: &str, text: String| Unit { name: name.to_owned(), text, replaces: None };
        let mut units = vec![
            unit(&format!("{}.service", self.service), self.unit.clone()),
            unit(&unit::recover_name(&self.service), unit::recover(layout, &self.service)),
        ];
        // A user's manager loads no kernel modules: its unit does not ask for this one.
        if self.unit.contains(GPU_READY) {
            units.push(unit(GPU_READY, unit::gpu_ready()));
        }
        units
    }

    fn whole(inputs: Inputs<'_>, placement: Placement, serve: Serve, findings: Vec<Finding>) -> Self {
        let Inputs { profile, model, runtime, layout, .. } = inputs;
        let unit = unit::service(&crate::domain::service::sandbox::Service {
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

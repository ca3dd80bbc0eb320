//! The documents of `--json`. Text for people is rendered from these same values.

pub(super) mod adoption;
pub(crate) mod basis;
pub(super) mod evidence;
pub(super) mod history;
pub(super) mod init;
pub(super) mod lookup;
pub(super) mod models;
pub(super) mod profiles;
pub(super) mod rehearsal;
pub(super) mod schema;
mod summary;
pub(super) mod units;

pub(crate) use models::collection::CollectDocument;

use crate::{
    domain::{
        activation::{
            journal::{self, Phase},
            machine::{Activation, End, State},
            running::Runs,
        },
        exit_status::ExitStatus,
        findings::refusal::Refusal,
        generation::Generation,
        generation_id::GenerationId,
        lockfile::{Interpreter, needs::Need},
        machine::facts::{self, Facts},
        planning::{
            engine_config::Compared,
            memory::{Budget, Rank},
            plan::Plan,
            prediction::Prediction,
            preflight::Finding,
        },
        profile::Gates,
        size::ByteSize,
        validation::report::{Report, Verdict},
        vllm::serve::Serve,
    },
    flow::{
        activation::outcome::{Action, Outcome},
        inspect::status::{AsFound, Listed, Standing, Status},
        plan::Readiness,
    },
    host::{store::Recorded, systemd::service::Condition},
};
use basis::Basis;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;
use summary::Summary;

/// `awqdeploy/plan/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlanDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) service: Option<String>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) vllm: Option<String>,
    /// The interpreter that vLLM is installed for. Null where somebody else keeps it, or Nix built both.
    pub(crate) python: Option<Interpreter>,
    /// The other needs of the host.
    pub(crate) needs: Vec<Need>,
    pub(crate) serve: Option<Serve>,
    pub(crate) memory: Option<MemoryDocument>,
    pub(crate) prediction: Option<Prediction>,
    /// How their numbers are known: measured on this host, computed, or estimated. Null of a refusal.
    pub(crate) basis: Option<Basis>,
    /// The comparison with the installed vLLM, where it was asked.
    pub(crate) engine: Vec<Compared>,
    /// The findings, the most severe first; of a refusal, its reasons.
    pub(crate) findings: Vec<Finding>,
    pub(crate) unit: Option<String>,
    /// How much of what it needs is on this host. Null of what is deployed already.
    pub(crate) readiness: Option<Readiness>,
    /// The gates of the validation. Null of a refusal.
    pub(crate) gates: Option<GatesDocument>,
    pub(crate) refusal: Option<Refusal>,
}

/// The gates of a validation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GatesDocument {
    pub(crate) min_decode_tokens_per_second: f64,
    /// The profile to compare with.
    pub(crate) baseline: Option<String>,
    pub(crate) min_ratio: Option<f64>,
    /// Whether it fails where that was never measured.
    pub(crate) baseline_required: Option<bool>,
    /// Null: the answers are not judged.
    pub(crate) min_known_answers: Option<f64>,
    pub(crate) max_perplexity_ratio: Option<f64>,
}

impl GatesDocument {
    fn of(gates: &Gates) -> Self {
        let baseline = gates.baseline.as_ref();
        Self {
            min_decode_tokens_per_second: gates.min_decode_tokens_per_second,
            baseline: baseline.map(|baseline| baseline.profile.clone()),
            min_ratio: baseline.map(|baseline| baseline.min_ratio),
            baseline_required: baseline.map(|baseline| baseline.required),
            min_known_answers: gates.min_known_answers,
            max_perplexity_ratio: gates.max_perplexity_ratio,
        }
    }
}

/// Where each byte goes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemoryDocument {
    /// RAM of all ranks together.
    pub(crate) host_bytes: ByteSize,
    pub(crate) ranks: Vec<Rank>,
    #[serde(flatten)]
    pub(crate) budget: Budget,
}

impl MemoryDocument {
    fn of(budget: Budget) -> Self {
        Self { host_bytes: budget.ram, ranks: budget.ranks(), budget }
    }
}

/// `awqdeploy/facts/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FactsDocument {
    pub(crate) schema: &'static str,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

impl FactsDocument {
    pub(crate) fn of(facts: Facts) -> Self {
        Self { schema: facts::SCHEMA, facts }
    }
}

/// `awqdeploy/doctor/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DoctorDocument {
    pub(crate) schema: &'static str,
    pub(crate) findings: Vec<Finding>,
}

impl PlanDocument {
    pub(crate) fn of(profile: &str, planned: Result<Plan, Refusal>) -> Self {
        let (plan, refusal) = match planned {
            Ok(plan) => (Some(plan), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let empty = Self {
            schema: "awqdeploy/plan/v1",
            profile: profile.to_owned(),
            service: None,
            model: None,
            vllm: None,
            python: None,
            needs: Vec::new(),
            serve: None,
            memory: None,
            prediction: None,
            basis: None,
            engine: Vec::new(),
            findings: refusal.iter().map(Finding::from).collect(),
            unit: None,
            readiness: None,
            gates: None,
            refusal,
        };
        match plan {
            None => empty,
            Some(plan) => Self {
                basis: Some(Basis::of(&plan)),
                profile: plan.profile,
                service: Some(plan.service),
                model: Some(plan.model.path),
                vllm: Some(plan.runtime.vllm),
                python: plan.runtime.python,
                needs: plan.runtime.needs,
                serve: Some(plan.serve),
                memory: Some(MemoryDocument::of(plan.memory)),
                prediction: Some(plan.prediction),
                findings: plan.findings,
                unit: Some(plan.unit),
                gates: Some(GatesDocument::of(&plan.gates)),
                ..empty
            },
        }
    }
}

/// `awqdeploy/activation/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ActivationDocument {
    pub(crate) schema: &'static str,
    pub(crate) action: &'static str,
    pub(crate) profile: String,
    pub(crate) generation: Option<GenerationId>,
    /// The end: `committed`, `rolled-back`, `refused`, `stuck`, `unchanged`.
    pub(crate) end: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) why: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) activation: Option<u64>,
    pub(crate) returned_to: Option<GenerationId>,
    pub(crate) downtime_seconds: Option<f64>,
    /// The steps without a running server. Empty where none ran before.
    pub(crate) outage: Vec<Phase>,
    /// The time of a plain restart of the server from before, as it was seen on this host.
    pub(crate) plain_restart_seconds: Option<f64>,
    pub(crate) report: Option<Report>,
    pub(crate) returned: Option<Report>,
}

impl ActivationDocument {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let activated = outcome.activation.as_ref();
        let end = activated.map(|activated| &activated.ended.end);
        let from = activated.and_then(|activated| activated.ended.activation.from);
        Self {
            schema: "awqdeploy/activation/v1",
            action: action(outcome.action),
            profile: outcome.profile.clone(),
            generation: Some(outcome.generation),
            end: end.map_or("unchanged", End::name),
            exit_code: ExitStatus::from(outcome.conclusion()).code(),
            why: end.and_then(why),
            help: None,
            activation: activated.map(|activated| activated.ended.number),
            returned_to: from.filter(|_| matches!(end, Some(End::RolledBack { .. }))),
            downtime_seconds: activated.and_then(|activated| journal::downtime(&activated.journal)),
            outage: activated.map_or_else(Vec::new, |activated| journal::outage(&activated.journal)),
            plain_restart_seconds: activated.and_then(|activated| activated.plain_restart),
            report: activated.and_then(|activated| activated.report.clone()),
            returned: activated.and_then(|activated| activated.returned.clone()),
        }
    }

    /// The document of a deployment without an activation.
    pub(crate) fn refused(
        action_: Action,
        profile: &str,
        status: ExitStatus,
        why: String,
        help: Option<String>,
    ) -> Self {
        Self {
            schema: "awqdeploy/activation/v1",
            action: action(action_),
            profile: profile.to_owned(),
            generation: None,
            end: "refused",
            exit_code: status.code(),
            why: Some(why),
            help,
            activation: None,
            returned_to: None,
            downtime_seconds: None,
            outage: Vec::new(),
            plain_restart_seconds: None,
            report: None,
            returned: None,
        }
    }
}

/// `awqdeploy/status/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusDocument {
    pub(crate) schema: &'static str,
    pub(crate) root: PathBuf,
    pub(crate) current: Option<Current>,
    /// The profile of the running server; null if there is none.
    pub(crate) serving: Option<String>,
    /// The generation of the running server, as its own process tells. Null if there is none, or that cannot
    /// be told. Where it is not the current one, run `awqdeploy recover`.
    pub(crate) runs: Option<GenerationId>,
    /// Whether the current generation is proven.
    pub(crate) proven: bool,
    /// The end of the probation, within which a server that does not stay well is rolled back. Null if there
    /// is none.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) watched_until: Option<jiff::Timestamp>,
    /// The service's state in its service manager's words.
    pub(crate) service: Option<String>,
    /// Since when it is that.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) since: Option<jiff::Timestamp>,
    /// How often it was started again by itself since a person or a deployment started it.
    pub(crate) restarts: u32,
    /// Why it does not serve. Null if it does, or nothing is deployed.
    pub(crate) why_not: Option<String>,
    /// The rollback target.
    pub(crate) way_back: Option<GenerationId>,
    /// The unit's file, or `process N`, that still runs an adopted server. Null once a deployment has replaced it.
    pub(crate) as_found: Option<String>,
    pub(crate) last_activation: Option<LastActivation>,
    /// The newest validation of the current generation, in short.
    pub(crate) report: Option<Summary>,
    /// The damaged records, each in one line. They are skipped, and prevent nothing else.
    pub(crate) damaged: Vec<String>,
    /// The models that were found damaged, and not repaired since, in one line each. Nothing serves them.
    pub(crate) damaged_models: Vec<String>,
}

/// The current generation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Current {
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    pub(crate) repo: String,
    pub(crate) vllm: String,
    /// The interpreter that vLLM was installed for. Null where somebody else keeps it, or Nix built both.
    pub(crate) python: Option<Interpreter>,
    pub(crate) tensor_parallel_size: u32,
    pub(crate) service: String,
    pub(crate) url: String,
}

/// The end of the newest activation, or its progress.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LastActivation {
    pub(crate) number: u64,
    /// `deploy` or `rollback`. Null where that is damaged.
    pub(crate) action: Option<&'static str>,
    /// Of this profile.
    pub(crate) profile: Option<String>,
    pub(crate) from: Option<GenerationId>,
    pub(crate) to: GenerationId,
    /// The end. Null while the activation goes on, or if it was interrupted.
    pub(crate) end: Option<&'static str>,
    /// The step that goes on, or that was interrupted.
    pub(crate) step: Option<String>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) at: Option<jiff::Timestamp>,
    pub(crate) why: Option<String>,
}

impl StatusDocument {
    pub(crate) fn of(root: PathBuf, status: Status) -> Self {
        Self {
            schema: "awqdeploy/status/v1",
            root,
            proven: status.proven,
            watched_until: status.watched_until,
            current: status.current.map(current),
            serving: status.serving,
            runs: match status.runs {
                Runs::Generation(id) => Some(id),
                Runs::Nothing | Runs::Unknown => None,
            },
            service: status.condition.map(|condition| match condition {
                Condition::Active => "active".to_owned(),
                Condition::Changing(state) | Condition::Down(state) => state.to_string(),
            }),
            since: status.since,
            restarts: status.restarts,
            why_not: status.why_not,
            way_back: status.rollback_target,
            as_found: status.as_found.map(|found| match found {
                AsFound::Unit(path) => path.display().to_string(),
                AsFound::Process(pid) => format!("process {pid}"),
            }),
            last_activation: status.last.as_ref().and_then(|last| last_activation(last, status.last_request)),
            report: status.report.map(Summary::of),
            damaged: status.damaged,
            damaged_models: status.damaged_models,
        }
    }
}

/// `awqdeploy/generations/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GenerationsDocument {
    pub(crate) schema: &'static str,
    pub(crate) generations: Vec<GenerationLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GenerationLine {
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    pub(crate) repo: String,
    pub(crate) vllm: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) created: jiff::Timestamp,
    /// `current`, `candidate` (current, and not proven yet), `proven` or `unproven`.
    pub(crate) standing: &'static str,
    /// Whether `gc` must leave it alone.
    pub(crate) pinned: bool,
}

impl GenerationsDocument {
    pub(crate) fn of(listed: Vec<Listed>) -> Self {
        let line = |Listed { generation, standing, pinned }| GenerationLine {
            pinned,
            generation: generation.id,
            profile: generation.plan.profile,
            repo: generation.plan.model.repo,
            vllm: generation.plan.runtime.vllm,
            created: generation.created,
            standing: match standing {
                Standing::Current => "current",
                Standing::Candidate => "candidate",
                Standing::Proven => "proven",
                Standing::Unproven => "unproven",
            },
        };
        Self { schema: "awqdeploy/generations/v1", generations: listed.into_iter().map(line).collect() }
    }
}

/// `awqdeploy/validation/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValidationDocument {
    pub(crate) schema: &'static str,
    pub(crate) verdict: Verdict,
    /// The server, where it was named by its URL.
    pub(crate) url: Option<String>,
    #[serde(flatten)]
    pub(crate) report: Report,
}

impl ValidationDocument {
    pub(crate) fn of(report: Report, url: Option<String>) -> Self {
        Self { schema: "awqdeploy/validation/v1", verdict: report.verdict(), url, report }
    }
}

/// `awqdeploy/recovery/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RecoveryDocument {
    pub(crate) schema: &'static str,
    /// The activation. Null if there was nothing to recover.
    pub(crate) activation: Option<u64>,
    pub(crate) end: Option<&'static str>,
    pub(crate) why: Option<String>,
}

/// Why it did not end as it should.
pub(crate) fn why(end: &End) -> Option<String> {
    match end {
        End::Committed => None,
        End::RolledBack { cause } => Some(cause.to_string()),
        End::Stuck { cause, step, why } => {
            Some(format!("{cause}; then the rollback failed at {step}: {why}"))
        }
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Deploy => "deploy",
        Action::Rollback => "rollback",
    }
}

fn current(generation: Generation) -> Current {
    let Generation { id, plan, .. } = generation;
    Current {
        generation: id,
        profile: plan.profile,
        repo: plan.model.repo,
        vllm: plan.runtime.vllm,
        python: plan.runtime.python,
        tensor_parallel_size: plan.memory.tensor_parallel_size,
        service: plan.service,
        url: format!("http://{}", std::net::SocketAddr::new(plan.serve.listen.host, plan.serve.listen.port)),
    }
}

fn last_activation(recorded: &Recorded, request: Option<(Action, String)>) -> Option<LastActivation> {
    let (action_, profile) = request.unzip();
    let Activation { from, to, state } = recorded.last()?.clone();
    let (end, step, why) = match &state {
        State::Done { end } => (Some(end.name()), None, why(end)),
        State::Forward { step } => (None, Some(step.to_string()), None),
        State::Back { step, cause, .. } => (None, Some(format!("back: {step}")), Some(cause.to_string())),
    };
    let at = recorded.journal.last().map(|entry| entry.at);
    let action = action_.map(action);
    Some(LastActivation { number: recorded.number, action, profile, from, to, end, step, at, why })
}

//! What the program prints with `--json`. Text for people is rendered from these same values.

use crate::{
    domain::{
        activation::{Activation, End, GenerationId, State},
        digest::Digest,
        generation::Generation,
        lock::LockedModel,
        memory::Budget,
        plan::{Plan, Refusal, Serve},
        preflight::Finding,
        report::{Report, Verdict},
    },
    flow::{
        check::Verified,
        outcome::{Action, Conclusion, Outcome},
        status::{Listed, Standing, Status},
    },
    host::{models::Difference, service::Condition, store::Recorded},
};
use serde::Serialize;
use std::path::PathBuf;

/// `awqdeploy/plan/v1`
#[derive(Debug, Serialize)]
pub(crate) struct PlanDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) service: Option<String>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) vllm: Option<String>,
    pub(crate) serve: Option<Serve>,
    pub(crate) memory: Option<Budget>,
    pub(crate) predicted_tokens_per_second: Option<f64>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) unit: Option<String>,
    pub(crate) refusal: Option<Refusal>,
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
            serve: None,
            memory: None,
            predicted_tokens_per_second: None,
            warnings: Vec::new(),
            unit: None,
            refusal,
        };
        match plan {
            None => empty,
            Some(plan) => Self {
                profile: plan.profile,
                service: Some(plan.service),
                model: Some(plan.model.path),
                vllm: Some(plan.runtime.vllm),
                serve: Some(plan.serve),
                memory: Some(plan.memory),
                predicted_tokens_per_second: plan.predicted_tokens_per_second,
                warnings: plan.warnings,
                unit: Some(plan.unit),
                ..empty
            },
        }
    }
}

/// `awqdeploy/activation/v1`
#[derive(Debug, Serialize)]
pub(crate) struct ActivationDocument {
    pub(crate) schema: &'static str,
    pub(crate) action: &'static str,
    pub(crate) profile: String,
    pub(crate) generation: Option<GenerationId>,
    /// `committed`, `rolled-back`, `refused`, `stuck`, `unchanged`.
    pub(crate) end: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) why: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) activation: Option<u64>,
    pub(crate) returned_to: Option<GenerationId>,
    pub(crate) downtime_seconds: Option<f64>,
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
            exit_code: exit_code(outcome.conclusion()),
            why: end.and_then(why),
            help: None,
            activation: activated.map(|activated| activated.ended.number),
            returned_to: from.filter(|_| matches!(end, Some(End::RolledBack { .. }))),
            downtime_seconds: activated.and_then(crate::flow::outcome::Activated::downtime),
            report: activated.and_then(|activated| activated.report.clone()),
            returned: activated.and_then(|activated| activated.returned.clone()),
        }
    }

    /// What never became an activation.
    pub(crate) fn refused(
        action_: Action,
        profile: &str,
        exit_code: u8,
        why: String,
        help: Option<String>,
    ) -> Self {
        Self {
            schema: "awqdeploy/activation/v1",
            action: action(action_),
            profile: profile.to_owned(),
            generation: None,
            end: "refused",
            exit_code,
            why: Some(why),
            help,
            activation: None,
            returned_to: None,
            downtime_seconds: None,
            report: None,
            returned: None,
        }
    }
}

/// The exit status of a deployment or rollback that ran.
pub(crate) fn exit_code(conclusion: Conclusion) -> u8 {
    match conclusion {
        Conclusion::Done | Conclusion::AlreadySo => 0,
        Conclusion::WentBack => 6,
        Conclusion::Stuck => 7,
    }
}

/// `awqdeploy/status/v1`
#[derive(Debug, Serialize)]
pub(crate) struct StatusDocument {
    pub(crate) schema: &'static str,
    pub(crate) root: PathBuf,
    pub(crate) current: Option<Current>,
    /// The profile that serves now; null if nothing does.
    pub(crate) serving: Option<String>,
    /// The service's state in its keeper's word.
    pub(crate) service: Option<String>,
    pub(crate) last_activation: Option<LastActivation>,
    pub(crate) report: Option<Report>,
}

/// What `current` points at.
#[derive(Debug, Serialize)]
pub(crate) struct Current {
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    pub(crate) repo: String,
    pub(crate) vllm: String,
    pub(crate) tensor_parallel_size: u32,
    pub(crate) service: String,
    pub(crate) url: String,
}

/// How the newest activation ended, or how far it is.
#[derive(Debug, Serialize)]
pub(crate) struct LastActivation {
    pub(crate) number: u64,
    pub(crate) from: Option<GenerationId>,
    pub(crate) to: GenerationId,
    /// Null while it goes on, or if it was interrupted.
    pub(crate) end: Option<&'static str>,
    /// The step that it is at, or that was interrupted.
    pub(crate) step: Option<String>,
    pub(crate) at: Option<jiff::Timestamp>,
    pub(crate) why: Option<String>,
}

impl StatusDocument {
    pub(crate) fn of(root: PathBuf, status: Status) -> Self {
        let active = status.condition == Some(Condition::Active);
        let serving = status.current.as_ref().filter(|_| active).map(|current| current.plan.profile.clone());
        Self {
            schema: "awqdeploy/status/v1",
            root,
            current: status.current.map(current),
            serving,
            service: status.condition.map(|condition| match condition {
                Condition::Active => "active".to_owned(),
                Condition::Changing(word) | Condition::Down(word) => word,
            }),
            last_activation: status.last.as_ref().and_then(last_activation),
            report: status.report,
        }
    }
}

/// `awqdeploy/generations/v1`
#[derive(Debug, Serialize)]
pub(crate) struct GenerationsDocument {
    pub(crate) schema: &'static str,
    pub(crate) generations: Vec<GenerationLine>,
}

#[derive(Debug, Serialize)]
pub(crate) struct GenerationLine {
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    pub(crate) repo: String,
    pub(crate) vllm: String,
    pub(crate) created: jiff::Timestamp,
    /// `current`, `proven` or `unproven`.
    pub(crate) standing: &'static str,
}

impl GenerationsDocument {
    pub(crate) fn of(listed: Vec<Listed>) -> Self {
        let line = |Listed { generation, standing }| GenerationLine {
            generation: generation.id,
            profile: generation.plan.profile,
            repo: generation.plan.model.repo,
            vllm: generation.plan.runtime.vllm,
            created: generation.created,
            standing: match standing {
                Standing::Current => "current",
                Standing::Proven => "proven",
                Standing::Unproven => "unproven",
            },
        };
        Self { schema: "awqdeploy/generations/v1", generations: listed.into_iter().map(line).collect() }
    }
}

/// `awqdeploy/validation/v1`
#[derive(Debug, Serialize)]
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

/// `awqdeploy/verification/v1`
#[derive(Debug, Serialize)]
pub(crate) struct VerificationDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    pub(crate) path: PathBuf,
    pub(crate) files: usize,
    pub(crate) differences: Vec<DifferenceLine>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DifferenceLine {
    pub(crate) path: PathBuf,
    /// `missing`, `size` or `content`.
    pub(crate) is: &'static str,
}

impl VerificationDocument {
    pub(crate) fn of(verified: &Verified) -> Self {
        let line = |(path, difference): &(PathBuf, Difference)| DifferenceLine {
            path: path.clone(),
            is: match difference {
                Difference::Missing => "missing",
                Difference::Size(_) => "size",
                Difference::Content(_) => "content",
            },
        };
        Self {
            schema: "awqdeploy/verification/v1",
            profile: verified.profile.clone(),
            path: verified.path.clone(),
            files: verified.files,
            differences: verified.differences.iter().map(line).collect(),
        }
    }
}

/// `awqdeploy/lock/v1`
#[derive(Debug, Serialize)]
pub(crate) struct LockDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    /// The model's name in the store.
    pub(crate) digest: Digest,
    #[serde(flatten)]
    pub(crate) locked: LockedModel,
}

impl LockDocument {
    pub(crate) fn of(profile: &str, locked: LockedModel) -> Self {
        Self { schema: "awqdeploy/lock/v1", profile: profile.to_owned(), digest: locked.digest(), locked }
    }
}

/// `awqdeploy/recovery/v1`
#[derive(Debug, Serialize)]
pub(crate) struct RecoveryDocument {
    pub(crate) schema: &'static str,
    /// Null if there was nothing to recover.
    pub(crate) activation: Option<u64>,
    pub(crate) end: Option<&'static str>,
    pub(crate) why: Option<String>,
}

/// Why it did not end as it should.
pub(crate) fn why(end: &End) -> Option<String> {
    match end {
        End::Committed => None,
        End::RolledBack { cause } => Some(cause.to_string()),
        End::Stuck { cause, step, why } => Some(format!("{cause}; then going back failed at {step}: {why}")),
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
        tensor_parallel_size: plan.memory.tensor_parallel_size,
        service: plan.service,
        url: format!("http://{}", std::net::SocketAddr::new(plan.serve.listen.host, plan.serve.listen.port)),
    }
}

fn last_activation(recorded: &Recorded) -> Option<LastActivation> {
    let Activation { from, to, state } = recorded.last()?.clone();
    let (end, step, why) = match &state {
        State::Done { end } => (Some(end.name()), None, why(end)),
        State::Forward { step } => (None, Some(step.to_string()), None),
        State::Back { step, cause, .. } => (None, Some(format!("back: {step}")), Some(cause.to_string())),
    };
    let at = recorded.journal.last().map(|entry| entry.at);
    Some(LastActivation { number: recorded.number, from, to, end, step, at, why })
}

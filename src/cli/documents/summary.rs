//! A validation in short, for `status` and for followers.

use crate::domain::{
    generation_id::GenerationId,
    measure::Interval,
    validation::report::{KnownAnswers, Report, Verdict},
};
use schemars::JsonSchema;
use serde::Serialize;

/// The result of a validation. `awqdeploy report` has all of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Summary {
    pub(crate) generation: Option<GenerationId>,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: jiff::Timestamp,
    pub(crate) verdict: Verdict,
    pub(crate) failures: Vec<String>,
    pub(crate) doubts: Vec<String>,
    /// The gates that could not be judged.
    pub(crate) not_judged: Vec<String>,
    pub(crate) checks: usize,
    pub(crate) failed_checks: usize,
    pub(crate) known_answers: Option<KnownAnswers>,
    pub(crate) decode_tokens_per_second: Option<Interval>,
    pub(crate) ttft_ms: Option<Interval>,
}

impl Summary {
    pub(crate) fn of(report: Report) -> Self {
        let speed = report.throughput.as_ref();
        Self {
            generation: report.generation,
            at: report.at,
            verdict: report.verdict(),
            checks: report.checks.len(),
            failed_checks: report.checks.iter().filter(|check| check.failed()).count(),
            known_answers: report.known_answers,
            decode_tokens_per_second: speed.map(|speed| speed.decode_tokens_per_second),
            ttft_ms: speed.map(|speed| speed.ttft_ms),
            failures: report.failures,
            doubts: report.doubts,
            not_judged: report.not_judged,
        }
    }
}

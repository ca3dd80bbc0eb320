//! What a validation measured and concluded. Stored with the activation.

use super::{
    activation::GenerationId,
    actual::{self, Actual},
    plan::Plan,
    rules::{Finding, Severity},
};
use serde::{Deserialize, Serialize};

/// One validation of one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was validated.
    pub generation: GenerationId,
    /// Its profile.
    pub profile: String,
    /// When it ended.
    pub at: jiff::Timestamp,
    /// Each check, in order.
    pub checks: Vec<Check>,
    /// How many questions were answered right. Absent where the profile does not ask, or a check
    /// failed first.
    #[serde(default)]
    pub known_answers: Option<KnownAnswers>,
    /// How fast it is. Absent where a check failed first.
    pub throughput: Option<Throughput>,
    /// Against the baseline profile, where there is one that was measured.
    pub comparison: Option<Comparison>,
    /// Why it did not pass. Empty: it passed.
    pub failures: Vec<String>,
    /// Where the engine differs from its plan.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the engine's log says of itself. Absent where nobody asked.
    #[serde(default)]
    pub actual: Option<Actual>,
}

/// One named check of the API or of the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// A stable name: `chat-stream`.
    pub name: String,
    /// Why it failed. Absent: it passed.
    pub failure: Option<String>,
    /// How long it took, milliseconds.
    pub ms: f64,
}

/// How many of the shipped questions were answered right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAnswers {
    /// Answered right.
    pub right: u32,
    /// Asked.
    pub asked: u32,
    /// Which set of questions: [`super::questions::VERSION`].
    pub version: u32,
}

/// One stream's speed, by vLLM's definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Requests measured, warm-ups not counted.
    pub requests: u32,
    /// Tokens in each answer.
    pub output_tokens: u32,
    /// 1 / TPOT, tokens/s.
    pub decode_tokens_per_second: Spread,
    /// Time to first token, milliseconds.
    pub ttft_ms: Spread,
    /// Time per output token after the first, milliseconds.
    pub tpot_ms: Spread,
    /// End-to-end latency, milliseconds.
    pub e2el_ms: Spread,
}

/// The middle and the ends of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are below.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// This generation against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline profile.
    pub profile: String,
    /// Its generation.
    pub generation: GenerationId,
    /// When the baseline was measured.
    pub at: jiff::Timestamp,
    /// Its median decode tokens/s.
    pub baseline_tokens_per_second: f64,
    /// This one's median over the baseline's.
    pub ratio: f64,
    /// The least ratio that passes.
    pub min_ratio: f64,
}

impl Report {
    /// Adds what the engine's log says, held against its plan. What is fatal fails the validation.
    pub fn held_against(&mut self, plan: &Plan, actual: Actual) {
        self.findings = actual::compare(plan, &actual);
        self.actual = Some(actual);
        let fatal = self.findings.iter().filter(|finding| finding.severity == Severity::Fatal);
        self.failures.extend(fatal.map(|finding| finding.message.clone()));
    }

    /// Whether it answers as an API should, at whatever speed.
    pub fn answers(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.failure.is_none())
    }

    /// Whether every gate was met.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

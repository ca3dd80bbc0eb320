//! The report of a validation: its measurements and verdict. Stored with the activation.

use super::{
    observed::{self, Figure, Observed},
    quality::{
        Quality, QualityComparison,
        paired::share_bounds,
        questions::{self, QUESTIONS},
        reference::ReferenceComparison,
    },
    sweep::{Swept, arrivals::OpenLoop},
};
use crate::domain::{
    api::response_shape::ResponseShapes,
    digest::Sha256Digest,
    findings::{Finding, Severity},
    generation_id::GenerationId,
    measure::Throughput,
    planning::plan::Plan,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One validation of one generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The generation. Absent for a server that is none of ours.
    pub generation: Option<GenerationId>,
    /// The profile; the model's name, for a server that is none of ours.
    pub profile: String,
    /// When it ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: jiff::Timestamp,
    /// Each check, in order.
    pub checks: Vec<Check>,
    /// How many questions were answered right. Absent where the profile does not ask, or a check
    /// failed first.
    #[serde(default)]
    pub known_answers: Option<KnownAnswers>,
    /// The answers to the questions, and the probabilities of a text. Absent where the profile does not ask,
    /// or a check failed first.
    #[serde(default)]
    pub quality: Option<Quality>,
    /// The comparison of its quality with the baseline's, where both are known.
    #[serde(default)]
    pub quality_comparison: Option<QualityComparison>,
    /// The comparison with another record of what the model expects, where there is one.
    #[serde(default)]
    pub reference: Option<ReferenceComparison>,
    /// The digest of the lock of its weights, where they are locked.
    #[serde(default)]
    pub weights: Option<Sha256Digest>,
    /// The shape of every kind of answer, for comparison with the next generation's.
    #[serde(default)]
    pub shapes: ResponseShapes,
    /// Fields that answers have now and had not before. Clients need not care.
    #[serde(default)]
    pub added_fields: Vec<String>,
    /// The speed of one stream. Absent where a check failed first.
    pub throughput: Option<Throughput>,
    /// How the speed changes with prompts and streams. Absent where the profile does not ask, or a check
    /// failed first.
    #[serde(default)]
    pub sweep: Option<Swept>,
    /// Requests at a rate of their own. Absent where nobody asked, or something failed first.
    #[serde(default)]
    pub arrivals: Option<OpenLoop>,
    /// The comparison with the baseline profile, where there is one that was measured.
    pub comparison: Option<Comparison>,
    /// The failures, for an operator.
    pub failures: Vec<String>,
    /// The questions that the allowed measurements could not decide.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// The gates that could not be judged, for want of something to compare with.
    #[serde(default)]
    pub not_judged: Vec<String>,
    /// Where the engine differs from its plan.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The engine's behaviour, by its log. Absent where nobody asked.
    #[serde(default)]
    pub actual: Option<Observed>,
    /// The figures that were planned, beside those that were seen.
    #[serde(default)]
    pub figures: Vec<Figure>,
}

/// The verdict of a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every gate was shown to be met.
    Pass,
    /// A gate was shown not to be met.
    Fail,
    /// A gate was shown neither to be met nor not, within the allowed measurements.
    Inconclusive,
}

/// One named check of the API or of the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// A stable name: `chat-stream`.
    pub name: String,
    /// The outcome.
    pub verdict: CheckOutcome,
    /// Why it failed or was skipped. Absent: there is nothing to add.
    pub detail: Option<String>,
    /// How long it took, milliseconds. Checks of the same answer share its time: the first has it.
    pub ms: f64,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Checked")]
pub enum CheckOutcome {
    /// Passed.
    Pass,
    /// Failed.
    Fail,
    /// The server does not offer this, and need not.
    Skipped,
}

/// How many of the shipped questions were answered right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownAnswers {
    /// The number of right answers.
    pub right: u32,
    /// The number of questions that were asked.
    pub asked: u32,
    /// The number of questions that were not asked, since at this server's speed they would have taken too
    /// long: [`super::quality::questions::TIME`].
    #[serde(default)]
    pub not_asked: u32,
    /// The version of the set: [`super::quality::questions::VERSION`].
    pub version: u32,
}

/// This generation against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The baseline profile.
    pub profile: String,
    /// The baseline's generation.
    pub generation: GenerationId,
    /// When the baseline was measured.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: jiff::Timestamp,
    /// The baseline's median decode tokens/s.
    pub(crate) baseline_tokens_per_second: f64,
    /// This one's median over the baseline's.
    pub ratio: f64,
    /// Where that ratio lies with 95 % confidence. Absent where one of the two was measured only once.
    #[serde(default)]
    pub bounds: Option<[f64; 2]>,
    /// Whether the baseline was measured just before, on the server that this one replaced. Else it is a
    /// stored measurement.
    #[serde(default)]
    pub live: bool,
    /// The least ratio that passes.
    pub(crate) min_ratio: f64,
}

impl Report {
    /// Adds what the engine did, compared with its plan. A fatal finding fails the validation.
    pub fn held_against(&mut self, plan: &Plan, actual: Observed) {
        self.findings = observed::compare(plan, &actual);
        let speed = self.throughput.as_ref();
        let decode = speed.map(|speed| speed.decode_tokens_per_second.median);
        self.figures = observed::figures(plan, &actual, decode);
        self.actual = Some(actual);
        let fatal = self.findings.iter().filter(|finding| finding.severity == Severity::Fatal);
        self.failures.extend(fatal.map(|finding| finding.message.clone()));
    }

    /// Whether it tells what a model of these weights expects at the texts of today.
    pub(crate) fn records(&self, weights: Sha256Digest) -> bool {
        self.weights == Some(weights) && self.quality.as_ref().is_some_and(Quality::is_a_record)
    }

    /// Whether it answers as an API should, at any speed.
    pub(crate) fn answers(&self) -> bool {
        !self.checks.is_empty() && !self.checks.iter().any(Check::failed)
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match (self.failures.is_empty(), self.doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Inconclusive,
            (true, true) => Verdict::Pass,
        }
    }

    /// Whether every gate was shown to be met.
    pub fn passed(&self) -> bool {
        self.verdict() == Verdict::Pass
    }

    /// Why it did not pass. Empty: it passed.
    pub fn reasons(&self) -> Vec<&str> {
        self.failures.iter().chain(&self.doubts).map(String::as_str).collect()
    }
}

impl KnownAnswers {
    /// Counts the right answers.
    pub fn of(quality: &Quality) -> Self {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            right: count(quality.answers.iter().filter(|answer| answer.right).count()),
            asked: count(quality.answers.len()),
            not_asked: count(QUESTIONS.len().saturating_sub(quality.answers.len())),
            version: questions::VERSION,
        }
    }

    /// The share of right answers among those asked: 0 to 1.
    pub(crate) fn share(self) -> f64 {
        f64::from(self.right) / f64::from(self.asked.max(1))
    }

    /// Where that share lies with 95 % confidence, of all questions like these.
    pub(crate) fn bounds(self) -> [f64; 2] {
        share_bounds(self.right, self.asked)
    }
}

impl fmt::Display for KnownAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} right", self.right, self.asked)?;
        match self.not_asked {
            0 => Ok(()),
            more => write!(f, ", {more} more not asked for want of time"),
        }
    }
}

impl Check {
    /// Whether it failed.
    pub(crate) fn failed(&self) -> bool {
        self.verdict == CheckOutcome::Fail
    }
}

impl Verdict {
    /// The name in documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

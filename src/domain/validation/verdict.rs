//! From measurements to a verdict.
//!
//! A generation passes only on evidence: a gate without a measurement fails.

use super::{
    quality::{
        Quality, QualityComparison,
        reference::{Reference, ReferenceComparison},
        verdict::{self as quality_verdict, QualityEvidence},
    },
    report::{Check, Comparison, KnownAnswers, Report},
    sequential::{self, SequentialResult},
    sweep::arrivals::OpenLoop,
};
use crate::domain::{
    measure::{Interval, Throughput, run::Run},
    profile::{Arrivals, Baseline, Gates},
};

/// The evidence about one generation.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The gates of its profile.
    pub gates: &'a Gates,
    /// The checks that ran, in order.
    pub checks: &'a [Check],
    /// The result of the questions, if they were asked.
    pub known_answers: Option<KnownAnswers>,
    /// The answers, if they were asked for.
    pub quality: Option<&'a Quality>,
    /// The speed, if it was measured.
    pub throughput: Option<&'a Throughput>,
    /// The baseline, if there is one.
    pub basis: Option<Basis<'a>>,
    /// Another record of what the model expects, if there is one.
    pub reference: Option<Reference<'a>>,
}

/// The measurements of the baseline.
#[derive(Clone, Copy, Debug)]
pub enum Basis<'a> {
    /// The last report of the baseline's profile.
    Stored(&'a Report),
    /// The measurement just made, on the server that the candidate replaces.
    Live(&'a Report),
}

impl<'a> Basis<'a> {
    const fn report(self) -> &'a Report {
        match self {
            Self::Stored(report) | Self::Live(report) => report,
        }
    }

    /// The speed of the baseline, if these gates compare with it. A baseline that failed its own gates would
    /// be an excuse, not a yardstick.
    pub(crate) fn throughput(self, gates: &Gates) -> Option<&'a Throughput> {
        self.fit(gates)?.throughput.as_ref()
    }

    /// The quality of the baseline, if these gates compare with it.
    pub(crate) fn quality(self, gates: &Gates) -> Option<&'a Quality> {
        self.fit(gates)?.quality.as_ref()
    }

    fn fit(self, gates: &Gates) -> Option<&'a Report> {
        let Baseline { profile, .. } = gates.baseline.as_ref()?;
        Some(self.report()).filter(|report| report.profile == *profile && report.passed())
    }
}

/// The judgement of the evidence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// The failures, for an operator.
    pub failures: Vec<String>,
    /// The questions that the measurements could not decide. With no failure and no doubt, it passes.
    pub doubts: Vec<String>,
    /// The gates that could not be judged. Where the profile requires them, each is a failure too.
    pub not_judged: Vec<String>,
    /// The comparison of speed with the baseline, where both were measured.
    pub comparison: Option<Comparison>,
    /// The comparison of quality with the baseline, where both were measured.
    pub(crate) quality: Option<QualityComparison>,
    /// The comparison with another record of the model.
    pub(crate) reference: Option<ReferenceComparison>,
}

/// Compares these decode rates with the gates, and with those of the baseline: returns what the floor and the
/// ratio show. Below in either is a failure, and open in either wants more measurements.
pub(crate) fn speed(gates: &Gates, ours: &Run, theirs: Option<&Run>) -> [SequentialResult; 2] {
    let floor = sequential::floor(ours, gates.min_decode_tokens_per_second);
    let ratio = match (&gates.baseline, theirs) {
        (Some(Baseline { min_ratio, .. }), Some(theirs)) => sequential::ratio(ours, theirs, *min_ratio),
        _ => SequentialResult::Above,
    };
    [floor, ratio]
}

/// Each gate beside the baseline that cannot be judged with this basis, and why.
pub fn not_judgeable(gates: &Gates, basis: Option<Basis<'_>>) -> Vec<NotJudged> {
    let quality = basis.and_then(|basis| basis.quality(gates));
    let mut open = speed_not_judgeable(gates, basis);
    open.extend(NotJudged::all(quality_verdict::not_judgeable(gates, quality), requires_quality(gates)));
    open
}

fn speed_not_judgeable(gates: &Gates, basis: Option<Basis<'_>>) -> Vec<NotJudged> {
    let unknown = basis.is_none_or(|basis| basis.throughput(gates).is_none());
    let why = gates.baseline.as_ref().filter(|_| unknown).map(|Baseline { profile, .. }| {
        format!("the gate on speed is not judged: `{profile}` was never measured on this host")
    });
    NotJudged::all(why, requires(gates))
}

/// A gate that cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJudged {
    /// Which, and why.
    pub why: String,
    /// Whether that is a failure: unless the profile says that it may be so.
    pub fails: bool,
}

impl NotJudged {
    fn all(why: impl IntoIterator<Item = String>, fails: bool) -> Vec<Self> {
        why.into_iter().map(|why| Self { why, fails }).collect()
    }
}

/// Whether a gate that cannot be judged fails.
fn requires(gates: &Gates) -> bool {
    gates.baseline.as_ref().is_none_or(|baseline| baseline.required)
}

/// Whether a limit of the quality that cannot be judged fails.
fn requires_quality(gates: &Gates) -> bool {
    requires(gates) && gates.quality.required
}

/// Judges the evidence.
pub fn judge(evidence: Evidence<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let failures = &mut judgement.failures;
    failures.extend(evidence.checks.iter().filter(|check| check.failed()).map(|check| {
        format!("check `{}`: {}", check.name, check.detail.as_deref().unwrap_or("not as it should be"))
    }));
    // After a failed check nothing more is measured, and its message says why.
    let complete = failures.is_empty();
    if complete && evidence.checks.is_empty() {
        failures.push("nothing was checked".to_owned());
    }
    if evidence.known_answers.is_none() && complete && evidence.gates.min_known_answers.is_some() {
        failures.push("the questions with known answers were not asked".to_owned());
    }
    let quality = quality_verdict::judge(QualityEvidence {
        gates: evidence.gates,
        known_answers: evidence.known_answers,
        quality: evidence.quality,
        baseline: evidence.basis.and_then(|basis| basis.quality(evidence.gates)),
        reference: evidence.reference,
    });
    failures.extend(quality.failures);
    judgement.doubts.extend(quality.doubts);
    judgement.quality = quality.comparison;
    judgement.reference = quality.reference;
    if complete {
        let mut open = speed_not_judgeable(evidence.gates, evidence.basis);
        open.extend(NotJudged::all(quality.not_judged, requires_quality(evidence.gates)));
        open.extend(NotJudged::all(quality.untold, false));
        judgement.failures.extend(open.iter().filter(|open| open.fails).map(|open| open.why.clone()));
        judgement.not_judged = open.into_iter().map(|open| open.why).collect();
    }
    let failures = &mut judgement.failures;
    match evidence.throughput {
        Some(throughput) => fast_enough(evidence, throughput, &mut judgement),
        None if complete => failures.push("the decode rate was not measured".to_owned()),
        None => {}
    }
    judgement
}

impl Judgement {
    /// Adds what requests at a rate of their own showed.
    pub(crate) fn add(&mut self, wanted: &Arrivals, seen: Option<&OpenLoop>) {
        let Some((least, seen)) = wanted.min_goodput.zip(seen) else { return };
        match seen.against(least) {
            SequentialResult::Above => {}
            SequentialResult::Below => self.failures.push(format!("{}, below {least}", seen.told())),
            SequentialResult::Open => {
                self.doubts.push(format!("{}, which neither meets nor misses {least}", seen.told()));
            }
        }
    }
}

fn fast_enough(evidence: Evidence<'_>, throughput: &Throughput, judgement: &mut Judgement) {
    let gates = evidence.gates;
    let ours = throughput.run().unwrap_or_else(|| Run::alone(&[]));
    let theirs = evidence.basis.and_then(|basis| basis.throughput(gates)?.run());
    let [floor, ratio] = speed(gates, &ours, theirs.as_ref());
    let users = beside(&[
        ("it", Some(throughput)),
        ("the baseline", evidence.basis.and_then(|basis| basis.throughput(gates))),
    ]);
    let Interval { median, low, high, n } = throughput.decode_tokens_per_second;
    let least = gates.min_decode_tokens_per_second;
    match floor {
        SequentialResult::Above => {}
        SequentialResult::Below => {
            let (rate, floor) = apart(median, least, 1);
            judgement.failures.push(format!("decode {rate} tokens/s is below the floor of {floor}"));
        }
        SequentialResult::Open => judgement.doubts.push(format!(
            "decode {median:.1} tokens/s (95 %: {low:.1} to {high:.1}) after {n} requests{users} neither meets nor \
             misses the floor of {least:.1}"
        )),
    }
    judgement.comparison = compare(evidence, throughput);
    let Some(comparison) = &judgement.comparison else { return };
    match ratio {
        SequentialResult::Above => {}
        SequentialResult::Below => judgement.failures.push(worse(comparison)),
        SequentialResult::Open => judgement.doubts.push(format!(
            "decode at {:.2} of `{}`{} after {n} requests{users} neither meets nor misses the tolerated {:.2}",
            comparison.ratio,
            comparison.profile,
            comparison
                .bounds
                .map_or_else(String::new, |[low, high]| format!(" (95 %: {low:.2} to {high:.2})")),
            comparison.min_ratio
        )),
    }
}

fn compare(evidence: Evidence<'_>, throughput: &Throughput) -> Option<Comparison> {
    let Baseline { profile, min_ratio, .. } = evidence.gates.baseline.as_ref()?;
    let basis = evidence.basis?;
    let baseline = basis.report();
    let measured = basis.throughput(evidence.gates)?;
    let theirs = measured.decode_tokens_per_second.median;
    let runs = throughput.run().zip(measured.run());
    let bounds = runs.and_then(|(ours, theirs)| sequential::bounds(&ours, &theirs));
    Some(Comparison {
        profile: profile.clone(),
        generation: baseline.generation?,
        at: baseline.at,
        baseline_tokens_per_second: theirs,
        ratio: throughput.decode_tokens_per_second.median / theirs,
        bounds,
        live: matches!(basis, Basis::Live(_)),
        min_ratio: *min_ratio,
    })
}

/// Says who was measured beside users, and beside how many.
fn beside(measured: &[(&str, Option<&Throughput>)]) -> String {
    let users = |(who, measured): &(&str, Option<&Throughput>)| {
        let users = measured.map(Throughput::beside).filter(|users| *users > 0.0)?;
        Some(format!(", {who} measured beside {users:.0} users"))
    };
    measured.iter().filter_map(users).collect()
}

fn worse(comparison: &Comparison) -> String {
    let (ratio, least) = apart(comparison.ratio, comparison.min_ratio, 2);
    format!(
        "decode is {ratio} of the {:.1} tokens/s of `{}` (generation {}), below the tolerated {least}",
        comparison.baseline_tokens_per_second, comparison.profile, comparison.generation
    )
}

/// Writes both numbers with so many decimals, and more where they would read the same: "5.0 is below 5.0"
/// explains nothing.
fn apart(value: f64, limit: f64, decimals: usize) -> (String, String) {
    const MOST_DECIMALS: usize = 6;
    let shown = |decimals: usize| (format!("{value:.decimals$}"), format!("{limit:.decimals$}"));
    (decimals..MOST_DECIMALS)
        .map(shown)
        .find(|(value, limit)| value != limit)
        .unwrap_or_else(|| shown(MOST_DECIMALS))
}

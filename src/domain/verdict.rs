//! From measurements to a verdict.
//!
//! A generation passes only on evidence: what a gate asks for and nobody measured is a failure, not a pass.

use super::{
    profile::{Baseline, Gates},
    report::{Check, Comparison, KnownAnswers, Report, Throughput},
};

/// Everything that was found out about one generation.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What its profile asks for.
    pub gates: &'a Gates,
    /// The checks that ran, in order.
    pub checks: &'a [Check],
    /// The questions' result, if they were asked.
    pub known_answers: Option<KnownAnswers>,
    /// Its speed, if it was measured.
    pub throughput: Option<&'a Throughput>,
    /// The last report of the profile to compare with, if there is one.
    pub baseline: Option<&'a Report>,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Why it does not pass, for an operator. Empty: it passes.
    pub failures: Vec<String>,
    /// Against the baseline, where both were measured.
    pub comparison: Option<Comparison>,
}

/// Judges the evidence.
pub fn judge(evidence: Evidence<'_>) -> Verdict {
    let mut failures: Vec<String> = evidence
        .checks
        .iter()
        .filter_map(|check| {
            let failure = check.failure.as_ref()?;
            Some(format!("check `{}`: {failure}", check.name))
        })
        .collect();
    // After a failed check nothing more is measured, and its own sentence says why.
    let complete = failures.is_empty();
    if complete && evidence.checks.is_empty() {
        failures.push("nothing was checked".to_owned());
    }
    match evidence.known_answers {
        Some(answers) => failures.extend(too_few_answers(evidence.gates, answers)),
        None if complete && evidence.gates.min_known_answers.is_some() => {
            failures.push("the questions with known answers were not asked".to_owned());
        }
        None => {}
    }
    match evidence.throughput {
        Some(throughput) => failures.extend(too_slow(evidence.gates, throughput)),
        None if complete => failures.push("the decode rate was not measured".to_owned()),
        None => {}
    }
    let comparison = compare(evidence);
    failures.extend(comparison.as_ref().and_then(worse));
    Verdict { failures, comparison }
}

fn too_few_answers(gates: &Gates, answers: KnownAnswers) -> Option<String> {
    let least = gates.min_known_answers?;
    let share = f64::from(answers.right) / f64::from(answers.asked);
    // Written so that 0 of 0 does not pass.
    let enough = share >= least;
    (!enough).then(|| {
        format!("{} of {} known answers were right, below the share of {least}", answers.right, answers.asked)
    })
}

fn too_slow(gates: &Gates, throughput: &Throughput) -> Vec<String> {
    let mut failures = Vec::new();
    if throughput.requests < gates.repetitions {
        failures.push(format!("{} of {} measured requests ended", throughput.requests, gates.repetitions));
    }
    let rate = throughput.decode_tokens_per_second.median;
    let floor = gates.min_decode_tokens_per_second;
    let enough = rate >= floor;
    if !enough {
        let (rate, floor) = apart(rate, floor, 1);
        failures.push(format!("decode {rate} tokens/s is below the floor of {floor}"));
    }
    failures
}

fn compare(evidence: Evidence<'_>) -> Option<Comparison> {
    let Baseline { profile, min_ratio } = evidence.gates.baseline.as_ref()?;
    // A baseline that failed its own gates would be an excuse, not a yardstick.
    let baseline = evidence.baseline.filter(|baseline| baseline.profile == *profile && baseline.passed())?;
    let theirs = baseline.throughput.as_ref()?.decode_tokens_per_second.median;
    let ours = evidence.throughput?.decode_tokens_per_second.median;
    Some(Comparison {
        profile: profile.clone(),
        generation: baseline.generation,
        at: baseline.at,
        baseline_tokens_per_second: theirs,
        ratio: ours / theirs,
        min_ratio: *min_ratio,
    })
}

fn worse(comparison: &Comparison) -> Option<String> {
    let enough = comparison.ratio >= comparison.min_ratio;
    (!enough).then(|| {
        let (ratio, least) = apart(comparison.ratio, comparison.min_ratio, 2);
        format!(
            "decode is {ratio} of the {:.1} tokens/s of `{}` (generation {}), below the tolerated {least}",
            comparison.baseline_tokens_per_second, comparison.profile, comparison.generation
        )
    })
}

/// Both numbers with so many decimals, and more where they would read the same: "5.0 is below 5.0"
/// explains nothing.
fn apart(value: f64, limit: f64, decimals: usize) -> (String, String) {
    const MOST_DECIMALS: usize = 6;
    let shown = |decimals: usize| (format!("{value:.decimals$}"), format!("{limit:.decimals$}"));
    (decimals..MOST_DECIMALS)
        .map(shown)
        .find(|(value, limit)| value != limit)
        .unwrap_or_else(|| shown(MOST_DECIMALS))
}

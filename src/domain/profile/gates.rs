//! The gates of a validation: the usual ones, and what must hold of any.

use super::{
    checked::{Profile, unplaced},
    document::DocumentError,
    rules,
    values::{Arrivals, Gates, Limits, QualityLimits, Sweep},
};
use crate::domain::problem::Problem;
use std::time::Duration;

const MIN_TOKENS_PER_SECOND: f64 = 5.0;
const OUTPUT_TOKENS: u32 = 128;
const REPETITIONS: u32 = 3;
/// The default warm-ups. The first request after a start pays for compilation.
const WARMUPS: u32 = 1;
/// The default lengths of prompts: short, usual and long.
const PROMPT_TOKENS: [u32; 3] = [128, 1024, 4096];
const CONCURRENCY: [u32; 4] = [1, 2, 4, 8];
const SWEEP: Duration = Duration::from_mins(1);
/// The share of intervals of a share that miss it below: were all of so many requests good, it lies above the root of this.
const OUTSIDE: f64 = 0.025;
/// The most requests at a rate of their own.
const MOST_REQUESTS: f64 = 10_000.0;

impl Default for Gates {
    /// The gates of a profile without a `[validation]`.
    fn default() -> Self {
        Self {
            min_decode_tokens_per_second: MIN_TOKENS_PER_SECOND,
            output_tokens: OUTPUT_TOKENS,
            repetitions: REPETITIONS,
            warmups: WARMUPS,
            baseline: None,
            min_known_answers: None,
            max_perplexity_ratio: None,
            quality: QualityLimits::default(),
            sweep: Sweep::default(),
            arrivals: None,
        }
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self { prompt_tokens: PROMPT_TOKENS.into(), concurrency: CONCURRENCY.into(), time: SWEEP }
    }
}

/// Checks gates that did not come from a file.
pub(super) fn check(profile: &Profile, gates: &Gates) -> Result<(), Problem> {
    let at = |key: &str| unplaced(format!("validation.{key}"));
    rules::above_zero(rules::MOST_TOKENS_PER_SECOND)(gates.min_decode_tokens_per_second)
        .map_err(at("min-decode-tokens-per-second"))?;
    for (key, range, value) in [
        ("output-tokens", rules::OUTPUT_TOKENS, gates.output_tokens),
        ("repetitions", rules::REPETITIONS, gates.repetitions),
        ("warmups", rules::WARMUPS, gates.warmups),
    ] {
        rules::whole(range)(value.into()).map_err(at(key))?;
    }
    if gates.output_tokens >= profile.limits.max_model_len {
        return Err(at("output-tokens")(longer_than_context(gates, profile.limits)));
    }
    sweep(&gates.sweep)?;
    if let Some(wanted) = &gates.arrivals {
        arrivals(wanted).map_err(at("arrivals.min-goodput"))?;
    }
    if let Some(baseline) = &gates.baseline {
        other_profile(&profile.name, baseline.profile.clone()).map_err(at("baseline.profile"))?;
        rules::above_zero(rules::MOST_RATIO)(baseline.min_ratio).map_err(at("baseline.min-ratio"))?;
    }
    if let Some(answers) = gates.min_known_answers {
        rules::share(answers).map_err(at("quality.min-known-answers"))?;
    }
    if let Some(ratio) = gates.max_perplexity_ratio {
        rules::above_zero(rules::MOST_RATIO)(ratio).map_err(at("quality.max-perplexity-ratio"))?;
    }
    let QualityLimits { max_cut_answers, max_divergence, max_divergence_same_weights, .. } = gates.quality;
    rules::share(max_cut_answers).map_err(at("quality.max-cut-answers"))?;
    for (key, limit) in [
        ("quality.max-divergence", max_divergence),
        ("quality.max-divergence-same-weights", Some(max_divergence_same_weights)),
    ] {
        limit.map(rules::above_zero(rules::MOST_RATIO)).transpose().map_err(at(key))?;
    }
    Ok(())
}

fn sweep(sweep: &Sweep) -> Result<(), Problem> {
    let at = |key: &str| unplaced(format!("validation.sweep.{key}"));
    let written = |values: &[u32]| values.iter().copied().map(i64::from).collect();
    rules::rising(rules::PROMPT_TOKENS)(written(&sweep.prompt_tokens)).map_err(at("prompt-tokens"))?;
    rules::rising(rules::STREAMS)(written(&sweep.concurrency)).map_err(at("concurrency"))?;
    rules::within(rules::LONGEST_SWEEP)(sweep.time).map_err(at("time"))?;
    Ok(())
}

/// Checks that a share of good requests can be judged at all.
pub(super) fn arrivals(wanted: &Arrivals) -> Result<(), DocumentError> {
    let Some(least) = wanted.min_goodput else { return Ok(()) };
    let count = wanted.requests();
    if OUTSIDE.powf(1.0 / f64::from(count)) < least {
        return Err(DocumentError::new(format!("{count} requests cannot show that, were all of them good"))
            .help("let them come for longer, or at a greater rate: a share of 0.9 takes 36 of them, 0.99 takes 368"));
    }
    Ok(())
}

impl Arrivals {
    /// These, if the share of good ones can be judged.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::domain::problem::Kind::Usage) where so many requests cannot show it.
    pub(crate) fn checked(self) -> Result<Self, Problem> {
        arrivals(&self).map_err(unplaced("validation.arrivals.min-goodput"))?;
        Ok(self)
    }

    /// The number of requests that come: one at least.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
    pub fn requests(&self) -> u32 {
        (self.rate * self.time.as_secs_f64()).round().clamp(1.0, MOST_REQUESTS) as u32
    }
}

/// Checks the name of a profile other than `name`.
pub(super) fn other_profile(name: &str, text: String) -> Result<String, DocumentError> {
    if text == name {
        return Err(DocumentError::new("this is the profile itself")
            .help("name the profile that is served today, or leave out the table"));
    }
    rules::name(text)
}

pub(super) fn longer_than_context(gates: &Gates, limits: Limits) -> DocumentError {
    DocumentError::new(format!(
        "{} tokens do not fit into a context of {}",
        gates.output_tokens, limits.max_model_len
    ))
    .what("`validation.output-tokens` must be less than `limits.max-model-len`")
    .help("measure fewer tokens, or allow a longer context")
}

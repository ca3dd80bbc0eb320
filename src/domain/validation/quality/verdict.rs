//! From answers and probabilities to what they fail, leave open, and cannot be judged by.

use super::{
    Quality, QualityComparison, by_chance,
    endings::Endings,
    expectations::{Against, Divergence, MOST},
    questions::MAX_TOKENS,
    reference::{Reference, ReferenceComparison, ReferenceOf},
};
use crate::domain::profile::{Baseline, Gates};
use crate::domain::validation::report::KnownAnswers;

/// The evidence of the quality of a candidate, and of what it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct QualityEvidence<'a> {
    /// The gates of its profile.
    pub gates: &'a Gates,
    /// The result of the questions, if they were asked.
    pub known_answers: Option<KnownAnswers>,
    /// The answers and probabilities, if they were asked for.
    pub quality: Option<&'a Quality>,
    /// Those of the baseline, if they are known.
    pub baseline: Option<&'a Quality>,
    /// Another record to compare with, if there is one.
    pub reference: Option<Reference<'a>>,
}

/// The judgement of the quality.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QualityJudgement {
    /// The failures, for an operator.
    pub failures: Vec<String>,
    /// The limits that could not be decided.
    pub doubts: Vec<String>,
    /// The limits that could not be judged.
    pub not_judged: Vec<String>,
    /// Those of them that nobody asked for.
    pub untold: Vec<String>,
    /// The comparison with the baseline, where both were measured.
    pub comparison: Option<QualityComparison>,
    /// The comparison with the record, where there is one.
    pub reference: Option<ReferenceComparison>,
}

/// Judges the quality.
pub fn judge(evidence: QualityEvidence<'_>) -> QualityJudgement {
    let comparison = evidence.quality.zip(evidence.baseline).and_then(|(ours, theirs)| ours.against(theirs));
    let not_judged = left_open(evidence, comparison.as_ref());
    let mut judgement = QualityJudgement { not_judged, ..QualityJudgement::default() };
    let few = evidence.known_answers.and_then(|answers| too_few_answers(evidence.gates, answers));
    judgement.failures.extend(few);
    let Some(quality) = evidence.quality else { return judgement };
    judgement.failures.extend(quality.gibberish());
    match comparison.as_ref().and_then(|comparison| comparison.endings.as_ref()) {
        Some(endings) => {
            // Another tokenizer needs another number of tokens for the same words.
            let alike = evidence.baseline.is_none_or(|theirs| !quality.reads_otherwise(theirs));
            judgement.failures.extend(ends_less(endings));
            judgement.doubts.extend(longer(endings).filter(|_| alike));
        }
        None => judgement.failures.extend(cut_off(evidence.gates, quality)),
    }
    if let Some(comparison) = comparison.as_ref().filter(|comparison| comparison.is_loss()) {
        judgement.failures.push(format!(
            "{} known answers of the baseline are lost and {} gained (probability by chance {})",
            comparison.lost,
            comparison.gained,
            comparison.by_chance()
        ));
    }
    if let Some(comparison) = &comparison {
        perplexity(evidence.gates, comparison, &mut judgement);
    }
    if let (Some(limit), Some(theirs)) = (evidence.gates.quality.max_divergence, evidence.baseline)
        && theirs.expectations.is_some()
    {
        diverges("the baseline", quality.divergence(theirs).as_ref(), limit, &mut judgement);
    }
    judgement.comparison = comparison;
    judgement.reference = evidence.reference.map(|reference| beside(evidence.gates, quality, reference));
    if let Some(ReferenceComparison { named, limit, divergence, .. }) = judgement.reference.clone() {
        let asked = judgement.not_judged.len();
        diverges(&named, divergence.as_ref(), limit, &mut judgement);
        if evidence.reference.is_some_and(|reference| !reference.required) {
            judgement.untold = judgement.not_judged.split_off(asked);
        }
    }
    let named = evidence.reference.map(|reference| (reference.named, reference.quality));
    let beside = evidence.baseline.map(|quality| ("the baseline", quality)).into_iter().chain(named);
    let otherwise = beside.filter(|(_, theirs)| quality.renders_otherwise(theirs));
    judgement.untold.extend(otherwise.map(|(from, _)| other_template(from)));
    judgement
}

fn other_template(from: &str) -> String {
    format!(
        "the divergence at the tokens of the chat template is not judged: it renders a conversation otherwise than that \
         of {from}"
    )
}

/// The limit of the divergence from another quantisation, where the profile names none.
const MOST_DIVERGENCE: f64 = 0.15;

fn beside(gates: &Gates, quality: &Quality, reference: Reference<'_>) -> ReferenceComparison {
    let limits = gates.quality;
    ReferenceComparison {
        named: reference.named.to_owned(),
        of: reference.of,
        limit: match reference.of {
            ReferenceOf::SameWeights => limits.max_divergence_same_weights,
            ReferenceOf::SameModel => limits.max_divergence.unwrap_or(MOST_DIVERGENCE),
        },
        divergence: quality.divergence(reference.quality),
    }
}

/// Holds a divergence against its limit.
fn diverges(from: &str, divergence: Option<&Divergence>, limit: f64, judgement: &mut QualityJudgement) {
    let Some(divergence) = divergence else {
        judgement.not_judged.push(format!(
            "the limit of the divergence from {from} is not judged: the two share no text whose probabilities are known"
        ));
        return;
    };
    let Divergence { mean, error, low, high, tokens, depth, .. } = divergence;
    let (Some(shown), Some(((mean, error), (low, high)))) =
        (divergence.shows(limit), mean.zip(*error).zip(low.zip(*high)))
    else {
        judgement.not_judged.push(format!(
            "the limit of the divergence from {from} is not judged: the engine tells the probabilities of the text's own \
             tokens alone, or of too few"
        ));
        return;
    };
    let fewer =
        if *depth < MOST { format!(", by the {depth} likeliest of each alone") } else { String::new() };
    let said = format!(
        "its expectations diverge from those of {from} by {mean:.4} ± {error:.4} nats a token (95 %: {low:.4} to \
         {high:.4}) over {tokens} tokens{fewer}"
    );
    match shown {
        Against::Within => {}
        Against::Beyond => judgement.failures.push(format!("{said}, beyond the tolerated {limit}")),
        Against::Open => {
            judgement.doubts.push(format!("{said}, which neither meets nor misses the tolerated {limit}"));
        }
    }
}

/// The limits that cannot be judged with this baseline, and why.
pub(crate) fn not_judgeable(gates: &Gates, baseline: Option<&Quality>) -> Vec<String> {
    let Some(Baseline { profile, .. }) = &gates.baseline else {
        let alone = |what: &str| format!("{what} is not judged: the profile names no baseline");
        let perplexity = gates.max_perplexity_ratio.map(|_| alone("the gate on perplexity"));
        let divergence = gates.quality.max_divergence.map(|_| alone("the limit of the divergence"));
        return perplexity.into_iter().chain(divergence).collect();
    };
    let known = baseline.is_some_and(|quality| !quality.logprobs.is_empty());
    let expects = baseline.is_some_and(|quality| quality.expectations.is_some());
    let perplexity =
        |_| format!("the gate on perplexity is not judged: that of `{profile}` is not known on this host");
    let divergence = |_| {
        format!(
            "the limit of the divergence from the baseline is not judged: what `{profile}` expects is not known on this host"
        )
    };
    let perplexity = gates.max_perplexity_ratio.filter(|_| !known).map(perplexity);
    let divergence = gates.quality.max_divergence.filter(|_| !expects).map(divergence);
    perplexity.into_iter().chain(divergence).collect()
}

/// The limits that this quality and this comparison leave unjudged, and why.
fn left_open(evidence: QualityEvidence<'_>, comparison: Option<&QualityComparison>) -> Vec<String> {
    let mut open = not_judgeable(evidence.gates, evidence.baseline);
    // Where somebody named a record in place of a baseline, it is held against that.
    let named = evidence.reference.is_some_and(|reference| reference.required);
    if named && evidence.gates.baseline.is_none() {
        open.retain(|why| !why.contains("divergence"));
    }
    let ratio = comparison.and_then(|comparison| comparison.perplexity_ratio);
    if evidence.gates.max_perplexity_ratio.is_some()
        && ratio.is_none()
        && !open.iter().any(|why| why.contains("perplexity"))
    {
        open.push(
            "the gate on perplexity is not judged: the two share no text whose probabilities are known"
                .to_owned(),
        );
    }
    open
}

fn too_few_answers(gates: &Gates, answers: KnownAnswers) -> Option<String> {
    let least = gates.min_known_answers?;
    let enough = answers.asked > 0 && answers.share() >= least;
    (!enough).then(|| {
        format!("{} of {} known answers were right, below the share of {least}", answers.right, answers.asked)
    })
}

/// Answers that the limit cut off, where there is nothing to compare with.
fn cut_off(gates: &Gates, quality: &Quality) -> Option<String> {
    let ([cut, known], most) = (quality.cut()?, gates.quality.max_cut_answers);
    (f64::from(cut) > most * f64::from(known)).then(|| {
        format!(
            "{cut} of {known} answers did not end within {MAX_TOKENS} tokens, above the tolerated share of {most}"
        )
    })
}

fn ends_less(endings: &Endings) -> Option<String> {
    let Endings { lost, gained, loss_probability, .. } = endings;
    endings.is_loss().then(|| {
        format!(
            "{lost} answers that the baseline ended by itself did not end within {MAX_TOKENS} tokens, and {gained} the \
             other way round (probability by chance {})",
            by_chance(*loss_probability)
        )
    })
}

fn longer(endings: &Endings) -> Option<String> {
    let Endings { tokens, baseline_tokens, .. } = endings;
    (endings.is_long() && !endings.is_loss()).then(|| {
        format!(
            "its answers have {tokens} tokens, more than twice the {baseline_tokens} of the baseline's: it may not end \
             them where it should, or may read other questions than were asked"
        )
    })
}

fn perplexity(gates: &Gates, comparison: &QualityComparison, judgement: &mut QualityJudgement) {
    let Some((ratio, most)) = comparison.perplexity_ratio.zip(gates.max_perplexity_ratio) else { return };
    let said = format!(
        "perplexity is {:.3} of the baseline's (95 %: {:.3} to {:.3})",
        ratio.value, ratio.low, ratio.high
    );
    if ratio.low > most {
        judgement.failures.push(format!("{said}, above the tolerated {most}"));
    } else if ratio.high > most {
        judgement.doubts.push(format!("{said}, which neither meets nor misses the tolerated {most}"));
    }
}

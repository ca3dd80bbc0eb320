//! Compares the quality of two models: answers and probabilities of the same texts, pair by pair, since what
//! is hard for one is hard for the other.

use super::{
    gibberish::symptom,
    questions::{FEWEST, Question},
};
use crate::domain::measure::stats::{Logarithms, mean_and_error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

/// A text whose probability every model is asked for: some hundred and fifty tokens of plain English,
/// written for this purpose, so that no model has learned it by heart.
pub const TEXT: &str = "The harbour master kept two books. In the first he wrote what the ships declared: \
    so many barrels of oil, so many bales of wool, a crew of nine, nothing else. In the second he wrote what \
    he had seen himself. For thirty years the books had agreed closely enough that nobody asked to see the \
    second one. Then, in a dry autumn, the difference between them began to grow, a few barrels at first, \
    later whole cargoes. He did not suspect theft; the town was too small for that. He suspected the scale \
    on the eastern quay, and one morning, before the first boat came in, he carried his own weights down \
    to it and waited for the light.";

/// The greatest probability of calling an equal model worse, for each comparison.
const ERROR_RATE: f64 = 0.05;

/// The share of answers that may be gibberish by chance.
const MOST_GIBBERISH: f64 = 0.2;

/// The answers of a model, and its probabilities of a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// The answers to the first of [`QUESTIONS`](super::questions::QUESTIONS), in order: to all of them,
    /// unless it is too slow for that.
    pub answers: Vec<Answered>,
    /// The natural logarithms of the probabilities of the tokens of [`TEXT`]. Empty where it does not tell.
    pub logprobs: Vec<f64>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The text of the answer.
    pub text: String,
    /// Whether that is right.
    pub right: bool,
}

/// One model against another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityComparison {
    /// The share of answers that are the same to the letter.
    pub agreement: Option<f64>,
    /// Questions that only the baseline answers right.
    pub lost: u32,
    /// Questions that only this one answers right.
    pub gained: u32,
    /// How probable so great a loss is if neither is better: the exact test of `McNemar`, one-sided.
    pub loss_probability: f64,
    /// This one's perplexity over the baseline's, where both are of the same tokens.
    pub perplexity_ratio: Option<Ratio>,
}

/// A ratio and its bounds at 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Answered {
    /// Judges an answer to this question.
    pub fn of(question: &Question, text: String) -> Self {
        Self { right: question.is_answered_by(&text), text }
    }
}

impl Quality {
    /// The perplexity: two to the bits of surprise at a token of [`TEXT`], on average. Absent where it does
    /// not tell.
    pub fn perplexity(&self) -> Option<f64> {
        let count = self.logprobs.len();
        (count > 0).then(|| (-self.logprobs.iter().sum::<f64>() / count as f64).exp())
    }

    /// What makes the answers gibberish, whatever they should be.
    pub fn gibberish(&self) -> Option<String> {
        let symptoms: Vec<_> =
            self.answers.iter().filter_map(|answer| Some((&answer.text, symptom(&answer.text)?))).collect();
        let share = symptoms.len() as f64 / self.answers.len().max(1) as f64;
        let (text, why) = symptoms.first().filter(|_| share > MOST_GIBBERISH)?;
        let shown: String = text.chars().take(40).collect();
        Some(format!(
            "{} of {} answers are gibberish: {why}, as in `{}`",
            symptoms.len(),
            self.answers.len(),
            shown.escape_debug()
        ))
    }

    /// Compares with `baseline`. Absent where the two share nothing.
    pub fn against(&self, baseline: &Self) -> Option<QualityComparison> {
        // The questions that both were asked.
        let pairs = || self.answers.iter().zip(&baseline.answers);
        let answered = pairs().count() >= FEWEST;
        let perplexity_ratio = self.perplexity_ratio(baseline);
        if !answered && perplexity_ratio.is_none() {
            return None;
        }
        let count = |wanted: fn(bool, bool) -> bool| {
            pairs().filter(|(ours, theirs)| wanted(ours.right, theirs.right)).count() as u64
        };
        let (lost, gained) = if answered {
            (count(|ours, theirs| theirs && !ours), count(|ours, theirs| ours && !theirs))
        } else {
            (0, 0)
        };
        let same = pairs().filter(|(ours, theirs)| ours.text == theirs.text).count();
        Some(QualityComparison {
            agreement: answered.then(|| same as f64 / pairs().count() as f64),
            lost: u32::try_from(lost).ok()?,
            gained: u32::try_from(gained).ok()?,
            loss_probability: at_least(lost, lost + gained),
            perplexity_ratio,
        })
    }

    fn perplexity_ratio(&self, baseline: &Self) -> Option<Ratio> {
        if self.logprobs.len() != baseline.logprobs.len() {
            return None;
        }
        let surprise: Vec<f64> =
            self.logprobs.iter().zip(&baseline.logprobs).map(|(ours, theirs)| theirs - ours).collect();
        let difference: Logarithms = mean_and_error(&surprise)?;
        let half = difference.half_width(ERROR_RATE / 2.0);
        let mean = difference.mean;
        Some(Ratio { value: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
    }
}

impl QualityComparison {
    /// How probable so great a loss is, in words.
    pub(crate) fn by_chance(&self) -> String {
        match self.loss_probability {
            small if small < 0.001 => "below 0.001".to_owned(),
            probability => format!("{probability:.3}"),
        }
    }

    /// Whether the answers are shown to be worse.
    pub fn is_loss(&self) -> bool {
        self.lost > self.gained && self.loss_probability < ERROR_RATE
    }
}

/// The probability of at least `heads` in so many throws of a fair coin.
fn at_least(heads: u64, throws: u64) -> f64 {
    match (heads, Binomial::new(0.5, throws)) {
        (0, _) | (_, Err(_)) => 1.0,
        (heads, Ok(coin)) => coin.sf(heads - 1),
    }
}

//! Compares the quality of two models: answers and probabilities of the same texts, pair by pair, since what
//! is hard for one is hard for the other.

pub mod endings;
pub mod expectations;
pub mod gibberish;
pub mod paired;
pub mod questions;
pub mod reference;
pub mod texts;
pub mod verdict;

use crate::domain::{
    api::openai::Answer,
    measure::stats::{Logarithms, mean_and_error},
};
use endings::{Ending, Endings};
use expectations::{Divergence, Expectations, VERSION};
use gibberish::symptom;
use paired::{ERROR_RATE, Pairs};
use questions::{FEWEST, Question};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text whose probability every model is asked for: some hundred and fifty tokens of plain English,
/// written for this purpose, so that no model has learned it by heart.
pub const TEXT: &str = "The harbour master kept two books. In the first he wrote what the ships declared: \
    so many barrels of oil, so many bales of wool, a crew of nine, nothing else. In the second he wrote what \
    he had seen himself. For thirty years the books had agreed closely enough that nobody asked to see the \
    second one. Then, in a dry autumn, the difference between them began to grow, a few barrels at first, \
    later whole cargoes. He did not suspect theft; the town was too small for that. He suspected the scale \
    on the eastern quay, and one morning, before the first boat came in, he carried his own weights down \
    to it and waited for the light.";

/// How often the probabilities are looked at: after the texts that everyone is asked for, and after the further ones.
const LOOKS: u32 = 2;

/// The reason of an answer that the model ended.
const BY_ITSELF: &str = "stop";

/// The share of answers that may be gibberish by chance.
const MOST_GIBBERISH: f64 = 0.2;

/// The answers of a model, and its probabilities of a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// The answers to the first of [`QUESTIONS`](questions::QUESTIONS), in order: to all of them,
    /// unless it is too slow for that.
    pub answers: Vec<Answered>,
    /// The natural logarithms of the probabilities of the tokens of [`TEXT`]. Empty where it does not tell.
    pub logprobs: Vec<f64>,
    /// The expectations at each token of the texts. Absent in reports of before they were asked for.
    #[serde(default)]
    pub expectations: Option<Expectations>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The text of the answer.
    pub text: String,
    /// Whether that is right.
    pub right: bool,
    /// Why it ended: `stop`, or `length` at the limit of its tokens. Absent in reports of before it was kept.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The tokens of the answer.
    #[serde(default)]
    pub tokens: Option<u32>,
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
    /// How far this one expects otherwise than the baseline. Absent where the two share no text.
    #[serde(default)]
    pub divergence: Option<Divergence>,
    /// How the answers end. Absent where one of the two does not tell.
    #[serde(default)]
    pub endings: Option<Endings>,
    /// The least loss of answers that could have been shown, with the questions that the baseline answers right. Absent
    /// where none could.
    #[serde(default)]
    pub least_shown_loss: Option<u32>,
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
        Self { right: question.is_answered_by(&text), text, finish_reason: None, tokens: None }
    }

    /// Judges an answer to this question, and keeps how it ended.
    pub(crate) fn to(question: &Question, answer: Answer) -> Self {
        let tokens = Some(answer.usage.completion_tokens);
        Self { finish_reason: Some(answer.finish_reason), tokens, ..Self::of(question, answer.text) }
    }

    /// How it ended, where that was kept.
    fn ending(&self) -> Option<Ending> {
        let by_itself = self.finish_reason.as_deref()? == BY_ITSELF;
        Some(Ending { by_itself, tokens: self.tokens? })
    }
}

impl Quality {
    /// The perplexity: two to the bits of surprise at a token of [`TEXT`], on average. Absent where it does
    /// not tell.
    pub fn perplexity(&self) -> Option<f64> {
        let count = self.logprobs.len();
        (count > 0).then(|| (-self.logprobs.iter().sum::<f64>() / count as f64).exp())
    }

    /// The symptom that makes the answers gibberish, whatever they should be.
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

    /// How many answers the limit of their tokens cut off, of how many. Absent where nobody kept that.
    pub fn cut(&self) -> Option<[u32; 2]> {
        let endings: Vec<Ending> = self.answers.iter().filter_map(Answered::ending).collect();
        let cut = endings.iter().filter(|ending| !ending.by_itself).count();
        let known = endings.len();
        (known > 0).then_some([u32::try_from(cut).ok()?, u32::try_from(known).ok()?])
    }

    /// Whether both know the probabilities of a text, and of other tokens: their tokenizers differ.
    pub(crate) fn reads_otherwise(&self, baseline: &Self) -> bool {
        if let Some((ours, theirs)) = self.expectations.as_ref().zip(baseline.expectations.as_ref()) {
            return ours.reads_otherwise(theirs);
        }
        let [ours, theirs] = [self, baseline].map(|quality| quality.logprobs.len());
        ours > 0 && theirs > 0 && ours != theirs
    }

    /// Whether both read texts alike, and render a conversation otherwise.
    pub(crate) fn renders_otherwise(&self, baseline: &Self) -> bool {
        let both = self.expectations.as_ref().zip(baseline.expectations.as_ref());
        both.is_some_and(|(ours, theirs)| ours.renders_otherwise(theirs))
    }

    /// Whether it tells what the model expects at the texts of today, beside their own tokens.
    pub(crate) fn is_a_record(&self) -> bool {
        let tells = |expectations: &Expectations| expectations.version == VERSION && expectations.depth > 0;
        self.expectations.as_ref().is_some_and(tells)
    }

    /// Compares with `baseline`. Absent where the two share nothing.
    pub fn against(&self, baseline: &Self) -> Option<QualityComparison> {
        // The questions that both were asked.
        let pairs = || self.answers.iter().zip(&baseline.answers);
        let answered = pairs().count() >= FEWEST;
        let perplexity_ratio = self.perplexity_ratio(baseline);
        let divergence = self.divergence(baseline);
        if !answered && perplexity_ratio.is_none() && divergence.is_none() {
            return None;
        }
        let judged = || pairs().filter(|_| answered);
        let right = Pairs::of(judged().map(|(ours, theirs)| (ours.right, theirs.right)));
        let theirs_right = judged().filter(|(_, theirs)| theirs.right).count();
        let same = pairs().filter(|(ours, theirs)| ours.text == theirs.text).count();
        Some(QualityComparison {
            agreement: answered.then(|| same as f64 / pairs().count() as f64),
            lost: right.lost,
            gained: right.gained,
            loss_probability: right.loss_probability(),
            perplexity_ratio,
            divergence,
            endings: self.endings(baseline),
            least_shown_loss: Pairs::least_shown(u32::try_from(theirs_right).ok()?),
        })
    }

    fn endings(&self, baseline: &Self) -> Option<Endings> {
        let pairs = self.answers.iter().zip(&baseline.answers);
        let ends: Vec<_> = pairs.filter_map(|(ours, theirs)| ours.ending().zip(theirs.ending())).collect();
        (ends.len() >= FEWEST).then(|| Endings::of(&ends))
    }

    /// How far it expects otherwise than `baseline`. Absent where the two share no text.
    pub fn divergence(&self, baseline: &Self) -> Option<Divergence> {
        self.expectations.as_ref()?.against(baseline.expectations.as_ref()?, LOOKS)
    }

    fn perplexity_ratio(&self, baseline: &Self) -> Option<Ratio> {
        let (surprise, looks) = match self.expectations.as_ref().zip(baseline.expectations.as_ref()) {
            Some((ours, theirs)) => (ours.surprises(theirs), f64::from(LOOKS)),
            None if self.logprobs.len() != baseline.logprobs.len() => return None,
            None => {
                let pairs = self.logprobs.iter().zip(&baseline.logprobs);
                (pairs.map(|(ours, theirs)| theirs - ours).collect(), 1.0)
            }
        };
        let difference: Logarithms = mean_and_error(&surprise)?;
        let half = difference.half_width(ERROR_RATE / 2.0 / looks);
        let mean = difference.mean;
        Some(Ratio { value: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
    }
}

/// A probability in words.
pub(crate) fn by_chance(probability: f64) -> String {
    if probability < 0.001 { "below 0.001".to_owned() } else { format!("{probability:.3}") }
}

impl QualityComparison {
    /// How probable so great a loss is, in words.
    pub(crate) fn by_chance(&self) -> String {
        by_chance(self.loss_probability)
    }

    /// Whether the answers are shown to be worse.
    pub fn is_loss(&self) -> bool {
        Pairs { lost: self.lost, gained: self.gained }.is_loss()
    }
}

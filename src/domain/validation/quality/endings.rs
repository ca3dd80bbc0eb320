//! Compares how the answers of two models end: by themselves, or at the limit of their tokens. A model that lost its end
//! token, or reads another's template, answers right and goes on.

use super::paired::Pairs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers that take more than so many times the baseline's tokens raise a doubt. Sound pairs differ by a tenth; another
/// model's template made it four times as many.
const MOST_TOKENS: u64 = 2;

/// The end of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whether the model ended it, and not the limit.
    pub by_itself: bool,
    /// The tokens of the answer.
    pub tokens: u32,
}

/// How the answers to the same questions end, against the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endings {
    /// Answers that only the baseline ended by itself.
    pub lost: u32,
    /// Answers that only this one ended by itself.
    pub gained: u32,
    /// How probable so great a loss is if neither is better.
    pub loss_probability: f64,
    /// The tokens of this one's answers.
    pub tokens: u64,
    /// The tokens of the baseline's answers.
    pub baseline_tokens: u64,
}

impl Endings {
    /// Compares these pairs of (ours, the baseline's).
    pub fn of(pairs: &[(Ending, Ending)]) -> Self {
        let ended = Pairs::of(pairs.iter().map(|(ours, theirs)| (ours.by_itself, theirs.by_itself)));
        Self {
            lost: ended.lost,
            gained: ended.gained,
            loss_probability: ended.loss_probability(),
            tokens: pairs.iter().map(|(ours, _)| u64::from(ours.tokens)).sum(),
            baseline_tokens: pairs.iter().map(|(_, theirs)| u64::from(theirs.tokens)).sum(),
        }
    }

    /// Whether fewer answers end by themselves than chance explains.
    pub fn is_loss(&self) -> bool {
        Pairs { lost: self.lost, gained: self.gained }.is_loss()
    }

    /// Whether the answers are so much longer that it must be looked at.
    pub fn is_long(&self) -> bool {
        self.tokens > MOST_TOKENS * self.baseline_tokens
    }
}

//! A server's guesses, and how many of them were right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The guesses of a server that speculates, by its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Speculation {
    /// How often tokens were guessed.
    pub drafts: f64,
    /// The tokens that were guessed.
    pub draft_tokens: f64,
    /// Those of them that were right.
    pub accepted_tokens: f64,
}

impl Speculation {
    /// The guesses since `before`. Nothing where nothing was guessed, or the server has started anew.
    #[must_use]
    pub fn since(self, before: Self) -> Option<Self> {
        let since = Self {
            drafts: self.drafts - before.drafts,
            draft_tokens: self.draft_tokens - before.draft_tokens,
            accepted_tokens: self.accepted_tokens - before.accepted_tokens,
        };
        (since.drafts > 0.0 && since.accepted_tokens >= 0.0).then_some(since)
    }

    /// The share of guessed tokens that were right.
    pub fn acceptance(self) -> Option<f64> {
        (self.draft_tokens > 0.0).then(|| self.accepted_tokens / self.draft_tokens)
    }

    /// Tokens of each step of the model, with the one that it adds itself.
    pub fn tokens_per_step(self) -> Option<f64> {
        (self.drafts > 0.0).then(|| 1.0 + self.accepted_tokens / self.drafts)
    }
}

//! How a rehearsal engine can be told to go wrong.

use std::{fmt, str::FromStr};

/// A way in which real servers were seen to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineFault {
    /// Decodes at a twentieth of its rate.
    Slow,
    /// Answers everything with the same character, as damaged weights do.
    WrongText,
    /// Runs out of GPU memory while loading and exits with status 1.
    Crash,
    /// Exits with status 0 on its third completion, as vLLM's API server does when its engine dies.
    CrashServing,
    /// `/health` is fine, and no completion is ever answered.
    Hang,
    /// Two completions work; then `/health` answers 503 and every request 500.
    DeadEngine,
    /// `/health` is fine, and every completion is answered with 500.
    Broken,
    /// Streams end in an error event under status 200.
    ErrorStream,
    /// Streams end without the chunk that counts tokens.
    NoUsage,
    /// Streams end without `[DONE]`.
    NoDone,
    /// The first chunk of a chat stream names no role.
    NoRole,
    /// A chunk in the middle of a stream has a reason for the end.
    TwoEnds,
    /// A stream is cut in the middle of a character, and is no UTF-8.
    HalfCharacter,
    /// The usage does not add up.
    WrongUsage,
    /// An error's code is a text, as after an upgrade of the API.
    TextCode,
    /// Texts in `stop` end nothing.
    IgnoresStop,
    /// Generates some tokens more than `max_tokens`.
    IgnoresLimit,
    /// Requests for another model are answered all the same.
    AnyModel,
    /// A request goes on when its client went away.
    KeepsRunning,
    /// The tokenizer is not the model's: it counts another number of tokens.
    WrongTokens,
    /// The chat template loses the question: fluent answers to nothing.
    WrongTemplate,
    /// The first token is the end of the answer.
    EmptyAnswers,
    /// Says the same two words until it is stopped, as a shuffled layer makes it.
    Repeats,
}

impl EngineFault {
    /// Every fault.
    pub const ALL: [Self; 23] = [
        Self::Slow,
        Self::WrongText,
        Self::Crash,
        Self::CrashServing,
        Self::Hang,
        Self::DeadEngine,
        Self::Broken,
        Self::ErrorStream,
        Self::NoUsage,
        Self::NoDone,
        Self::NoRole,
        Self::TwoEnds,
        Self::HalfCharacter,
        Self::WrongUsage,
        Self::TextCode,
        Self::IgnoresStop,
        Self::IgnoresLimit,
        Self::AnyModel,
        Self::KeepsRunning,
        Self::WrongTokens,
        Self::WrongTemplate,
        Self::EmptyAnswers,
        Self::Repeats,
    ];

    /// Its stable name: `dead-engine`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::WrongText => "wrong-text",
            Self::Crash => "crash",
            Self::CrashServing => "crash-serving",
            Self::Hang => "hang",
            Self::DeadEngine => "dead-engine",
            Self::Broken => "broken",
            Self::ErrorStream => "error-stream",
            Self::NoUsage => "no-usage",
            Self::NoDone => "no-done",
            Self::NoRole => "no-role",
            Self::TwoEnds => "two-ends",
            Self::HalfCharacter => "half-character",
            Self::WrongUsage => "wrong-usage",
            Self::TextCode => "text-code",
            Self::IgnoresStop => "ignores-stop",
            Self::IgnoresLimit => "ignores-limit",
            Self::AnyModel => "any-model",
            Self::KeepsRunning => "keeps-running",
            Self::WrongTokens => "wrong-tokens",
            Self::WrongTemplate => "wrong-template",
            Self::EmptyAnswers => "empty-answers",
            Self::Repeats => "repeats",
        }
    }

    /// What it does, in a few words.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Slow => "decodes at a twentieth of the predicted rate",
            Self::WrongText => "answers gibberish, as damaged weights do",
            Self::Crash => "runs out of GPU memory while loading",
            Self::CrashServing => "exits with status 0 while it is being validated",
            Self::Hang => "is healthy, and never answers a completion",
            Self::DeadEngine => "loses its engine soon after it is ready",
            Self::Broken => "is healthy, and answers every completion with status 500",
            Self::ErrorStream => "ends every stream in an error, under status 200",
            Self::NoUsage => "leaves the usage out of its streams",
            Self::NoDone => "ends its streams without `[DONE]`",
            Self::NoRole => "begins its chat streams without a role",
            Self::TwoEnds => "ends its streams twice",
            Self::HalfCharacter => "sends half of a character in its streams",
            Self::WrongUsage => "counts a token too many",
            Self::TextCode => "gives the codes of its errors as text",
            Self::IgnoresStop => "ignores `stop`",
            Self::IgnoresLimit => "ignores `max_tokens`",
            Self::AnyModel => "answers for models that it does not serve",
            Self::KeepsRunning => "goes on for clients that went away",
            Self::WrongTokens => "tokenizes otherwise than it generates",
            Self::WrongTemplate => "does not hear the question, as with a wrong chat template",
            Self::EmptyAnswers => "ends every answer at once",
            Self::Repeats => "says the same words over and over",
        }
    }
}

impl fmt::Display for EngineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineFault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| format!("no engine fault named `{text}`"))
    }
}

//! The faults that a rehearsal engine can play.

use std::{fmt, str::FromStr};

/// A fault that was seen in real servers.
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
    /// Answers `/health` well, and no completion ever.
    Hang,
    /// Answers two completions; then `/health` with 503 and every request with 500.
    DeadEngine,
    /// Answers `/health` well, and every completion with 500.
    Broken,
    /// Ends streams with an error event under status 200.
    ErrorStream,
    /// Ends streams without the chunk that counts tokens.
    NoUsage,
    /// Ends streams without `[DONE]`.
    NoDone,
    /// Names no role in the first chunk of a chat stream.
    NoRole,
    /// Gives a reason for the end in the middle of a stream.
    TwoEnds,
    /// Cuts a stream in the middle of a character, so that it is no UTF-8.
    HalfCharacter,
    /// Counts a usage that does not add up.
    WrongUsage,
    /// Gives an error's code as a text, as after an upgrade of the API.
    TextCode,
    /// Ignores the texts in `stop`.
    IgnoresStop,
    /// Draws another answer for the same `seed`.
    IgnoresSeed,
    /// Generates some tokens more than `max_tokens`.
    IgnoresLimit,
    /// Answers requests for any other model, too.
    AnyModel,
    /// Goes on with a request when its client went away.
    KeepsRunning,
    /// Counts tokens by a tokenizer that is not the model's.
    WrongTokens,
    /// Loses the question in the chat template: fluent answers to nothing.
    WrongTemplate,
    /// Ends the answer with its first token.
    EmptyAnswers,
    /// Says the same two words until it is stopped, as a shuffled layer does.
    Repeats,
    /// Answers right, and goes on until it is stopped: its end token is lost.
    Endless,
    /// Answers right, and then with white space until it is stopped.
    Blank,
    /// Answers right, and goes on with the next turn, as where special tokens are read as text.
    NextTurn,
    /// Answers right, and expects other tokens: damaged weights that questions do not show.
    Skewed,
}

impl EngineFault {
    /// Every fault.
    pub const ALL: [Self; 28] = [
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
        Self::IgnoresSeed,
        Self::IgnoresLimit,
        Self::AnyModel,
        Self::KeepsRunning,
        Self::WrongTokens,
        Self::WrongTemplate,
        Self::EmptyAnswers,
        Self::Repeats,
        Self::Endless,
        Self::Blank,
        Self::NextTurn,
        Self::Skewed,
    ];

    /// The stable name: `dead-engine`.
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
            Self::IgnoresSeed => "ignores-seed",
            Self::IgnoresLimit => "ignores-limit",
            Self::AnyModel => "any-model",
            Self::KeepsRunning => "keeps-running",
            Self::WrongTokens => "wrong-tokens",
            Self::WrongTemplate => "wrong-template",
            Self::EmptyAnswers => "empty-answers",
            Self::Repeats => "repeats",
            Self::Endless => "endless",
            Self::Blank => "blank",
            Self::NextTurn => "next-turn",
            Self::Skewed => "skewed",
        }
    }

    /// The fault in a few words.
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
            Self::IgnoresSeed => "ignores `seed`",
            Self::IgnoresLimit => "ignores `max_tokens`",
            Self::AnyModel => "answers for models that it does not serve",
            Self::KeepsRunning => "goes on for clients that went away",
            Self::WrongTokens => "tokenizes otherwise than it generates",
            Self::WrongTemplate => "does not hear the question, as with a wrong chat template",
            Self::EmptyAnswers => "ends every answer at once",
            Self::Repeats => "says the same words over and over",
            Self::Endless => "never ends an answer, as when its end token is lost",
            Self::Blank => "follows each answer with white space",
            Self::NextTurn => {
                "asks and answers on after its answer, as where special tokens are read as text"
            }
            Self::Skewed => {
                "answers right, and expects other tokens than it should: damage that questions do not show"
            }
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

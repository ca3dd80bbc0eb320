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
}

impl EngineFault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::Slow,
        Self::WrongText,
        Self::Crash,
        Self::CrashServing,
        Self::Hang,
        Self::DeadEngine,
        Self::Broken,
        Self::ErrorStream,
    ];

    /// Its stable name: `dead-engine`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::WrongText => "wrong-text",
            Self::Crash => "crash",
            Self::CrashServing => "crash-serving",
            Self::Hang => "hang",
            Self::DeadEngine => "dead-engine",
            Self::Broken => "broken",
            Self::ErrorStream => "error-stream",
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

//! Tells how a service manager's job ended, in systemd's words and in a person's.

use std::fmt;

/// The result of one job, as the signal `JobRemoved` names it (`org.freedesktop.systemd1(5)`). It says
/// nothing of the unit: one with a failed condition is `done` and inactive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Carried out.
    Done,
    /// Another job took its place, or somebody canceled it.
    Canceled,
    /// Longer than `JobTimeoutSec=`.
    TimedOut,
    /// The unit failed.
    Failed,
    /// Something that the unit requires failed.
    Dependency,
    /// Does not apply to the unit as it is.
    Skipped,
    /// The unit's text is not what systemd accepts.
    Invalid,
    /// Something that the unit asserts is not so.
    Assertion,
    /// This systemd cannot do that.
    Unsupported,
    /// The job ended, and its end was not heard.
    Unheard,
    /// A result that this version does not know.
    Other(String),
}

impl JobEnd {
    /// The result with this name.
    pub fn named(name: &str) -> Self {
        match name {
            "done" => Self::Done,
            "canceled" => Self::Canceled,
            "timeout" => Self::TimedOut,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "skipped" => Self::Skipped,
            "invalid" => Self::Invalid,
            "assert" => Self::Assertion,
            "unsupported" => Self::Unsupported,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The result in the error of `systemctl start`, by the sentences of systemd 252 to 257.
    pub fn said_by_systemctl(said: &str) -> Self {
        let known = [
            (" canceled.", Self::Canceled),
            (" timed out.", Self::TimedOut),
            ("A dependency job for ", Self::Dependency),
            ("Assertion failed on job for ", Self::Assertion),
            (" not supported on this system.", Self::Unsupported),
            ("Job for ", Self::Failed),
        ];
        match known.into_iter().find(|(words, _)| said.contains(words)) {
            Some((_, end)) => end,
            None => Self::Other(said.lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// Why the unit is not up, where the job alone tells that; the unit's own words are better than `failed`.
    pub fn reason(&self) -> Option<String> {
        let reason = match self {
            Self::Done | Self::Failed | Self::Unheard => return None,
            Self::Canceled => "somebody else's stop or start took its place",
            Self::TimedOut => "its job waited too long for another one",
            Self::Dependency => "a unit that it requires failed",
            Self::Skipped => "its job was skipped",
            Self::Invalid => "systemd does not accept its unit",
            Self::Assertion => "what it asserts is not so",
            Self::Unsupported => "this systemd cannot run it",
            Self::Other(other) => other,
        };
        Some(reason.to_owned())
    }
}

impl fmt::Display for JobEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Canceled => "canceled",
            Self::TimedOut => "timeout",
            Self::Failed => "failed",
            Self::Dependency => "dependency",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::Assertion => "assert",
            Self::Unsupported => "unsupported",
            Self::Unheard => "unheard",
            Self::Other(other) => other,
        })
    }
}

//! The exit status of a command.

use super::{activation::machine::Conclusion, problem::Kind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The command did what was wanted.
    Done,
    /// Something happened that should not.
    Unexpected,
    /// The command line, or a file that a person wrote, is wrong.
    Usage,
    /// The plan was refused.
    Refused,
    /// Files are not what was locked.
    Unverified,
    /// Another awqdeploy is at work.
    Busy,
    /// A deployment was rolled back, or a validation did not pass.
    Failed,
    /// A person is needed.
    Stuck,
    /// A person stopped it.
    Interrupted,
}

impl ExitStatus {
    /// Every status, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Refused,
        Self::Unverified,
        Self::Busy,
        Self::Failed,
        Self::Stuck,
        Self::Interrupted,
    ];

    /// The number that a shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unverified => 4,
            Self::Busy => 5,
            Self::Failed => 6,
            Self::Stuck => 7,
            // As a shell reports SIGINT.
            Self::Interrupted => 130,
        }
    }

    /// The meaning, in the words of the help, the manual page and the README.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or already so",
            Self::Unexpected => "unexpected problem",
            Self::Usage => "wrong usage, or a mistake in a profile",
            Self::Refused => "the plan was refused; nothing was touched",
            Self::Unverified => {
                "files are missing or not what was locked, or vLLM did not answer; nothing was touched"
            }
            Self::Busy => "another awqdeploy is at work",
            Self::Failed => "it failed and was rolled back; `validate`: did not pass",
            Self::Stuck => "stuck: a person is needed",
            Self::Interrupted => "stopped or not agreed to before anything was touched",
        }
    }
}

impl From<Kind> for ExitStatus {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Unexpected => Self::Unexpected,
            Kind::Usage => Self::Usage,
            Kind::Refused => Self::Refused,
            Kind::Unverified => Self::Unverified,
            Kind::Busy => Self::Busy,
            Kind::Stuck => Self::Stuck,
            Kind::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Conclusion> for ExitStatus {
    fn from(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::Done | Conclusion::AlreadySo => Self::Done,
            Conclusion::WentBack => Self::Failed,
            Conclusion::Stuck => Self::Stuck,
        }
    }
}

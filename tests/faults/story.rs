//! The stories that faults happen to.

use awqdeploy::domain::generation_id::GenerationId;
use std::fmt;

/// The generation that served before, and the one that comes.
pub(crate) const OLD: GenerationId = GenerationId(1);
pub(crate) const NEW: GenerationId = GenerationId(2);

/// The act under way when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Story {
    /// Nothing served before.
    First,
    /// A proven generation serves.
    Replacement,
    /// To an earlier proven generation.
    Rollback,
    /// The committed generation fails its probation, and is rolled back.
    Withdrawal,
    /// To the generation that is current, which a person stopped.
    Same,
    /// The first committed generation fails its probation: there is no rollback target.
    SameWithdrawal,
}

impl Story {
    pub(crate) const ALL: [Self; 6] =
        [Self::First, Self::Replacement, Self::Rollback, Self::Withdrawal, Self::Same, Self::SameWithdrawal];

    /// The generation to return to.
    pub(crate) fn from(self) -> Option<GenerationId> {
        (self != Self::First).then_some(OLD)
    }

    /// The generation to serve.
    pub(crate) fn to(self) -> GenerationId {
        if matches!(self, Self::Same | Self::SameWithdrawal) { OLD } else { NEW }
    }

    /// Whether it begins with what was committed and does not stay well.
    pub(crate) fn withdraws(self) -> bool {
        matches!(self, Self::Withdrawal | Self::SameWithdrawal)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first deployment",
            Self::Replacement => "replacement",
            Self::Rollback => "rollback",
            Self::Withdrawal => "withdrawal in the watch window",
            Self::Same => "to itself, stopped by hand",
            Self::SameWithdrawal => "withdrawal of what went to itself",
        })
    }
}

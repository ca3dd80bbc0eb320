//! What the faults happen to.

use std::fmt;

/// What is going on when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Story {
    /// Nothing served before.
    First,
    /// A proven generation serves.
    Replacement,
    /// To an earlier proven generation.
    Rollback,
    /// What was committed does not stay well, and goes back.
    Withdrawal,
}

impl Story {
    pub(crate) const ALL: [Self; 4] = [Self::First, Self::Replacement, Self::Rollback, Self::Withdrawal];
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first deployment",
            Self::Replacement => "replacement",
            Self::Rollback => "rollback",
            Self::Withdrawal => "withdrawal in the watch window",
        })
    }
}

//! What runs, and what should: the two must be the same wherever no activation goes on.

use super::machine::another;
use crate::domain::generation_id::GenerationId;
use std::collections::BTreeSet;

/// What a service runs, as its keeper and its own process tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// No process.
    Nothing,
    /// This generation.
    Generation(GenerationId),
    /// A process of which that cannot be told: somebody's own, or one that only root may look into.
    Unknown,
}

/// What ends a difference between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This is to run.
    Start(GenerationId),
    /// Nothing is to run.
    Stop,
}

/// What the recovery that the boot calls for has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBoot {
    /// The service was not started yet: it only points back, and the service manager starts the service after it.
    PointBack,
    /// It was started, so that this is no boot, or a late one: all that was left is to be done.
    Resume,
    /// Likewise, and nothing was left, but something else runs than should.
    Mend(Remedy),
    /// Nothing.
    Nothing,
}

impl Runs {
    /// What runs, where that is something else than `current`.
    pub(crate) fn other_than(self, current: Option<GenerationId>) -> Option<GenerationId> {
        match self {
            Self::Generation(runs) => Some(runs).filter(|_| current != Some(runs)),
            Self::Nothing | Self::Unknown => None,
        }
    }

    /// What ends the difference, if there is one: what is current, if that is proven; else the newest that is.
    pub fn remedy(self, current: Option<GenerationId>, proven: &BTreeSet<GenerationId>) -> Option<Remedy> {
        self.other_than(current)?;
        let Some(current) = current else { return Some(Remedy::Stop) };
        let wanted =
            Some(current).filter(|id| proven.contains(id)).or_else(|| another(proven, Some(current)));
        Some(wanted.map_or(Remedy::Stop, Remedy::Start))
    }
}

/// `up` is whether the service runs, is about to, or failed to; `unfinished`, whether an activation is.
pub fn at_boot(up: bool, unfinished: bool, remedy: Option<Remedy>) -> AtBoot {
    match (up, unfinished, remedy) {
        (false, _, _) => AtBoot::PointBack,
        (true, true, _) => AtBoot::Resume,
        (true, false, Some(remedy)) => AtBoot::Mend(remedy),
        (true, false, None) => AtBoot::Nothing,
    }
}

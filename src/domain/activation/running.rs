//! Compares the running server with the one that should run. The two must be the same wherever no activation
//! goes on.

use super::machine::another;
use crate::domain::generation_id::GenerationId;
use std::collections::BTreeSet;

/// What a service runs, as the service manager and the process itself tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// No process.
    Nothing,
    /// This generation.
    Generation(GenerationId),
    /// A process whose generation cannot be told: somebody's own, or one that only root may look into.
    Unknown,
}

/// The remedy for a difference between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Start this generation.
    Start(GenerationId),
    /// Stop the server.
    Stop,
}

/// What the recovery at boot has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBoot {
    /// Only point back: the service was not started yet, and the service manager starts it next.
    PointBack,
    /// Finish the unfinished activation: the service was started, so this is no boot, or a late one.
    Resume,
    /// Apply a remedy: the service was started, nothing is unfinished, and the wrong server runs.
    Mend(Remedy),
    /// Nothing.
    Nothing,
}

impl Runs {
    /// The running server, where it is not that of `current`.
    pub(crate) fn other_than(self, current: Option<GenerationId>) -> Option<GenerationId> {
        match self {
            Self::Generation(runs) => Some(runs).filter(|_| current != Some(runs)),
            Self::Nothing | Self::Unknown => None,
        }
    }

    /// The remedy, if there is a difference: run the current generation, if it is proven; else the newest
    /// proven one.
    pub fn remedy(self, current: Option<GenerationId>, proven: &BTreeSet<GenerationId>) -> Option<Remedy> {
        self.other_than(current)?;
        let Some(current) = current else { return Some(Remedy::Stop) };
        let wanted =
            Some(current).filter(|id| proven.contains(id)).or_else(|| another(proven, Some(current)));
        Some(wanted.map_or(Remedy::Stop, Remedy::Start))
    }
}

/// Decides what the recovery at boot does. `up`: the service runs, is about to, or failed to. `unfinished`:
/// an activation is.
pub fn at_boot(up: bool, unfinished: bool, remedy: Option<Remedy>) -> AtBoot {
    match (up, unfinished, remedy) {
        (false, _, _) => AtBoot::PointBack,
        (true, true, _) => AtBoot::Resume,
        (true, false, Some(remedy)) => AtBoot::Mend(remedy),
        (true, false, None) => AtBoot::Nothing,
    }
}

//! Counts how often a proven generation failed in a row, across boots, and finds the rollback target when
//! that is too much.

use super::machine::{Activation, failed};
use crate::domain::generation_id::GenerationId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// Failures in a row after which a generation is left. The unit's `StartLimitBurst=` is as much.
pub const LIMIT: u32 = 5;
/// How long a service must have run for its next failure to start the count anew. The unit's
/// `StartLimitIntervalSec=` is as long.
pub const STOOD: Duration = Duration::from_hours(1);

/// A moment by the clock of the boot, which nobody sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The name of the boot.
    pub boot: String,
    /// Seconds since the boot.
    pub seconds: u64,
}

/// How a run of the service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody asked for it.
    Asked,
    /// The service failed by itself.
    Failed,
}

/// The runs of one generation, as they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureCount {
    /// The generation.
    generation: Option<GenerationId>,
    /// The failures in a row.
    failures: u32,
    /// When it was started, while its end is not known.
    running: Option<Moment>,
    /// The generations that were left because they failed.
    left: Vec<Left>,
}

/// A generation that was left because it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    generation: GenerationId,
    /// The newest activation at that time.
    after: u64,
}

impl FailureCount {
    /// Records a start. A run without an end before it had its power cut, or its host crashed.
    #[must_use]
    pub fn begun(self, generation: GenerationId, now: Moment) -> Self {
        let mut tally = self.of(generation);
        if tally.running.is_some() {
            tally.failures += 1;
        }
        tally.running = Some(now);
        tally
    }

    /// Records how a run ended.
    #[must_use]
    pub fn ended(self, generation: GenerationId, ending: Ending, now: &Moment) -> Self {
        let mut tally = self.of(generation);
        let began = tally.running.take().filter(|began| began.boot == now.boot);
        if ending == Ending::Failed {
            let stood =
                began.is_some_and(|began| now.seconds.saturating_sub(began.seconds) >= STOOD.as_secs());
            tally.failures = if stood { 1 } else { tally.failures + 1 };
        }
        tally
    }

    /// The failures of this generation in a row.
    pub fn failures(&self, generation: GenerationId) -> u32 {
        if self.generation == Some(generation) { self.failures } else { 0 }
    }

    /// Notes that this generation is left now, when `newest` was the newest activation.
    #[must_use]
    pub fn leaving(mut self, generation: GenerationId, newest: u64) -> Self {
        self.left.retain(|left| left.generation != generation);
        self.left.push(Left { generation, after: newest });
        self
    }

    /// Counts anew: with no rollback target, another try is better than no service.
    #[must_use]
    pub fn excused(self) -> Self {
        Self { failures: 0, ..self }
    }

    /// The rollback targets for a generation that fails, best first. A target is proven, was not left for the
    /// same reason since it was last activated, and did not fail when it was last tried.
    pub fn targets(
        &self,
        failing: GenerationId,
        proven: &BTreeSet<GenerationId>,
        activations: &[(u64, &Activation)],
    ) -> Vec<GenerationId> {
        let was_left = |id: GenerationId| {
            self.left.iter().any(|left| {
                let since = activations.iter().filter(|(number, _)| *number > left.after);
                left.generation == id && !since.into_iter().any(|(_, activation)| activation.to == id)
            })
        };
        let fails = |id| failed(activations.iter().map(|(_, activation)| *activation), id).is_some();
        let usable = |id: &&GenerationId| **id != failing && !was_left(**id) && !fails(**id);
        proven.iter().rev().filter(usable).copied().collect()
    }

    /// Keeps the count if it is of this generation, else starts one.
    fn of(self, generation: GenerationId) -> Self {
        match self.generation {
            Some(known) if known == generation => self,
            _ => Self { generation: Some(generation), failures: 0, running: None, left: self.left },
        }
    }
}

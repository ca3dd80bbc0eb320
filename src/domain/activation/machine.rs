//! The activation state machine: which step comes next, and what a failure means.
//!
//! Pure. The driver in `flow::activation::driver` records a [`State`] before it runs the state's step, so the
//! last recorded state always names the step that may have been interrupted.

use crate::domain::generation_id::GenerationId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// One switch of the service from `from` to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The rollback target. `None` on the first deployment.
    pub from: Option<GenerationId>,
    /// The generation to activate.
    pub to: GenerationId,
    /// How far it is.
    pub state: State,
}

/// How far an activation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// Moving towards `to`.
    Forward {
        /// Next, or interrupted.
        step: Step,
    },
    /// Rolling back to `from`.
    Back {
        /// Next, or interrupted.
        step: Step,
        /// How often this step has failed.
        tries: u8,
        /// The cause of the rollback.
        cause: Cause,
    },
    /// Nothing is left to do.
    Done {
        /// The end.
        end: End,
    },
}

/// One step of an activation. Every step is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// No process of the service is left.
    Stop,
    /// The one atomic point: `current` is renamed onto its target.
    Point,
    /// The generation of `current` runs and has answered once.
    Start,
    /// The server answers correctly and fast enough.
    Validate,
}

/// Why an activation rolls back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A step ran and failed.
    Failed {
        /// Which one.
        step: Step,
        /// The error of the step.
        why: String,
    },
    /// The process or the host went away, or a person stopped it, in the middle.
    Interrupted {
        /// The interrupted step.
        step: Step,
    },
    /// The generation was committed, and failed its probation.
    Degraded {
        /// The fault that was seen.
        why: String,
    },
}

/// How an activation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// `to` runs, and is proven.
    Committed,
    /// `from` runs again.
    RolledBack {
        /// Why.
        cause: Cause,
    },
    /// The rollback failed too: a person is needed.
    Stuck {
        /// The cause of the rollback.
        cause: Cause,
        /// The step at which the rollback failed.
        step: Step,
        /// The error of that step.
        why: String,
    },
}

/// Tries for each step of a rollback before it is stuck.
pub(crate) const BACK_TRIES: u8 = 3;

impl Activation {
    /// An activation that has not begun.
    pub fn new(from: Option<GenerationId>, to: GenerationId) -> Self {
        Self { from, to, state: State::Forward { step: Step::Stop } }
    }

    /// The step to run now and the generation it aims at.
    pub fn next(&self) -> Option<(Step, Option<GenerationId>)> {
        match &self.state {
            State::Forward { step } => Some((*step, Some(self.to))),
            State::Back { step, .. } => Some((*step, self.from)),
            State::Done { .. } => None,
        }
    }

    /// Moves on after the step ran. An activation that is done stays as it is.
    #[must_use]
    pub fn after(self, outcome: Result<(), String>) -> Self {
        let state = match (self.state, outcome) {
            (State::Forward { step }, Ok(())) => match step.then() {
                Some(step) => State::Forward { step },
                None => State::Done { end: End::Committed },
            },
            (State::Forward { step }, Err(why)) => State::back(Cause::Failed { step, why }),
            (State::Back { step, cause, .. }, Ok(())) => match step.then_back(self.from) {
                Some(step) => State::Back { step, tries: 0, cause },
                None => State::Done { end: End::RolledBack { cause } },
            },
            (State::Back { step, tries, cause }, Err(_)) if tries + 1 < BACK_TRIES => {
                State::Back { step, tries: tries + 1, cause }
            }
            (State::Back { step, cause, .. }, Err(why)) => {
                State::Done { end: End::Stuck { cause, step, why } }
            }
            (done @ State::Done { .. }, _) => done,
        };
        Self { state, ..self }
    }

    /// Finishes an activation that another process left: by a rollback, for nothing unproven is kept.
    #[must_use]
    pub fn resumed(self) -> Self {
        let state = match self.state {
            State::Forward { step } => State::back(Cause::Interrupted { step }),
            State::Back { cause, .. } => State::back(cause),
            done @ State::Done { .. } => done,
        };
        Self { state, ..self }
    }

    /// Finishes a stuck activation for `recover`: by another rollback.
    #[must_use]
    pub fn unstuck(self) -> Self {
        match self.state {
            State::Done { end: End::Stuck { cause, .. } } => Self { state: State::back(cause), ..self },
            _ => self.resumed(),
        }
    }

    /// Rolls back an activation whose generation failed its probation. Nothing if it was not committed, or
    /// has no rollback target.
    pub fn degraded(&self, why: String) -> Option<Self> {
        self.from?;
        match self.state {
            State::Done { end: End::Committed } => {
                Some(Self { state: State::back(Cause::Degraded { why }), ..self.clone() })
            }
            _ => None,
        }
    }

    /// Whether it restarts a generation that is already proven, so that there is nothing to try.
    pub(crate) fn is_restart(&self) -> bool {
        self.from == Some(self.to)
    }

    /// Whether this generation is on trial in this activation.
    pub fn tries(&self, generation: Option<GenerationId>) -> bool {
        generation == Some(self.to) && !self.is_restart()
    }

    /// Turns a failed restart into a rollback to another proven generation, if there is one. An interrupted
    /// restart starts the same generation again.
    #[must_use]
    pub fn rather(self, other: Option<GenerationId>) -> Self {
        let wanting = self.state.cause().is_some_and(Cause::blames_the_generation);
        if self.is_restart() && wanting { Self { from: other.or(self.from), ..self } } else { self }
    }

    /// Finishes an activation whose later records cannot be read: one that was committed or stuck rolls back, for
    /// those records may have taken the commit back.
    #[must_use]
    pub fn with_lost_records(self) -> Self {
        let state = match self.state {
            State::Done { end: End::Committed } if self.from.is_some() && self.from != Some(self.to) => {
                State::back(Cause::Degraded {
                    why: "what was recorded after its commit cannot be read".to_owned(),
                })
            }
            State::Done { end: End::Stuck { cause, .. } } => State::back(cause),
            state => state,
        };
        Self { state, ..self }
    }

    /// Whether no step was run yet.
    pub fn is_new(&self) -> bool {
        self.state == State::Forward { step: Step::Stop }
    }

    /// Whether the state must be on record before anything goes on. A rollback need not be: resuming from an
    /// older state leads to the same rollback.
    pub fn needs_its_record(&self) -> bool {
        matches!(self.state, State::Forward { .. } | State::Done { end: End::Committed })
    }

    /// Goes on from a state that must be on record and cannot be recorded.
    #[must_use]
    pub fn unrecorded(self, why: String) -> Self {
        let step = match &self.state {
            State::Forward { step } | State::Back { step, .. } => *step,
            State::Done { .. } => Step::Validate,
        };
        Self { state: State::back(Cause::Failed { step, why }), ..self }
    }

    /// Ends an activation that nobody can carry out as stuck. An ended one stays as it is.
    #[must_use]
    pub fn given_up(self, why: String) -> Self {
        let (cause, step) = match self.state {
            State::Forward { step } => (Cause::Interrupted { step }, step),
            State::Back { step, cause, .. } => (cause, step),
            State::Done { .. } => return self,
        };
        Self { state: State::Done { end: End::Stuck { cause, step, why } }, ..self }
    }

    /// The end, if it has ended.
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Done { end } => Some(end),
            _ => None,
        }
    }
}

/// The generations that an activation proved and that none has found wanting since. Takes the activations in
/// the order of their start. A rollback of a restart to its own generation does not count against that
/// generation, which runs.
pub fn known_good<'a>(activations: impl IntoIterator<Item = &'a Activation>) -> BTreeSet<GenerationId> {
    let mut proven = BTreeSet::new();
    for activation in activations {
        match &activation.state {
            State::Done { end: End::Committed } => proven.insert(activation.to),
            state if matches!(state.cause(), Some(Cause::Degraded { .. })) && !activation.is_restart() => {
                proven.remove(&activation.to)
            }
            _ => false,
        };
    }
    proven
}

/// The rollback target if `to` fails: the current generation, if it is proven; else the newest other proven
/// one; else `to`, if it is proven.
pub fn rollback_target(
    proven: &BTreeSet<GenerationId>,
    current: Option<GenerationId>,
    to: Option<GenerationId>,
) -> Option<GenerationId> {
    let is_proven = |id: &GenerationId| proven.contains(id);
    current.filter(is_proven).or_else(|| another(proven, to)).or_else(|| to.filter(is_proven))
}

/// The newest proven generation that is not this one.
pub fn another(proven: &BTreeSet<GenerationId>, than: Option<GenerationId>) -> Option<GenerationId> {
    proven.iter().rev().copied().find(|id| Some(*id) != than)
}

/// An activation that was requested and has no readable record: it is treated as interrupted. Nothing where
/// that leads to the same generation: then the running server is left alone.
pub fn without_records(to: GenerationId, back: Option<GenerationId>) -> Option<Activation> {
    back.filter(|back| *back != to).map(|from| Activation::new(Some(from), to))
}

/// Why this generation is not worth another try: what its last activation found wrong with it. An interrupted
/// activation, and one that could not stop the old server, say nothing of it.
pub fn failed<'a>(
    activations: impl IntoIterator<Item = &'a Activation>,
    generation: GenerationId,
) -> Option<&'a Cause> {
    let last = activations.into_iter().filter(|activation| activation.to == generation).last()?;
    last.state.cause().filter(|cause| cause.blames_the_generation())
}

impl Cause {
    /// Whether this cause speaks against the generation: it did not start, failed its validation, or failed
    /// its probation.
    pub fn blames_the_generation(&self) -> bool {
        match self {
            Self::Failed { step, .. } => matches!(step, Step::Start | Step::Validate),
            Self::Degraded { .. } => true,
            Self::Interrupted { .. } => false,
        }
    }
}

impl State {
    /// Why it rolls or rolled back.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Back { cause, .. }
            | Self::Done { end: End::RolledBack { cause } | End::Stuck { cause, .. } } => Some(cause),
            Self::Forward { .. } | Self::Done { end: End::Committed } => None,
        }
    }

    fn back(cause: Cause) -> Self {
        Self::Back { step: Step::Stop, tries: 0, cause }
    }
}

impl Step {
    fn then(self) -> Option<Self> {
        match self {
            Self::Stop => Some(Self::Point),
            Self::Point => Some(Self::Start),
            Self::Start => Some(Self::Validate),
            Self::Validate => None,
        }
    }

    /// The step after this one in a rollback. It ends once `from` runs again; without a rollback target, with
    /// nothing running.
    fn then_back(self, from: Option<GenerationId>) -> Option<Self> {
        match (self, from) {
            (Self::Point, None) | (Self::Start, _) => None,
            (step, _) => step.then(),
        }
    }
}

impl End {
    /// The name in JSON output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack { .. } => "rolled-back",
            Self::Stuck { .. } => "stuck",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Point => "point",
            Self::Start => "start",
            Self::Validate => "validate",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { step, why } => write!(f, "{step} failed: {why}"),
            Self::Interrupted { step } => write!(f, "interrupted during {step}"),
            Self::Degraded { why } => write!(f, "did not stay well: {why}"),
        }
    }
}

/// The outcome for the server, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// The wanted generation runs, and is proven.
    Done,
    /// The wanted generation ran already.
    AlreadySo,
    /// Rolled back: the server from before runs again, or none, as before.
    WentBack,
    /// A person is needed.
    Stuck,
}

//! The activation state machine: which step comes next, and what a failure means.
//!
//! Pure. The driver in `flow::activate` records a [`State`] before it runs the
//! state's step, so the last recorded state always names the step that may have
//! been interrupted.
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub u64);

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One switch of the service from `from` to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// What to return to. `None` on the first deployment.
    pub from: Option<GenerationId>,
    pub to: GenerationId,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// Moving towards `to`; `step` is next or was interrupted.
    Forward {
        step: Step,
    },
    /// Moving back to `from` because of `cause`.
    Back {
        step: Step,
        tries: u8,
        cause: Cause,
    },
    Done {
        end: End,
    },
}

/// Every step is idempotent: doing it twice is doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Stop,
    /// The one atomic point: `current` is renamed onto its target.
    Point,
    Start,
    Validate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A step ran and failed.
    Failed { step: Step, why: String },
    /// The process or the host went away in the middle.
    Interrupted { step: Step },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    Committed,
    RolledBack {
        cause: Cause,
    },
    /// Going back failed too: a person is needed.
    Stuck {
        cause: Cause,
        step: Step,
        why: String,
    },
}

/// Tries for each step of the way back, before giving up.
pub const BACK_TRIES: u8 = 3;

impl Activation {
    pub fn new(from: Option<GenerationId>, to: GenerationId) -> Self {
        Self {
            from,
            to,
            state: State::Forward { step: Step::Stop },
        }
    }

    /// The step to run now and the generation it aims at.
    pub fn next(&self) -> Option<(Step, Option<GenerationId>)> {
        match &self.state {
            State::Forward { step } => Some((*step, Some(self.to))),
            State::Back { step, .. } => Some((*step, self.from)),
            State::Done { .. } => None,
        }
    }

    /// Moves on after the step ran.
    pub fn after(self, outcome: Result<(), String>) -> Self {
        let state = match (self.state, outcome) {
            (State::Forward { step }, Ok(())) => match step.then() {
                Some(step) => State::Forward { step },
                None => State::Done {
                    end: End::Committed,
                },
            },
            (State::Forward { step }, Err(why)) => State::back(Cause::Failed { step, why }),
            (State::Back { step, cause, .. }, Ok(())) => match step.then_back(self.from) {
                Some(step) => State::Back {
                    step,
                    tries: 0,
                    cause,
                },
                None => State::Done {
                    end: End::RolledBack { cause },
                },
            },
            (State::Back { step, tries, cause }, Err(_)) if tries + 1 < BACK_TRIES => State::Back {
                step,
                tries: tries + 1,
                cause,
            },
            (State::Back { step, cause, .. }, Err(why)) => State::Done {
                end: End::Stuck { cause, step, why },
            },
            (State::Done { end }, _) => unreachable!("no step runs after {end:?}"),
        };
        Self { state, ..self }
    }

    /// What a new process makes of an activation that it finds unfinished:
    /// nothing unproven is kept.
    pub fn resumed(self) -> Self {
        let state = match self.state {
            State::Forward { step } => State::back(Cause::Interrupted { step }),
            State::Back { cause, .. } => State::back(cause),
            done @ State::Done { .. } => done,
        };
        Self { state, ..self }
    }
}

impl State {
    fn back(cause: Cause) -> Self {
        Self::Back {
            step: Step::Stop,
            tries: 0,
            cause,
        }
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

    /// The way back ends once the old generation serves again; with none to
    /// return to it ends with nothing running.
    fn then_back(self, from: Option<GenerationId>) -> Option<Self> {
        match (self, from) {
            (Self::Point, None) | (Self::Start, _) => None,
            (step, _) => step.then(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn happy_path() {
        let mut a = Activation::new(Some(GenerationId(1)), GenerationId(2));
        let mut steps = vec![];
        while let Some((step, _)) = a.next() {
            steps.push(step);
            a = a.after(Ok(()));
        }
        assert_eq!(
            steps,
            [Step::Stop, Step::Point, Step::Start, Step::Validate]
        );
        assert_eq!(
            a.state,
            State::Done {
                end: End::Committed
            }
        );
    }
}

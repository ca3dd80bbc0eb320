//! What a running story tells while it runs. The command line renders it; nothing depends on who listens.

use crate::domain::{
    activation::machine::{Conclusion, State},
    generation_id::GenerationId,
    problem::Kind,
    size::ByteSize,
    validation::report::Check,
};
use serde::{Deserialize, Serialize};

/// Something that happened, or goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A stage before the activation began: "verify model", "install runtime".
    Stage(String),
    /// So much of the current stage is done.
    Progress {
        /// Done so far.
        done: ByteSize,
        /// In all.
        of: ByteSize,
    },
    /// The activation recorded this state and now runs its step.
    Activation {
        /// What the step aims at.
        aim: Option<GenerationId>,
        /// The recorded state.
        state: State,
    },
    /// What the installer of the runtime does, in its own words.
    Installing(String),
    /// What the starting engine does, in its service's words.
    Engine(String),
    /// A check of the validation ended.
    Checked(Check),
    /// A question is asked.
    Asked {
        /// Its number, from 1.
        question: u32,
        /// How many there are.
        of: u32,
    },
    /// A measured request ended.
    Measured {
        /// Its number, from 1.
        request: u32,
        /// How many there will be.
        of: u32,
        /// Its decode rate.
        tokens_per_second: f64,
    },
    /// Something that a person should know, and that does not end the story.
    Warning(String),
    /// It is watched from now on.
    Watching {
        /// Until then.
        until: jiff::Timestamp,
    },
    /// It was looked at while it was watched.
    Watched {
        /// The decode rate, where it was idle and answered.
        tokens_per_second: Option<f64>,
        /// What was wrong, if anything was.
        wrong: Option<String>,
    },
    /// The activation has ended.
    Ended(Conclusion),
    /// It never became one, or could not be carried on.
    Refused {
        /// What kind of problem it is.
        kind: Kind,
        /// The problem in one line.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },
}

/// Someone who listens.
pub trait Observer {
    /// Takes note. Must not block for long.
    fn see(&self, event: Event);
}

impl<F: Fn(Event)> Observer for F {
    fn see(&self, event: Event) {
        self(event);
    }
}

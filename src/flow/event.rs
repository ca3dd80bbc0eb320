//! The events of a running story. The command line renders them; nothing depends on who listens.

use crate::domain::{
    activation::machine::{Conclusion, State},
    generation_id::GenerationId,
    problem::Kind,
    size::ByteSize,
    validation::report::Check,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An event of a running story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A stage before the activation began: "verify model", "install runtime".
    Stage(String),
    /// A part of the current stage is done.
    Progress {
        /// The part that is done.
        done: ByteSize,
        /// The whole.
        of: ByteSize,
    },
    /// The activation recorded this state and now runs its step.
    Activation {
        /// The aim of the step.
        aim: Option<GenerationId>,
        /// The recorded state.
        state: State,
    },
    /// A line of the runtime's installer.
    Installing(String),
    /// The status of the starting engine.
    Engine(String),
    /// A check of the validation ended.
    Checked(Check),
    /// A question is asked.
    Asked {
        /// The number of the question, from 1.
        question: u32,
        /// How many there are.
        of: u32,
    },
    /// A measured request ended.
    Measured {
        /// The number of the request, from 1.
        request: u32,
        /// The number of all requests.
        of: u32,
        /// The decode rate of the request.
        tokens_per_second: f64,
    },
    /// Something that a person should know, and that does not end the story.
    Warning(String),
    /// The probation begins.
    Watching {
        /// The end of the probation.
        until: jiff::Timestamp,
    },
    /// The server on probation was looked at.
    Watched {
        /// The decode rate, where it was idle and answered.
        tokens_per_second: Option<f64>,
        /// How long its users waited for their first token since the last look, milliseconds, on average.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttft_ms: Option<f64>,
        /// The fault, if there was one.
        wrong: Option<String>,
    },
    /// The activation has ended.
    Ended(Conclusion),
    /// The activation never began, or could not be carried on.
    Refused {
        /// The kind of the problem.
        kind: Kind,
        /// The problem in one line.
        what: String,
        /// The remedy.
        help: Option<String>,
    },
}

/// A listener to events.
pub trait Observer {
    /// Takes an event. Must not block for long.
    fn see(&self, event: Event);
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl<F: Fn(Event)> Observer for F {
    fn see(&self, event: Event) {
        self(event);
    }
}

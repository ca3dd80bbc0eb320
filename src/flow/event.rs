//! What a running story tells while it runs. The command line renders it; nothing depends on who listens.

use crate::domain::{
    activation::{GenerationId, State},
    report::Check,
    size::Bytes,
};
use serde::Serialize;

/// Something that happened, or goes on.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A stage before the activation began: "verify model", "install runtime".
    Stage(String),
    /// So much of the current stage is done.
    Progress {
        /// Done so far.
        done: Bytes,
        /// In all.
        of: Bytes,
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

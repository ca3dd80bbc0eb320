//! The outcome of a deployment or a rollback.

pub(crate) use crate::domain::activation::request::Action;
use crate::domain::{
    activation::{
        journal::Entry,
        machine::{Activation, Conclusion, End},
    },
    generation_id::GenerationId,
    validation::report::Report,
};

/// The outcome of a deployment or a rollback.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The action.
    pub action: Action,
    /// The wanted profile.
    pub(crate) profile: String,
    /// The wanted generation.
    pub generation: GenerationId,
    /// The activation, unless the generation ran already.
    pub activation: Option<Activated>,
}

/// The activation's end and evidence.
#[derive(Clone, Debug)]
pub struct Activated {
    /// The activation's end.
    pub ended: Ended,
    /// The journal.
    pub(crate) journal: Vec<Entry>,
    /// The candidate's validation, if it got so far.
    pub(crate) report: Option<Report>,
    /// The validation of the rollback target.
    pub returned: Option<Report>,
    /// Seconds that a plain restart of the server from before takes, by past restarts.
    pub(crate) plain_restart: Option<f64>,
}

impl Outcome {
    /// The conclusion for the server.
    pub fn conclusion(&self) -> Conclusion {
        let Some(activated) = &self.activation else {
            return Conclusion::AlreadySo;
        };
        match &activated.ended.end {
            End::Committed => Conclusion::Done,
            // After this rollback the old server does not answer as it should: that is no safe end.
            End::RolledBack { .. } if activated.returned.as_ref().is_some_and(|report| !report.answers()) => {
                Conclusion::Stuck
            }
            End::RolledBack { .. } => Conclusion::WentBack,
            End::Stuck { .. } => Conclusion::Stuck,
        }
    }
}

/// An activation that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The number.
    pub number: u64,
    /// The activation in its last state.
    pub activation: Activation,
    /// The end.
    pub end: End,
}

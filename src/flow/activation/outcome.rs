//! How a deployment or a rollback ended.

pub(crate) use crate::domain::activation::request::Action;
use crate::domain::{
    activation::{
        journal::Entry,
        machine::{Activation, Conclusion, End},
    },
    generation_id::GenerationId,
    validation::report::Report,
};

/// How it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub action: Action,
    /// The profile that was to serve.
    pub(crate) profile: String,
    /// The generation that was to serve.
    pub generation: GenerationId,
    /// The activation, unless it was so already.
    pub activation: Option<Activated>,
}

/// The activation's end and evidence.
#[derive(Clone, Debug)]
pub struct Activated {
    /// The activation's end.
    pub ended: Ended,
    /// Its journal.
    pub(crate) journal: Vec<Entry>,
    /// The candidate's validation, if it got so far.
    pub(crate) report: Option<Report>,
    /// The validation of what was returned to.
    pub returned: Option<Report>,
    /// Seconds that a plain restart of what served before takes, as it was seen.
    pub(crate) plain_restart: Option<f64>,
}

impl Outcome {
    /// What serves after all.
    pub fn conclusion(&self) -> Conclusion {
        let Some(activated) = &self.activation else {
            return Conclusion::AlreadySo;
        };
        match &activated.ended.end {
            End::Committed => Conclusion::Done,
            // Went back, and what it went back to does not answer as it should: nobody may call that safe.
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
    /// Its number.
    pub number: u64,
    /// The activation in its last state.
    pub activation: Activation,
    /// How it ended.
    pub end: End,
}

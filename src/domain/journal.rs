//! The story of one activation, as its journal tells it: which step took how long, and how long nothing served.

use super::activation::{Activation, End, State, Step};
use serde::{Deserialize, Serialize};

/// One line of a journal: when the activation reached which state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When the state was recorded, which is when its step began.
    pub at: jiff::Timestamp,
    /// The activation in that state.
    #[serde(flatten)]
    pub activation: Activation,
}

/// A step with the time that it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// `start`, or `back: start` on the way back.
    pub name: String,
    /// Seconds from the activation's first record to its own.
    pub begins: f64,
    /// From its record to the next. A clock that was set back counts as no time.
    pub seconds: f64,
}

/// Each step that ended, in order. One that was interrupted ends with the first record after it.
pub fn phases(journal: &[Entry]) -> Vec<Phase> {
    let named = |entry: &Entry| match &entry.activation.state {
        State::Forward { step } => Some(step.to_string()),
        State::Back { step, .. } => Some(format!("back: {step}")),
        State::Done { .. } => None,
    };
    let phase = |pair: &[Entry]| {
        let begins = seconds(journal.first()?, &pair[0]);
        Some(Phase { name: named(&pair[0])?, begins, seconds: seconds(&pair[0], &pair[1]) })
    };
    journal.windows(2).filter_map(phase).collect()
}

/// Seconds in which nothing served: from the stop of the old generation until one was ready. Absent where
/// nothing served before, while the activation goes on, and where nothing may serve in the end.
pub fn downtime(journal: &[Entry]) -> Option<f64> {
    let (first, last) = (journal.first()?, journal.last()?);
    last.activation.from?;
    let end = last.activation.end().filter(|end| !matches!(end, End::Stuck { .. }))?;
    let ready = journal.iter().find(|entry| match &entry.activation.state {
        State::Forward { step: Step::Validate } => *end == End::Committed,
        State::Done { .. } => true,
        _ => false,
    })?;
    Some(seconds(first, ready))
}

/// Seconds from the start of the new generation until it was ready. Absent if it never was.
pub fn start_up(journal: &[Entry]) -> Option<f64> {
    let at = |wanted: Step| {
        let wanted = State::Forward { step: wanted };
        journal.iter().find(|entry| entry.activation.state == wanted)
    };
    Some(seconds(at(Step::Start)?, at(Step::Validate)?))
}

fn seconds(from: &Entry, to: &Entry) -> f64 {
    to.at.duration_since(from.at).as_secs_f64().max(0.0)
}

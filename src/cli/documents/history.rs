//! The documents of `history` and `why`.

use crate::{
    cli::documents,
    domain::{
        activation::{
            journal::{Phase, downtime, phases},
            machine::{Activation, End, State},
        },
        generation_id::GenerationId,
        validation::report::Report,
        vllm::startup_log::Reason,
    },
    flow::inspect::history::Why,
    host::store::Recorded,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Log lines that `why` shows.
const LOG_LINES: usize = 20;

/// The profile of each generation.
type Profiles = BTreeMap<GenerationId, String>;

/// `awqdeploy/history/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryDocument {
    pub(crate) schema: &'static str,
    pub(crate) activations: Vec<Line>,
}

impl HistoryDocument {
    pub(crate) fn of(history: &[Recorded], profiles: &Profiles) -> Self {
        let line = |recorded| Line::of(recorded, profiles);
        Self { schema: "awqdeploy/history/v1", activations: history.iter().map(line).collect() }
    }
}

/// `awqdeploy/why/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhyDocument {
    pub(crate) schema: &'static str,
    pub(crate) profile: String,
    #[serde(flatten)]
    pub(crate) line: Line,
    /// The root cause that the engine's log names, if it names one.
    pub(crate) engine: Option<String>,
    /// The remedy for that.
    pub(crate) help: Option<&'static str>,
    pub(crate) report: Option<Report>,
    /// The end of the service's log.
    pub(crate) log: Vec<String>,
}

impl WhyDocument {
    pub(crate) fn of(why: Why, profiles: &Profiles) -> Self {
        let log: Vec<String> = why.log.unwrap_or_default().lines().map(str::to_owned).collect();
        let reason = Reason::among(log.iter().map(String::as_str));
        let shown = log.len().saturating_sub(LOG_LINES);
        Self {
            schema: "awqdeploy/why/v1",
            profile: why.profile,
            line: Line::of(&why.recorded, profiles),
            engine: reason.as_ref().map(Reason::to_string),
            help: reason.map(|reason| reason.failure.help()),
            report: why.report,
            log: log[shown..].to_vec(),
        }
    }
}

/// One activation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Line {
    pub(crate) activation: u64,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) at: Option<jiff::Timestamp>,
    pub(crate) from: Option<GenerationId>,
    pub(crate) to: Option<GenerationId>,
    /// The profile of each. Null where there is none, or the generation was freed.
    pub(crate) from_profile: Option<String>,
    pub(crate) to_profile: Option<String>,
    /// Null while it goes on, or if it was interrupted and nobody has recovered yet.
    pub(crate) end: Option<&'static str>,
    pub(crate) cause: Option<String>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) downtime_seconds: Option<f64>,
}

impl Line {
    pub(crate) fn of(recorded: &Recorded, profiles: &Profiles) -> Self {
        let last = recorded.last();
        let end = last.and_then(Activation::end);
        let cause = match last.map(|activation| &activation.state) {
            Some(State::Back { cause, .. }) => Some(cause.to_string()),
            _ => end.and_then(documents::why),
        };
        Self {
            activation: recorded.number,
            at: recorded.journal.first().map(|entry| entry.at),
            from: last.and_then(|activation| activation.from),
            to: last.map(|activation| activation.to),
            from_profile: last.and_then(|activation| profiles.get(&activation.from?).cloned()),
            to_profile: last.and_then(|activation| profiles.get(&activation.to).cloned()),
            end: end.map(End::name),
            cause,
            phases: phases(&recorded.journal),
            downtime_seconds: downtime(&recorded.journal),
        }
    }
}

//! `history` and `why`: what happened.

use super::{
    documents,
    ink::{BAD, FAINT, GOOD},
    render,
};
use crate::{
    domain::{
        activation::{Activation, End, State},
        generation_id::GenerationId,
        journal::{Phase, downtime, phases},
        report::Report,
        startup::Reason,
    },
    flow::history::Why,
    host::store::Recorded,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;

/// Log lines that `why` shows.
const LOG_LINES: usize = 20;

/// `awqdeploy/history/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryDocument {
    schema: &'static str,
    activations: Vec<Line>,
}

/// One activation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Line {
    activation: u64,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    at: Option<jiff::Timestamp>,
    from: Option<GenerationId>,
    to: Option<GenerationId>,
    /// Null while it goes on, or if it was interrupted and nobody has recovered yet.
    end: Option<&'static str>,
    cause: Option<String>,
    phases: Vec<Phase>,
    downtime_seconds: Option<f64>,
}

/// `awqdeploy/why/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhyDocument {
    schema: &'static str,
    profile: String,
    #[serde(flatten)]
    line: Line,
    /// The root cause that the engine's log names, if it names one.
    engine: Option<String>,
    /// What to do about that.
    help: Option<&'static str>,
    report: Option<Report>,
    /// The end of the service's log.
    log: Vec<String>,
}

impl HistoryDocument {
    pub(crate) fn of(history: &[Recorded]) -> Self {
        Self { schema: "awqdeploy/history/v1", activations: history.iter().map(Line::of).collect() }
    }
}

impl Line {
    fn of(recorded: &Recorded) -> Self {
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
            end: end.map(End::name),
            cause,
            phases: phases(&recorded.journal),
            downtime_seconds: downtime(&recorded.journal),
        }
    }
}

impl WhyDocument {
    pub(crate) fn of(why: Why) -> Self {
        let log: Vec<String> = why.log.unwrap_or_default().lines().map(str::to_owned).collect();
        let reason = Reason::among(log.iter().map(String::as_str));
        let shown = log.len().saturating_sub(LOG_LINES);
        Self {
            schema: "awqdeploy/why/v1",
            profile: why.profile,
            line: Line::of(&why.recorded),
            engine: reason.as_ref().map(Reason::to_string),
            help: reason.map(|reason| reason.failure.help()),
            report: why.report,
            log: log[shown..].to_vec(),
        }
    }
}

/// All activations, two lines each.
pub(crate) fn history(document: &HistoryDocument) -> String {
    if document.activations.is_empty() {
        return "nothing was ever activated\n".to_owned();
    }
    document.activations.iter().fold(String::new(), |mut out, line| {
        line_text(&mut out, line);
        out
    })
}

/// Why an activation ended as it did.
pub(crate) fn why(document: &WhyDocument) -> String {
    let mut out = format!("{}: ", document.profile);
    line_text(&mut out, &document.line);
    if let Some(engine) = &document.engine {
        let _ = writeln!(out, "  {FAINT}the engine{FAINT:#}  {engine}");
    }
    if let Some(help) = &document.help {
        let _ = writeln!(out, "  {FAINT}help{FAINT:#}        {help}");
    }
    if let Some(report) = &document.report {
        out.push_str(&render::report(report));
    }
    if !document.log.is_empty() {
        let _ = writeln!(out, "  {FAINT}the last lines that it logged{FAINT:#}");
        for line in &document.log {
            let _ = writeln!(out, "  {FAINT}|{FAINT:#} {line}");
        }
    }
    out
}

fn line_text(out: &mut String, line: &Line) {
    let shown =
        |id: Option<GenerationId>| id.map_or_else(|| "nothing".to_owned(), |id| format!("generation {id}"));
    let (style, end) = match line.end {
        Some("committed") => (GOOD, "committed"),
        Some(end) => (BAD, end),
        None => (BAD, "not ended"),
    };
    let at = line.at.map_or_else(String::new, |at| at.strftime("%F %T UTC").to_string());
    let (from, to) = (shown(line.from), shown(line.to));
    let _ = writeln!(out, "activation {}, {at}: {from} → {to} {style}{end}{style:#}", line.activation);
    if let Some(cause) = &line.cause {
        let _ = writeln!(out, "  {cause}");
    }
    if line.phases.is_empty() && line.end == Some("committed") {
        let _ = writeln!(out, "  {FAINT}adopted as it ran: nothing was stopped{FAINT:#}");
        return;
    }
    let phases: Vec<_> =
        line.phases.iter().map(|phase| format!("{} {:.1} s", phase.name, phase.seconds)).collect();
    let downtime = line
        .downtime_seconds
        .map_or_else(String::new, |seconds| format!("; nothing served for {seconds:.1} s"));
    let _ = writeln!(out, "  {FAINT}{}{downtime}{FAINT:#}", phases.join(", "));
}

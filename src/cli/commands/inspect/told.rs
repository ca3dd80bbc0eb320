//! `history` and `why`: prints past activations.

use crate::{
    cli::{
        documents::history::{HistoryDocument, Line, WhyDocument},
        render,
        terminal::{BAD, FAINT, GOOD},
    },
    domain::generation_id::GenerationId,
};
use std::fmt::Write;

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
    let shown = |id: Option<GenerationId>, profile: &Option<String>| match (id, profile) {
        (None, _) => "nothing".to_owned(),
        (Some(id), None) => format!("generation {id}"),
        (Some(id), Some(profile)) => format!("{profile} (generation {id})"),
    };
    let (style, end) = match line.end {
        Some("committed") => (GOOD, "committed"),
        Some(end) => (BAD, end),
        None => (BAD, "not ended"),
    };
    let at = line.at.map_or_else(String::new, |at| at.strftime("%F %T UTC").to_string());
    let (from, to) = (shown(line.from, &line.from_profile), shown(line.to, &line.to_profile));
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

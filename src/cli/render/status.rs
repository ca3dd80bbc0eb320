//! `status` for people: the running server, or why there is none; what was tried last; what to type next.

use super::{
    super::{
        documents::StatusDocument,
        terminal::{BAD, BOLD, CARE, GOOD},
    },
    style::row,
};
use std::fmt::Write;

/// The state of now.
pub(crate) fn status(document: &StatusDocument) -> String {
    let mut out = String::new();
    let Some(current) = &document.current else {
        let _ = writeln!(out, "nothing is deployed below {}", document.root.display());
        damaged(&mut out, document);
        row(&mut out, "next", &next(document));
        return out;
    };
    let other = document.runs.filter(|runs| *runs != current.generation);
    let (style, word) = match (&document.serving, &document.service) {
        _ if other.is_some() => (BAD, "is current, and does not run"),
        (Some(_), _) if document.proven => (GOOD, "serves"),
        (Some(_), _) => (CARE, "answers, and is not proven yet"),
        (None, Some(_)) => (BAD, "does not serve"),
        (None, None) => (CARE, "unknown: no service manager to ask"),
    };
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#} (generation {}) {style}{word}{style:#}",
        current.profile, current.generation
    );
    if let Some(other) = other {
        row(&mut out, "runs", &format!("generation {other}"));
    }
    if let Some(why) = document.why_not.as_ref().filter(|_| document.serving.is_none()) {
        row(&mut out, "why not", why);
    }
    if let Some(since) = document.since {
        row(&mut out, "since", &since.strftime("%F %T UTC").to_string());
    }
    match document.restarts {
        0 => {}
        1 => row(&mut out, "restarted", "once, by itself"),
        times => row(&mut out, "restarted", &format!("{times} times, by itself")),
    }
    row(&mut out, "proven", &proven(document));
    if let Some(until) = &document.watched_until {
        row(&mut out, "watched until", &until.strftime("%F %T UTC").to_string());
    }
    described(&mut out, document);
    tried(&mut out, document);
    damaged(&mut out, document);
    row(&mut out, "next", &next(document));
    out
}

fn damaged(out: &mut String, document: &StatusDocument) {
    for model in &document.damaged_models {
        row(out, "damaged model", &format!("{model}; `awqdeploy verify --all --repair` mends it"));
    }
    for record in &document.damaged {
        row(out, "damaged record", record);
    }
}

/// How well it was proven.
fn proven(document: &StatusDocument) -> String {
    let Some(report) = &document.report else {
        return if document.proven { "yes" } else { "no: it was never validated" }.to_owned();
    };
    let word = report.verdict.name();
    let mut told =
        vec![if document.proven { word.to_owned() } else { format!("no; last validation: {word}") }];
    told.push(format!("{} of {} checks", report.checks - report.failed_checks, report.checks));
    told.extend(report.known_answers.map(|answers| answers.to_string()));
    let speed = report.decode_tokens_per_second;
    told.extend(speed.map(|speed| format!("{:.1} tokens/s, one stream", speed.median)));
    if !report.not_judged.is_empty() {
        told.push("a gate not judged".to_owned());
    }
    format!("{}, {}", report.at.strftime("%F %R"), told.join(", "))
}

fn described(out: &mut String, document: &StatusDocument) {
    let Some(current) = &document.current else { return };
    row(out, "API", &current.url);
    row(out, "model", &current.repo);
    row(out, "vLLM", &format!("{}, tensor parallel size {}", current.vllm, current.tensor_parallel_size));
    if let Some(python) = &current.python {
        row(out, "runs on", &python.to_string());
    }
    match &document.as_found {
        Some(found) => row(out, "run by", &format!("{found}, as adopted; the next deployment replaces it")),
        None => row(out, "unit", &format!("{}.service", current.service)),
    }
}

/// The newest attempt, and how it ended.
fn tried(out: &mut String, document: &StatusDocument) {
    let Some(last) = &document.last_activation else { return };
    let how = match (last.end, &last.step) {
        (Some(end), _) => end.to_owned(),
        (None, step) => format!("at {}, and not ended", step.as_deref().unwrap_or("-")),
    };
    let at = last.at.map_or_else(String::new, |at| at.strftime(", %F %T UTC").to_string());
    let what = match (last.action, &last.profile) {
        (Some(action), Some(profile)) => format!("{action} of {profile} (generation {})", last.to),
        _ => format!("generation {}", last.to),
    };
    row(out, "tried last", &format!("activation {}, {what}: {how}{at}", last.number));
    if let Some(why) = &last.why {
        row(out, "it failed, since", why);
    }
}

/// The commands to type next.
fn next(document: &StatusDocument) -> String {
    let Some(current) = &document.current else {
        return "`awqdeploy profiles` lists what can be deployed; `awqdeploy init OWNER/MODEL` writes a profile".to_owned();
    };
    if document.runs.is_some_and(|runs| runs != current.generation) {
        return "`awqdeploy recover` starts what should run".to_owned();
    }
    let end = document.last_activation.as_ref().map(|last| last.end);
    let back = document
        .way_back
        .map_or_else(String::new, |to| format!("; `awqdeploy rollback` rolls back to generation {to}"));
    match (end, &document.serving, document.service.as_deref()) {
        (Some(None), ..) => {
            "`awqdeploy follow` shows how it goes on; `awqdeploy recover` rolls back if nobody is at it"
                .to_owned()
        }
        (Some(Some("stuck")), ..) => format!("`awqdeploy recover` tries again{back}"),
        (Some(Some("rolled-back")), Some(_), _) => "`awqdeploy why` shows why the last one failed".to_owned(),
        (_, Some(_), _) => format!("`awqdeploy report` shows how it was proven{back}"),
        (_, None, Some("inactive")) => format!("`systemctl start {}` starts it{back}", current.service),
        (_, None, Some("activating" | "reloading")) => {
            "`awqdeploy logs --follow` shows how it starts".to_owned()
        }
        (_, None, Some(_)) => {
            format!(
                "`awqdeploy logs` has more; `systemctl restart {}` starts it again{back}",
                current.service
            )
        }
        (_, None, None) => "run this where its service manager is".to_owned(),
    }
}

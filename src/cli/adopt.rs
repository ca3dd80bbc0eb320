//! `adopt`: what was found, and what became of it.

use super::{
    args::{Adopt, Global},
    ink::{BOLD, CARE, GOOD},
    progress::Screen,
    render, run,
};
use crate::{
    domain::{generation_id::GenerationId, problem::Problem, report::Report},
    flow::adopt::{self, Adoption, Found, Questions, Request},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

/// `awqdeploy/adoption/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AdoptionDocument {
    schema: &'static str,
    /// Whether it was only looked at.
    dry_run: bool,
    /// Null in a dry run.
    generation: Option<GenerationId>,
    profile: String,
    service: String,
    /// The file of the unit that runs it; null for a process of no unit.
    unit: Option<PathBuf>,
    pid: i32,
    /// The command line as it was found.
    argv: Vec<String>,
    /// The variables that its generation keeps.
    environment: BTreeMap<String, String>,
    /// What a person should know.
    notes: Vec<String>,
    /// The text of the profile.
    profile_text: String,
    report: Option<Report>,
}

pub(crate) fn adopt(global: &Global, request: Adopt, screen: &Screen) -> Result<u8, Problem> {
    let dry_run = request.dry_run;
    let profile = request.profile.clone();
    let wanted = Request {
        target: request.target,
        profile: request.profile,
        service: request.service,
        repo: request.repo,
        vllm: request.vllm,
        questions: if request.no_questions { Questions::Spared } else { Questions::Asked },
    };
    let world = run::world(global)?;
    let found = adopt::look(&world, wanted)?;
    let adoption = if dry_run { None } else { Some(adopt::adopt(&world, found.clone(), screen)?) };
    screen.clear();
    let text = world.library.text(&profile).ok().filter(|_| !dry_run);
    let document = AdoptionDocument::of(profile, found, adoption, text);
    run::show(global, &document, render)
}

impl AdoptionDocument {
    fn of(profile: String, found: Found, adoption: Option<Adoption>, text: Option<String>) -> Self {
        let service = found.service().to_owned();
        let Found { reading, adopted, profile: planned, .. } = found;
        Self {
            schema: "awqdeploy/adoption/v1",
            dry_run: adoption.is_none(),
            generation: adoption.as_ref().map(|adoption| adoption.generation),
            profile,
            service,
            unit: adopted.unit.map(|unit| unit.path),
            pid: adopted.process.pid,
            argv: adopted.argv,
            environment: reading.environment,
            notes: adopted.notes,
            profile_text: text.unwrap_or(planned),
            report: adoption.map(|adoption| adoption.report),
        }
    }
}

fn render(document: &AdoptionDocument) -> String {
    let mut out = String::new();
    let found = match &document.unit {
        Some(unit) => format!("`{}`, process {}", unit.display(), document.pid),
        None => format!("process {}", document.pid),
    };
    let _ = writeln!(out, "{BOLD}found{BOLD:#} {found}");
    out.push_str(&render::command(&document.argv));
    for note in &document.notes {
        let _ = writeln!(out, "  {CARE}!{CARE:#} {note}");
    }
    let Some(generation) = document.generation else {
        let _ = writeln!(out, "{BOLD}its profile would be {}.toml{BOLD:#}", document.profile);
        out.extend(document.profile_text.lines().map(|line| format!("  {line}\n")));
        out.push_str("nothing was changed\n");
        return out;
    };
    if let Some(report) = &document.report {
        out.push_str(&render::report(report));
    }
    let _ = writeln!(
        out,
        "{GOOD}{} is generation {generation}{GOOD:#}: it serves on as it did, and can be returned to",
        document.profile
    );
    let _ = writeln!(
        out,
        "the next `awqdeploy deploy` replaces {}; `awqdeploy rollback {}` starts the same command line again",
        document.unit.as_ref().map_or_else(|| found, |unit| format!("`{}`", unit.display())),
        document.profile
    );
    out
}

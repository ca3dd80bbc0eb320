//! `adopt`: prints what was found, and what became of it.

use crate::{
    cli::{
        args::{Adopt, Global},
        context,
        documents::adoption::AdoptionDocument,
        output,
        progress::Screen,
        render::{self, style},
        terminal::{BOLD, CARE, GOOD},
    },
    domain::{exit_status::ExitStatus, problem::Problem},
    flow::adopt::{self, Questions, Request},
};
use std::{fmt::Write, rc::Rc};

pub(crate) fn adopt(global: &Global, request: Adopt, screen: &Rc<Screen>) -> Result<ExitStatus, Problem> {
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
    let context = context::on_screen(global, screen)?;
    let found = adopt::look(&context, wanted)?;
    let adoption = if dry_run { None } else { Some(adopt::adopt(&context, found.clone())?) };
    screen.clear();
    let text = context.library.text(&profile).ok().filter(|_| !dry_run);
    let document = AdoptionDocument::of(profile, found, adoption, text);
    output::show(global, &document, render)
}

fn render(document: &AdoptionDocument) -> String {
    let mut out = String::new();
    let found = match &document.unit {
        Some(unit) => format!("`{}`, process {}", unit.display(), document.pid),
        None => format!("process {}", document.pid),
    };
    let _ = writeln!(out, "{BOLD}found{BOLD:#} {found}");
    out.push_str(&style::command(&document.argv));
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

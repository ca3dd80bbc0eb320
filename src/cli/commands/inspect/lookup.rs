//! `logs` and `diff`: prints details.

use crate::{
    cli::{
        args::{Global, Logs},
        context,
        documents::lookup::{ComparedLine, DiffDocument, LogsDocument},
        output,
        terminal::{BAD, BOLD, FAINT, GOOD, print},
    },
    domain::{
        exit_status::ExitStatus,
        generation::diff::Change,
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::{
        context::{Context, Estimates},
        inspect::{
            diff::{self, Compared},
            logs::{self, Source},
        },
    },
    host::systemd::service::Lines,
};
use std::fmt::Write;

pub(crate) fn logs(global: &Global, request: &Logs) -> Result<ExitStatus, Problem> {
    let generation = request.generation.map(GenerationId);
    let mut context = context::context(global)?;
    if !global.json {
        let lines = if request.follow { Lines::Follow } else { Lines::Last(request.lines) };
        logs::logs(&mut context, generation, lines, &mut |line| print(line))?;
        return Ok(ExitStatus::Done);
    }
    if request.follow {
        return Err(Problem::new(Kind::Usage, "`--follow` has no end, and a JSON document has one")
            .help("leave out `--json`, or `--follow`"));
    }
    let mut lines = Vec::new();
    let (generation, source) =
        logs::logs(&mut context, generation, Lines::Last(request.lines), &mut |line| {
            lines.push(line.to_owned());
        })?;
    let activation = match source {
        Source::ServiceManager => None,
        Source::Kept(activation) => Some(activation),
    };
    output::show(global, &LogsDocument { schema: "awqdeploy/logs/v1", generation, activation, lines }, |_| {
        String::new()
    })
}

pub(crate) fn diff(global: &Global, [a, b]: [&str; 2]) -> Result<ExitStatus, Problem> {
    // A comparison decides nothing.
    let context = Context { estimates: Estimates::Accepted, ..context::interruptible(global)? };
    let ([a, b], sections) = diff::difference(&context, a, b)?;
    let line = |Compared { generation, profile }: Compared| ComparedLine { generation, profile };
    let document = DiffDocument { schema: "awqdeploy/diff/v1", a: line(a), b: line(b), sections };
    output::show(global, &document, render)
}

fn render(document: &DiffDocument) -> String {
    let name = |line: &ComparedLine| match line.generation {
        Some(id) => format!("generation {id} ({})", line.profile),
        None => format!("{} as it would be deployed now", line.profile),
    };
    let (a, b) = (name(&document.a), name(&document.b));
    if document.sections.is_empty() {
        return format!("{a} and {b} are the same\n");
    }
    let mut out = format!("{BAD}- {a}{BAD:#}\n{GOOD}+ {b}{GOOD:#}\n");
    for section in &document.sections {
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}", section.part);
        for line in &section.lines {
            let (sign, style) = match line.is {
                Change::Removed => ('-', BAD),
                Change::Added => ('+', GOOD),
                Change::Same => (' ', FAINT),
            };
            let _ = writeln!(out, "{style}{sign} {}{style:#}", line.text);
        }
    }
    out
}

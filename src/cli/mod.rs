//! People: arguments, rendering, progress, errors, exit status.

mod args;
mod commands;
mod context;
mod documents;
mod interchange;
mod library;
mod output;
pub mod problem;
mod progress;
mod render;
pub mod terminal;

use crate::{
    domain::{exit_status::ExitStatus, problem::Problem, spelling::closest},
    host::os::fs,
};
use args::{Arguments, Global};
use clap::{
    CommandFactory, FromArgMatches, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::process::ExitCode;

/// A mistake that proposes no hidden command.
fn without_hidden(mut mistake: clap::Error) -> clap::Error {
    if mistake.kind() != ErrorKind::InvalidSubcommand {
        return mistake;
    }
    let typed = match mistake.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => typed.clone(),
        _ => return mistake,
    };
    let command = Arguments::command();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let meant = closest(&typed, shown.map(clap::Command::get_name)).map(str::to_owned);
    match meant {
        Some(meant) => mistake.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant])),
        None => mistake.remove(ContextKind::SuggestedSubcommand),
    };
    mistake
}

/// The problem of a command line without the profile that it needs, and whether it asks for JSON.
fn without_profile(mistake: &clap::Error) -> Option<(Problem, bool)> {
    let Some(ContextValue::Strings(missing)) = mistake.get(ContextKind::InvalidArg) else { return None };
    if mistake.kind() != ErrorKind::MissingRequiredArgument || missing.iter().all(|name| name != "<PROFILE>")
    {
        return None;
    }
    let rest = Arguments::command().ignore_errors(true).try_get_matches().ok()?;
    let global = Global::from_arg_matches(&rest).ok()?;
    let problem = commands::inspect::profiles::none_named(&global, rest.subcommand_name()?);
    Some((problem, global.json))
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    fs::ignore_callers_umask();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            if let Some((problem, json)) = without_profile(&e) {
                return failed(&problem, json);
            }
            let e = without_hidden(e);
            // Help and the version come this way too, on the standard output. What was typed may be pasted.
            let said = e.render().to_string();
            if said.contains(terminal::is_hidden) {
                terminal::say(said.trim_end());
            } else {
                let _closed = e.print();
            }
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(ExitStatus::Usage.code()));
        }
    };
    let json = arguments.global.json;
    match commands::run(arguments) {
        Ok(status) => ExitCode::from(status.code()),
        Err(problem) => failed(&problem, json),
    }
}

fn failed(problem: &Problem, json: bool) -> ExitCode {
    if json {
        let _unsaid = terminal::print_json(&problem::to_json(problem));
    }
    terminal::say_coloured(&problem::render(problem, problem::Style::Coloured));
    ExitCode::from(ExitStatus::from(problem.kind).code())
}

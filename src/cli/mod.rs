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

use crate::domain::{exit_status::ExitStatus, spelling::closest};
use args::Arguments;
use clap::{
    CommandFactory, Parser,
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

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
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
        Err(problem) => {
            if json {
                let _unsaid = terminal::print_json(&problem::to_json(&problem));
            }
            let text = problem::render(&problem, problem::Style::Coloured);
            terminal::say_coloured(&text);
            ExitCode::from(ExitStatus::from(problem.kind).code())
        }
    }
}

//! People: arguments, rendering, progress, errors, exit status.

mod adopt;
mod args;
mod charts;
mod documents;
mod evidence;
mod generate;
mod history;
mod interchange;
mod lookup;
mod page;
mod planned;
pub mod problem;
mod progress;
mod proof;
mod rehearsal;
mod render;
mod run;
mod schema;
mod summary;
mod supply;
mod units;
mod verified;

use args::Arguments;
use clap::Parser;
use std::{io::Write, process::ExitCode};

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            // Help and the version come this way too, on the standard output.
            let _closed = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let json = arguments.global.json;
    match run::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            if json {
                print(&serde_json::to_string_pretty(&problem::to_json(&problem)).unwrap_or_default());
            }
            // Colours are left out where the standard error is no terminal. A closed one is no reason
            // for another exit status.
            let text = problem::render(&problem, problem::Style::Coloured);
            let _closed = writeln!(anstream::stderr(), "{text}");
            ExitCode::from(problem::exit_code(problem.kind))
        }
    }
}

/// Writes to the standard output; a reader that left is no problem.
fn print(text: &str) {
    let mut out = anstream::stdout();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _closed = write!(out, "{text}{end}").and_then(|()| out.flush());
}

//! What a command prints, and what it asks.

use super::{
    args::{Consent, Global},
    terminal::{print_json, print_wrapped, release, styled},
};
use crate::domain::{
    exit_status::ExitStatus,
    problem::{Kind, Problem},
};
use dialoguer::Confirm;
use serde::Serialize;
use std::io::IsTerminal as _;

pub(crate) fn show<D: Serialize>(
    global: &Global,
    document: &D,
    text: impl FnOnce(&D) -> String,
) -> Result<ExitStatus, Problem> {
    if global.json {
        print_json(document)?;
    } else {
        let text = text(document);
        if !text.is_empty() {
            print_wrapped(&text);
        }
    }
    Ok(ExitStatus::Done)
}

/// Asks a person at a terminal; anybody else must have said `--yes`.
pub(crate) fn agree(consent: &Consent, question: &str) -> Result<(), Problem> {
    if consent.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            Problem::new(Kind::Usage, "nobody is there to ask").help("say `--yes` to go on without asking")
        );
    }
    let not_agreed = Problem::new(Kind::Interrupted, "not agreed; nothing was changed");
    release();
    match Confirm::new().with_prompt(styled(question)).default(false).interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_agreed),
        Err(dialoguer::Error::IO(e)) if e.kind() == std::io::ErrorKind::Interrupted => {
            // The question hid the cursor, and Ctrl-C left it so.
            let _closed = dialoguer::console::Term::stderr().show_cursor();
            Err(not_agreed)
        }
        Err(e) => Err(Problem::doing("ask", e)),
    }
}

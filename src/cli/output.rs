//! Prints the result of a command, and asks for consent.

use super::{
    args::{Consent, Global},
    terminal::{print_json, print_wrapped, release, styled},
};
use crate::domain::{
    exit_status::ExitStatus,
    problem::{Kind, Problem},
};
use dialoguer::{Confirm, Input, Select};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;
use std::io::{IsTerminal as _, stdin};

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
    if !stdin().is_terminal() {
        return Err(
            Problem::new(Kind::Usage, "nobody is there to ask").help("say `--yes` to go on without asking")
        );
    }
    let not_agreed = || Problem::new(Kind::Interrupted, "not agreed; nothing was changed");
    release();
    let _keys = Keys::taken();
    let asked = Confirm::new().with_prompt(styled(question)).default(false).interact();
    if answered(asked, not_agreed)? { Ok(()) } else { Err(not_agreed()) }
}

/// Asks a person at a terminal for a word; everybody else gets the problem of having left it out.
pub(crate) fn ask(
    global: &Global,
    question: &str,
    unsaid: impl FnOnce() -> Problem,
) -> Result<String, Problem> {
    if !may_ask(global) {
        return Err(unsaid());
    }
    release();
    let _keys = Keys::taken();
    answered(Input::new().with_prompt(styled(question)).interact_text(), not_answered)
}

/// Asks a person at a terminal to choose one of these; everybody else gets the problem of having left it out.
pub(crate) fn choose(
    global: &Global,
    question: &str,
    among: &[String],
    unsaid: impl FnOnce(&[String]) -> Problem,
) -> Result<String, Problem> {
    if !may_ask(global) {
        return Err(unsaid(among));
    }
    release();
    let _keys = Keys::taken();
    let chosen = Select::new().with_prompt(styled(question)).items(among).default(0).interact();
    let chosen = answered(chosen, not_answered)?;
    among.get(chosen).cloned().ok_or_else(|| unsaid(among))
}

/// A terminal that hands over every key, Ctrl-C too, until this is dropped.
///
/// dialoguer reads key by key, and asks for that only once its question is shown: Ctrl-C before that was a signal that
/// nobody waited for.
struct Keys(Termios);

impl Keys {
    fn taken() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &keys).ok()?;
        Some(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _closed = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

fn may_ask(global: &Global) -> bool {
    !global.json && stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn not_answered() -> Problem {
    Problem::new(Kind::Interrupted, "not answered; nothing was changed")
}

fn answered<T>(asked: dialoguer::Result<T>, none: impl FnOnce() -> Problem) -> Result<T, Problem> {
    asked.map_err(|e| match e {
        dialoguer::Error::IO(e) if e.kind() == std::io::ErrorKind::Interrupted => {
            // The question hid the cursor, and Ctrl-C left it hidden.
            let _closed = dialoguer::console::Term::stderr().show_cursor();
            none()
        }
        dialoguer::Error::IO(e) => Problem::doing("ask", e),
    })
}

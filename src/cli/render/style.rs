//! How words and rows are written.

use crate::cli::terminal::FAINT;
use std::{borrow::Cow, fmt::Write as _};

pub(crate) fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {FAINT}{name:<24}{FAINT:#} {value}");
}

/// The engine's command line, an option a line.
pub(crate) fn command(argv: &[String]) -> String {
    let mut out = String::from(" ");
    for (index, word) in argv.iter().enumerate() {
        if index > 0 && word.starts_with("--") {
            out.push_str("\n    ");
        }
        let _ = write!(out, " {}", shell_word(word));
    }
    out.push('\n');
    out
}

/// A word as a shell reads it.
pub(crate) fn shell_word(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument has one.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned)
}

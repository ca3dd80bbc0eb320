//! How words and rows are written.

use crate::cli::terminal::FAINT;
use std::fmt::Write as _;

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
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

//! What went wrong, where, and what to do about it: the one error value of the program.
//!
//! Texts are lowercase fragments with values in backticks; the remedy goes into `help`.

use serde::{Deserialize, Serialize};
use std::{error::Error, fmt, iter::successors, ops::Range, path::PathBuf};

/// The kind of a problem. The command line maps each to an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something that should not happen: an I/O error, a bug, a broken installation.
    Unexpected,
    /// The command line or a file that a person wrote is wrong.
    Usage,
    /// The plan cannot work on this host.
    Refused,
    /// A file is missing, cannot be fetched, or is not what was locked.
    Unverified,
    /// Another process holds the root.
    Busy,
    /// A person is needed before anything else may be activated.
    Stuck,
    /// Stopped by a signal before anything was touched.
    Interrupted,
}

/// A problem with its place, remedy and cause.
#[derive(Debug)]
pub struct Problem {
    /// The kind, which decides the exit status.
    pub kind: Kind,
    /// The problem as a lowercase fragment: "no profile named `x`".
    pub what: String,
    /// The remedy.
    pub help: Option<String>,
    /// Where in a file that a person wrote.
    pub place: Option<Box<Place>>,
    /// The cause.
    pub(crate) cause: Option<Box<dyn Error + Send + Sync>>,
    /// Further mistakes found in the same go, so that a person need not run once for each.
    pub also: Vec<Self>,
}

/// A piece of a text file to point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the person named it.
    pub path: PathBuf,
    /// The whole text of the file.
    pub text: String,
    /// Bytes of `text` to underline.
    pub span: Range<usize>,
    /// What to write under the underlined piece.
    pub label: String,
}

impl Problem {
    /// A problem of this kind, without place, remedy or cause.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), help: None, place: None, cause: None, also: Vec::new() }
    }

    /// Many problems as one: the first by position, which carries the others. Nothing for none.
    pub fn of_many(mut problems: Vec<Self>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        let mut problems = problems.into_iter();
        let mut first = problems.next()?;
        first.also.extend(problems);
        Some(first)
    }

    /// An unexpected problem while doing something: "write `/x`".
    pub fn doing(what: impl fmt::Display, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Unexpected, format!("cannot {what}")).because(cause)
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The problem and its causes in one line: what a journal or document keeps as the reason.
    pub fn in_one_line(&self) -> String {
        let causes = successors(self.source(), |&cause| cause.source()).map(ToString::to_string);
        std::iter::once(self.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    }

    /// Adds the place in a file.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }
}

impl Place {
    /// Line and column of the span's start, both counted from 1, the column in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = self.text.floor_char_boundary(self.span.start.min(self.text.len()));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            write!(f, "{}:{line}:{column}: ", place.path.display())?;
        }
        f.write_str(&self.what)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

//! A manifest of what was put into the store: every file by its hash, every link by its target.
//!
//! A runtime has tens of thousands of files, so a manifest is one line for each, tab-separated:
//! `file HASH SIZE PATH`, `program HASH SIZE PATH`, `link TARGET - PATH`. The first line holds the hash of all others.

use crate::domain::{
    digest::Sha256Digest,
    problem::{Kind, Problem},
    size::ByteSize,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

const HEADING: &str = "awqdeploy manifest 1 ";

/// Everything below a folder but its folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<PathBuf, Entry>);

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// The content.
        sha256: Sha256Digest,
        /// The length.
        size: ByteSize,
        /// Whether it can be run.
        mode: Mode,
    },
    /// A link.
    Link {
        /// The target, as the link has it.
        target: PathBuf,
    },
}

/// Whether a file can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A file that is only read.
    Plain,
    /// A program.
    Program,
}

/// A thing that is installed into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// An environment with vLLM.
    Runtime,
    /// An interpreter of such environments.
    Interpreter,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "the runtime",
            Self::Interpreter => "the interpreter",
        })
    }
}

impl Manifest {
    /// A manifest of these entries, each at its path below the folder.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where a name cannot be written down: it has a tab or a line break, or is no UTF-8.
    pub fn of(entries: BTreeMap<PathBuf, Entry>) -> Result<Self, Problem> {
        let targets = entries.values().filter_map(|entry| match entry {
            Entry::Link { target } => Some(target),
            Entry::File { .. } => None,
        });
        let plain = |path: &Path| path.to_str().is_some_and(|text| !text.contains(['\t', '\n', '\r']));
        match entries.keys().chain(targets).find(|path| !plain(path)) {
            None => Ok(Self(entries)),
            Some(path) => {
                let what = format!("`{}` is no name for a file", path.to_string_lossy().escape_debug());
                Err(Problem::new(Kind::Unverified, what).help("a wheel that brings it is broken, or hostile"))
            }
        }
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &BTreeMap<PathBuf, Entry> {
        &self.0
    }

    /// Bytes of all files.
    pub fn size(&self) -> ByteSize {
        let sizes = self.0.values().filter_map(|entry| match entry {
            Entry::File { size, .. } => Some(*size),
            Entry::Link { .. } => None,
        });
        sizes.sum()
    }

    /// The hash of the lines, which stands for the whole folder.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.lines())
    }

    /// The text of its file.
    pub fn to_text(&self) -> String {
        let lines = self.lines();
        format!("{HEADING}{}\n{lines}", Sha256Digest::of(&lines))
    }

    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where anything of it was changed.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let changed = || {
            let what = format!("`{}` was changed since it was written", path.display());
            Problem::new(Kind::Unverified, what)
                .help("deploy the profile anew: it is installed again, and recorded")
        };
        let (heading, lines) = text.split_once('\n').ok_or_else(changed)?;
        if heading.strip_prefix(HEADING) != Some(&Sha256Digest::of(lines).to_string()) {
            return Err(changed());
        }
        let entries: Option<BTreeMap<_, _>> = lines.lines().map(entry).collect();
        entries.map(Self).ok_or_else(changed)
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        for (path, entry) in &self.0 {
            let path = path.display();
            // Writing to a string does not fail.
            let _ = match entry {
                Entry::File { sha256, size, mode } => {
                    let kind = if *mode == Mode::Program { "program" } else { "file" };
                    writeln!(lines, "{kind}\t{sha256}\t{}\t{path}", size.0)
                }
                Entry::Link { target } => writeln!(lines, "link\t{}\t-\t{path}", target.display()),
            };
        }
        lines
    }
}

fn entry(line: &str) -> Option<(PathBuf, Entry)> {
    let mut words = line.splitn(4, '\t');
    let (kind, what, size, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mode = match kind {
        "link" => return Some((path.into(), Entry::Link { target: what.into() })),
        "program" => Mode::Program,
        "file" => Mode::Plain,
        _ => return None,
    };
    let (sha256, size) = (what.parse().ok()?, ByteSize(size.parse().ok()?));
    Some((path.into(), Entry::File { sha256, size, mode }))
}

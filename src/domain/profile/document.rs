//! A TOML file that a person wrote: which keys it may have, where each value stands, and problems that
//! point at exactly the offending text.
//!
//! Profiles and locks each bring a table of [`Key`]s. It is the one place that says what a key takes, so a
//! wrong type and an impossible value are explained in the same words.

use crate::domain::{
    problem::{Kind, Place, Problem},
    spelling::{closest, listed},
};
use serde::de::DeserializeOwned;
use std::{ops::Range, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A key that a file may have.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The dotted path; `*` stands for any one name. Elements of an array have the array's path.
    pub path: &'static str,
    /// Whether its table must have it.
    pub presence: Presence,
    /// Completes "`key` takes …".
    pub takes: &'static str,
    /// A line that would be right.
    pub example: &'static str,
}

/// Whether a table must have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Missing is a mistake.
    Required,
    /// Missing means the default, or none.
    Optional,
}

/// The treatment of unknown keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownKeys {
    /// They are mistakes.
    Refused,
    /// A later program may have written them.
    Ignored,
}

/// Why a value is refused.
#[derive(Debug)]
pub(crate) struct DocumentError {
    label: String,
    what: Option<String>,
    help: Option<String>,
}

/// A mistake in a file's keys.
enum Found {
    Unknown(Problem),
    Missing(Problem),
}

/// A TOML file in memory, and what it may say.
pub(crate) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    /// The text as problems show it, with secrets covered.
    shown: String,
    keys: &'static [Key],
    root: DeTable<'a>,
}

impl Key {
    /// A key that its table must have.
    pub(crate) const fn required(path: &'static str, takes: &'static str, example: &'static str) -> Self {
        Self { path, presence: Presence::Required, takes, example }
    }

    /// A key that may be left out.
    pub(crate) const fn optional(path: &'static str, takes: &'static str, example: &'static str) -> Self {
        Self { presence: Presence::Optional, ..Self::required(path, takes, example) }
    }

    /// The key in `keys` that this path belongs to.
    fn find(keys: &'static [Self], path: &[&str]) -> Option<&'static Self> {
        keys.iter().find(|key| key.matches(path))
    }

    fn matches(&self, path: &[&str]) -> bool {
        let mut names = self.path.split('.');
        path.iter().all(|name| names.next().is_some_and(|own| own == "*" || own == *name))
            && names.next().is_none()
    }

    /// The name of this key, and whether `path` is its table.
    fn child_of(&self, path: &[&str]) -> Option<&'static str> {
        let (table, name) = self.path.rsplit_once('.').unwrap_or(("", self.path));
        let names = table.split('.').filter(|name| !name.is_empty());
        let fits = names.clone().count() == path.len()
            && names.zip(path).all(|(own, name)| own == "*" || own == *name);
        fits.then_some(name)
    }

    fn is_table(&self) -> bool {
        self.example.starts_with('[')
    }
}

impl DocumentError {
    /// A refusal with the text to write under the value.
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), what: None, help: None }
    }

    /// Says something other than "`key` takes …".
    #[must_use]
    pub(crate) fn what(mut self, what: impl Into<String>) -> Self {
        self.what = Some(what.into());
        self
    }

    /// Gives another remedy than the key's example.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem where there is no text to point at: the value came from the program.
    pub(crate) fn unplaced(self, keys: &'static [Key], path: &str) -> Problem {
        let names: Vec<&str> = path.split('.').collect();
        let label = self.label.clone();
        let problem = self.explained(Key::find(keys, &names), path);
        Problem { what: format!("{}: {label}", problem.what), ..problem }
    }

    fn explained(self, key: Option<&Key>, path: &str) -> Problem {
        let takes = key.map_or("something else", |key| key.takes);
        let what = self.what.unwrap_or_else(|| format!("`{path}` takes {takes}"));
        let help = self.help.or_else(|| key.map(|key| format!("for example `{}`", key.example)));
        Problem { help, ..Problem::new(Kind::Usage, what) }
    }
}

impl<'a> Document<'a> {
    /// Reads the syntax. `path` is only named in problems.
    pub(crate) fn parse(path: &'a Path, text: &'a str, keys: &'static [Key]) -> Result<Self, Problem> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { path, text, shown: text.to_owned(), keys, root: root.into_inner() }),
            Err(error) => Err(misspelt(path, text, &error)),
        }
    }

    /// Reads the values, after a check that all keys are known and all required ones are there.
    pub(crate) fn read<T: DeserializeOwned>(&self, strangers: UnknownKeys) -> Result<T, Problem> {
        let mut problems = Vec::new();
        self.survey(&self.root, &mut Vec::new(), 0..0, &mut |found| match (found, strangers) {
            (Found::Unknown(_), UnknownKeys::Ignored) => {}
            (Found::Unknown(problem) | Found::Missing(problem), _) => problems.push(problem),
        });
        match Problem::of_many(problems) {
            Some(problem) => Err(problem),
            None => toml::from_str(self.text).map_err(|error| self.mistyped(&error)),
        }
    }

    /// Reads the values beside any unknown keys, which are mistakes too: all are to be told at once. A key that is
    /// missing leaves nothing to read.
    pub(crate) fn read_beside<T: DeserializeOwned>(&self) -> Result<(T, Vec<Problem>), Problem> {
        let (mut unknown, mut missing) = (Vec::new(), Vec::new());
        self.survey(&self.root, &mut Vec::new(), 0..0, &mut |found| match found {
            Found::Unknown(problem) => unknown.push(problem),
            Found::Missing(problem) => missing.push(problem),
        });
        let incomplete = !missing.is_empty();
        unknown.extend(missing);
        match toml::from_str(self.text) {
            Ok(raw) if !incomplete => Ok((raw, unknown)),
            Err(error) if !incomplete => {
                unknown.push(self.mistyped(&error));
                Err(Problem::of_many(unknown).unwrap_or_else(|| self.mistyped(&error)))
            }
            Ok(_) | Err(_) => Err(Problem::of_many(unknown)
                .unwrap_or_else(|| Problem::doing("read the file", "a key is missing, and none is named"))),
        }
    }

    /// A whole number at the top of the file, if there is one. It decides how to read the rest.
    pub(crate) fn integer(&self, name: &str) -> Option<Spanned<i64>> {
        let value = self.root.get(name)?;
        match value.get_ref() {
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
                Some(Spanned::new(value.span(), number))
            }
            _ => None,
        }
    }

    /// Covers a secret in all problems from now on, since they end up in logs. Every byte becomes a star and
    /// line ends stay, so that places stay right.
    pub(crate) fn cover(&mut self, span: Range<usize>) {
        if let Some(secret) = self.shown.get(span.clone()) {
            let stars = secret.bytes().map(|byte| match byte {
                b'\n' => '\n',
                _ => '*',
            });
            let stars: String = stars.collect();
            self.shown.replace_range(span, &stars);
        }
    }

    /// The problem with the value at this span.
    pub(crate) fn fault(&self, span: Range<usize>, fault: DocumentError) -> Problem {
        let place = self.place(span.clone(), fault.label.clone());
        let path = self.value_at(&span).map(|(path, _)| path);
        let path = path.unwrap_or_default();
        fault.explained(Key::find(self.keys, &path), &path.join(".")).at(place)
    }

    fn place(&self, span: Range<usize>, label: impl Into<String>) -> Place {
        place(self.path, &self.shown, span, label)
    }

    /// Finds unknown and missing keys in this table and those below.
    fn survey<'t>(
        &self,
        table: &'t DeTable<'_>,
        path: &mut Vec<&'t str>,
        header: Range<usize>,
        see: &mut dyn FnMut(Found),
    ) {
        for key in self.keys {
            let missing = |name: &&str| !table.contains_key(*name) && *name != "*";
            if let Some(name) = key.child_of(path).filter(missing)
                && key.presence == Presence::Required
            {
                see(Found::Missing(self.missing(key, name, path, header.clone())));
            }
        }
        for (name, value) in table {
            path.push(name.get_ref());
            if Key::find(self.keys, path).is_some() {
                self.survey_value(value, path, name.span(), see);
            } else {
                see(Found::Unknown(self.unknown(path, name.span())));
            }
            path.pop();
        }
    }

    fn survey_value<'t>(
        &self,
        value: &'t Spanned<DeValue<'_>>,
        path: &mut Vec<&'t str>,
        header: Range<usize>,
        see: &mut dyn FnMut(Found),
    ) {
        match value.get_ref() {
            DeValue::Table(table) if self.has_children(path) => {
                self.survey(table, path, header, see);
            }
            DeValue::Array(elements) => {
                for element in elements {
                    self.survey_value(element, path, element.span(), see);
                }
            }
            _ => {}
        }
    }

    fn has_children(&self, path: &[&str]) -> bool {
        self.keys.iter().any(|key| key.child_of(path).is_some())
    }

    fn missing(&self, key: &Key, name: &str, path: &[&str], header: Range<usize>) -> Problem {
        let end = self.text.trim_end().len();
        let (span, label) = match path {
            [] if key.is_table() => (end..end, "expected by the end of the file".to_owned()),
            [] => (0..0, "expected here, before the first table".to_owned()),
            _ => (header, format!("has no `{name}`")),
        };
        let what = match path {
            [] => format!("`{name}` is missing"),
            path => format!("`{}.{name}` is missing", path.join(".")),
        };
        Problem::new(Kind::Usage, what)
            .help(format!("add {}, for example `{}`", key.takes, key.example))
            .at(self.place(span, label))
    }

    fn unknown(&self, path: &[&str], span: Range<usize>) -> Problem {
        let (name, table) = path.split_last().map_or(("", path), |(name, table)| (*name, table));
        let siblings = || self.keys.iter().filter_map(|key| key.child_of(table));
        let elsewhere = || {
            let paths = self.keys.iter().map(|key| key.path);
            paths.map(|path| path.rsplit_once('.').unwrap_or(("", path))).find(|(_, own)| *own == name)
        };
        let within = match table {
            [] => "at the top of the file".to_owned(),
            table => format!("in `[{}]`", table.join(".")),
        };
        let help = if let Some(meant) = closest(name, siblings()) {
            format!("did you mean `{meant}`?")
        } else if let Some(("", _)) = elsewhere() {
            format!("`{name}` belongs before the first table")
        } else if let Some((table, _)) = elsewhere() {
            format!("`{name}` belongs into `[{table}]`")
        } else {
            format!("known {within}: {}", listed(siblings()))
        };
        Problem::new(Kind::Usage, format!("unknown key `{name}`"))
            .help(help)
            .at(self.place(span, format!("not known {within}")))
    }

    fn mistyped(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let label = match self.value_at(&span) {
            // Where the type is right after all, only its size can be wrong.
            Some((_, DeValue::Integer(_))) if error.message().contains("as i128") => "too large",
            Some((_, value)) => kind_of(value),
            None => error.message(),
        };
        self.fault(span, DocumentError::new(label))
    }

    /// The innermost value around this span, with its path.
    fn value_at(&self, span: &Range<usize>) -> Option<(Vec<&str>, &DeValue<'a>)> {
        let mut path = Vec::new();
        let value = innermost(&self.root, span, &mut path)?;
        Some((path, value))
    }
}

fn innermost<'t, 'a>(
    table: &'t DeTable<'a>,
    span: &Range<usize>,
    path: &mut Vec<&'t str>,
) -> Option<&'t DeValue<'a>> {
    for (name, value) in table {
        path.push(name.get_ref());
        if let Some(found) = innermost_value(value, span, path) {
            return Some(found);
        }
        // A key is a value of its own where any name is allowed: `[vllm.environment]`.
        if name.span() == *span {
            return Some(value.get_ref());
        }
        path.pop();
    }
    None
}

fn innermost_value<'t, 'a>(
    value: &'t Spanned<DeValue<'a>>,
    span: &Range<usize>,
    path: &mut Vec<&'t str>,
) -> Option<&'t DeValue<'a>> {
    let own = value.span();
    // `[[name]]` is the place of an array as well as of its table: the array is meant.
    if own == *span {
        return Some(value.get_ref());
    }
    let inside = match value.get_ref() {
        DeValue::Table(table) => innermost(table, span, path),
        DeValue::Array(elements) => elements.iter().find_map(|element| innermost_value(element, span, path)),
        _ => None,
    };
    inside.or((own.start <= span.start && span.end <= own.end).then(|| value.get_ref()))
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this is a string",
        DeValue::Integer(_) => "this is an integer",
        DeValue::Float(_) => "this is a float",
        DeValue::Boolean(_) => "this is a boolean",
        DeValue::Datetime(_) => "this is a date or time",
        DeValue::Array(_) => "this is an array",
        DeValue::Table(_) => "this is a table",
    }
}

/// The problem of a text that is no TOML. A string that the parser calls missing may be any value.
fn misspelt(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message();
    let span = error.span().unwrap_or(0..0);
    let (label, help) = if message.contains("must be quoted") && span.is_empty() {
        ("the value is missing", "write it after the `=`, or remove the line")
    } else if message.contains("must be quoted") {
        ("text must be in quotes", "put text, sizes and durations into straight quotes: `\"16GiB\"`")
    } else if message.contains("duplicate key") {
        (
            "this was said before",
            "a key may stand only once in its table, and a table only once in the file: keep one",
        )
    } else {
        (message, "a line is `key = value`, text is in straight quotes, a table begins with `[name]`")
    };
    Problem::new(Kind::Usage, "this is not valid TOML").help(help).at(place(path, text, span, label))
}

fn place(path: &Path, text: &str, span: Range<usize>, label: impl Into<String>) -> Place {
    Place { path: path.to_owned(), text: text.to_owned(), span, label: label.into() }
}

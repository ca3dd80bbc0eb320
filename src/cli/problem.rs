//! How a problem is shown: to a person on a terminal, to a program as JSON, to a shell as an exit status.

use super::terminal::{is_hidden, plain};
use crate::domain::{
    exit_status::ExitStatus,
    problem::{Kind, Place, Problem},
};
use annotate_snippets::{AnnotationKind, Element, Group, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;
use std::{borrow::Cow, error::Error, fmt::Write as _, iter::successors, ops::Range, path::Path};

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With ANSI escape sequences.
    Coloured,
}

/// The JSON form of a problem.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemJson<'a> {
    /// `awqdeploy/error/v1`.
    pub schema: &'static str,
    /// The kind, as a stable word.
    pub(crate) code: &'static str,
    /// The exit status that goes with it.
    pub(crate) exit_code: u8,
    /// What went wrong.
    pub(crate) message: &'a str,
    /// What to do about it.
    pub(crate) help: Option<&'a str>,
    /// Where in a file that a person wrote.
    pub(crate) place: Option<PlaceJson<'a>>,
    /// What it was caused by, the nearest first.
    pub(crate) causes: Vec<String>,
    /// Further mistakes found in the same go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also: Vec<Self>,
}

/// The JSON form of a place.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlaceJson<'a> {
    /// The file as the person named it.
    pub(crate) path: &'a Path,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// What is wrong with the text there.
    pub(crate) label: &'a str,
}

/// A stable word for each kind of problem.
fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Unexpected => "unexpected",
        Kind::Usage => "usage",
        Kind::Refused => "refused",
        Kind::Unverified => "unverified",
        Kind::Busy => "busy",
        Kind::Stuck => "stuck",
        Kind::Interrupted => "interrupted",
    }
}

/// The text for a person, without a last line break.
///
/// ```text
/// error: `listen.port` takes a whole number from 1 to 65535
///  --> profiles/awq.toml:12:8
///    |
/// 12 | port = 0
///    |        ^ must be at least 1
///    |
///    = help: for example `port = 8000`
/// ```
pub fn render(problem: &Problem, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let mut text = render_one(problem, &renderer);
    for other in &problem.also {
        let _ = write!(text, "\n\n{}", render_one(other, &renderer));
    }
    text
}

fn render_one(problem: &Problem, renderer: &Renderer) -> String {
    let title = Level::ERROR.primary_title(visible(&problem.what));
    let remarks = remarks(problem);
    let Some(place) = &problem.place else {
        // Without a snippet there is no frame for the remarks to stand in.
        let titles = [Group::with_title(title)].into_iter();
        let remarks = remarks.into_iter().map(|(level, text)| Group::with_title(level.secondary_title(text)));
        let lines = titles.chain(remarks).map(|group| renderer.render(&[group]));
        return lines.collect::<Vec<_>>().join("\n");
    };
    let remarks = remarks.into_iter().map(|(level, text)| Element::from(level.message(text)));
    let (text, span) = visible_place(place);
    let annotation = AnnotationKind::Primary.span(span).label(visible(&place.label));
    let path = place.path.display().to_string();
    let snippet = Snippet::source(text).path(visible(&path).into_owned()).annotation(annotation);
    renderer.render(&[title.element(snippet).elements(remarks)])
}

/// The remedy and the causes, each with its name.
fn remarks(problem: &Problem) -> Vec<(Level<'static>, String)> {
    let causes = causes(problem).map(|cause| {
        let level = Level::NOTE.with_name(Some("caused by"));
        (level, visible(&cause.to_string()).into_owned())
    });
    let help = problem.help.iter().map(|help| (Level::HELP, visible(help).into_owned()));
    causes.chain(help).collect()
}

fn causes(problem: &Problem) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(problem.source(), |&cause| cause.source())
}

/// The JSON form.
pub fn to_json(problem: &Problem) -> ProblemJson<'_> {
    ProblemJson {
        schema: "awqdeploy/error/v1",
        code: code(problem.kind),
        exit_code: ExitStatus::from(problem.kind).code(),
        message: &problem.what,
        help: problem.help.as_deref(),
        place: problem.place.as_deref().map(place_json),
        causes: causes(problem).map(ToString::to_string).collect(),
        also: problem.also.iter().map(to_json).collect(),
    }
}

fn place_json(place: &Place) -> PlaceJson<'_> {
    let (line, column) = place.line_column();
    PlaceJson { path: &place.path, line, column, label: &place.label }
}

/// Shows control characters as escapes: the text of a file must not be able to drive the terminal.
fn visible(text: &str) -> Cow<'_, str> {
    if text.contains(is_hidden) { Cow::Owned(plain(text)) } else { Cow::Borrowed(text) }
}

/// The same for the text of a place; its span moves along. The library's own columns are right only for
/// characters that are shown as they are.
fn visible_place(place: &Place) -> (String, Range<usize>) {
    let at = |offset: usize| place.text.floor_char_boundary(offset.min(place.text.len()));
    let (start, end) = (at(place.span.start), at(place.span.end));
    let (before, rest) = place.text.split_at(start);
    let (within, after) = rest.split_at(end.saturating_sub(start));
    let (before, within, after) = (visible(before), visible(within), visible(after));
    let span = before.len()..before.len() + within.len();
    (format!("{before}{within}{after}"), span)
}

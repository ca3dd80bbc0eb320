//! The one place where text leaves the program: nothing of a server, a log or a model drives the terminal.
//!
//! Our text is mixed with that of others long before it is printed. So colours are marks that nobody else can
//! write. They become escape sequences at the very end, after everything else that a terminal would obey was
//! made visible.

pub use crate::domain::spelling::is_hidden;
use crate::domain::{problem::Problem, spelling::show};
use anstyle::{AnsiColor, Style};
use dialoguer::console::Term;
use indicatif::ProgressBar;
use serde::Serialize;
use std::{
    fmt::{self, Write as _},
    hash::{BuildHasher, Hasher, RandomState},
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm, core::display_width, fill};

/// In fewer columns nothing can be read anyway.
const LEAST_WIDTH: usize = 20;
/// The column at which the value of a row begins.
const VALUE: usize = 27;
/// As much as any line is indented.
const INDENT: &str = "                                                                                ";

/// The first and last character of a mark. No text has it, and it is hidden.
const MARK: char = '\u{fdd0}';
/// The secret of this process in each mark: without it a mark is text like any other.
static OURS: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}", RandomState::new().build_hasher().finish()));

/// The style of text. `{BAD}` begins it, and `{BAD:#}` ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStyle {
    /// Plain.
    Plain,
    /// The subject of a line.
    Bold,
    /// An explanation.
    Faint,
    /// A success.
    Good,
    /// A warning.
    Care,
    /// A failure.
    Bad,
}

pub(crate) const BOLD: TextStyle = TextStyle::Bold;
pub(crate) const FAINT: TextStyle = TextStyle::Faint;
pub(crate) const GOOD: TextStyle = TextStyle::Good;
pub(crate) const CARE: TextStyle = TextStyle::Care;
pub(crate) const BAD: TextStyle = TextStyle::Bad;

impl TextStyle {
    const ALL: [Self; 6] = [Self::Plain, Self::Bold, Self::Faint, Self::Good, Self::Care, Self::Bad];

    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Bold => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Care => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }

    fn name(self) -> char {
        match self {
            Self::Plain => 'p',
            Self::Bold => 'b',
            Self::Faint => 'f',
            Self::Good => 'g',
            Self::Care => 'c',
            Self::Bad => 'x',
        }
    }
}

impl fmt::Display for TextStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edge = if f.alternate() { '-' } else { '+' };
        write!(f, "{MARK}{}{edge}{}{MARK}", *OURS, self.name())
    }
}

/// Text for a terminal: with our colours, and everything else that it would obey made visible.
pub fn styled(text: &str) -> String {
    written(text, |ink, begins, out| {
        let style = ink.style();
        let _ = if begins { write!(out, "{style}") } else { write!(out, "{style:#}") };
    })
}

/// Text without colours: for files, and for callers that add their own.
pub fn plain(text: &str) -> String {
    written(text, |_, _, _| {})
}

fn written(text: &str, mut ink: impl FnMut(TextStyle, bool, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_hidden) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((found, begins, after)) = mark(rest) {
            ink(found, begins, &mut out);
            rest = after;
        } else if let Some(hidden) = rest.chars().next() {
            show(hidden, &mut out);
            rest = &rest[hidden.len_utf8()..];
        }
    }
    out.push_str(rest);
    out
}

/// Our mark at the beginning of a text: its style, whether it begins the style, and the rest.
fn mark(text: &str) -> Option<(TextStyle, bool, &str)> {
    let inside = text.strip_prefix(MARK)?.strip_prefix(OURS.as_str())?;
    let begins = inside.starts_with('+');
    let inside = inside.strip_prefix(['+', '-'])?;
    let ink = TextStyle::ALL.into_iter().find(|ink| inside.starts_with(ink.name()))?;
    Some((ink, begins, inside[1..].strip_prefix(MARK)?))
}

/// A JSON text in which nothing is hidden. Hidden characters occur only in strings, where an escape means the
/// same.
pub(crate) fn json(document: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_string_pretty(document).map_err(|e| Problem::doing("write JSON", e))?;
    Ok(json_text(&text))
}

/// Escapes hidden characters in a text that is JSON already.
pub fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The progress that is shown now. It goes before anything else is printed.
static LIVE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows this from now on, until something is printed.
pub(crate) fn live(bar: &ProgressBar) {
    *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
}

/// Takes away what is shown: something that stays is about to be printed, or asked.
pub(crate) fn release() {
    if let Some(bar) = LIVE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}

/// The width of the terminal that a person reads text on. Absent where it is none.
pub(crate) fn width(of: &Term) -> Option<usize> {
    of.features().is_attended().then(|| usize::from(of.size().1)).filter(|width| *width >= LEAST_WIDTH)
}

/// Text with lines of at most `width` columns: those that are longer go on in the next one, at a word, below where their
/// value began. What has no space is left whole, so that it can be copied.
pub fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| wrapped_line(line, width)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    if display_width(line) <= width {
        return line.to_owned();
    }
    let visible: Vec<char> = plain(line).chars().collect();
    let own = visible.iter().take_while(|c| **c == ' ').count();
    // A row has its name in 24 columns, and then its value.
    let is_row = own == 2 && visible.len() > VALUE && visible[VALUE - 1] == ' ' && visible[VALUE] != ' ';
    let is_row =
        is_row && (visible[VALUE - 2] == ' ' || visible[VALUE - 4..VALUE - 1].iter().all(|c| *c != ' '));
    let indent = if is_row && width >= 2 * VALUE { VALUE } else { own + 2 };
    let options = Options::new(width)
        .subsequent_indent(INDENT.get(..indent).unwrap_or_default())
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .word_separator(WordSeparator::AsciiSpace)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    fill(line, options)
}

/// Writes text for people to the standard output, in lines that fit.
pub(crate) fn print_wrapped(text: &str) {
    match width(&Term::stdout()) {
        Some(width) => print_styled(&wrapped(&styled(text), width)),
        None => print(text),
    }
}

/// Writes to the standard output; a reader that left is no problem.
pub(crate) fn print(text: &str) {
    print_styled(&styled(text));
}

fn print_styled(text: &str) {
    release();
    let mut out = anstream::stdout();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _closed = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// Writes a document to the standard output.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Problem> {
    release();
    let mut out = anstream::stdout();
    let _closed = writeln!(out, "{}", json(document)?).and_then(|()| out.flush());
    Ok(())
}

/// Writes a line to the standard error. A closed one is no reason to stop, or for another exit status.
/// Without a terminal colours are left out.
pub(crate) fn say(text: &str) {
    release();
    let text = styled(text);
    let text = width(&Term::stderr()).map_or_else(|| text.clone(), |width| wrapped(&text, width));
    let _closed = writeln!(anstream::stderr(), "{text}");
}

/// Writes a line with escape sequences, in which everything else was made visible already, to the standard
/// error.
pub(crate) fn say_coloured(text: &str) {
    release();
    let _closed = writeln!(anstream::stderr(), "{text}");
}

/// Writes a line of JSON to the standard error.
pub(crate) fn say_json(event: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(event) {
        let _closed = writeln!(anstream::stderr(), "{}", json_text(&text));
    }
}

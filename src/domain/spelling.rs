//! Words: the one that a person may have meant, and how those are written that others read.

use std::borrow::Cow;

/// How alike two words must be, from 0 to 1, before one is offered for the other. At 0.6, one wrong
/// letter in three is forgiven: enough for `modle` and `tensor_paralell_size`, too little for a guess.
const ALIKE: f64 = 0.6;

/// The candidate that `word` most likely stands for, if any comes close.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let alike = strsim::normalized_damerau_levenshtein(word, candidate);
            (alike, candidate)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        // The first of equals, so that the answer does not depend on how the list goes on.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

/// A string as TOML writes it.
pub(crate) fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// How many things a message lists, a line each: a person reads no more.
const MOST_LINES: usize = 20;

/// A line each, and how many more there are.
pub fn lines(mut all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(MOST_LINES);
    // One line is not worth leaving out for another that says so.
    let shown = if more > 1 { MOST_LINES } else { all.len() };
    let mut lines: Vec<String> = all.by_ref().take(shown).collect();
    if more > 1 {
        lines.push(format!("… and {more} more"));
    }
    lines.join("\n")
}

/// `a`, `b` and `c`, each in backticks. Empty for nothing.
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Whether a terminal would obey a character, reorder what follows it, or show nothing of it: text that does not read as
/// it is. The joiners are none: scripts and emoji need them.
pub fn is_hidden(c: char) -> bool {
    let reorders = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let unseen = matches!(
        c,
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}'
            | '\u{206a}'..='\u{206f}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    (c.is_control() && c != '\n' && c != '\t') || reorders || unseen
}

/// Writes a character so that it can be seen.
pub(crate) fn show(c: char, out: &mut String) {
    match c {
        // The first half of a Windows line break.
        '\r' => {}
        c => out.extend(c.escape_default()),
    }
}

/// The text with everything hidden made visible, for what others print: a service manager, a log.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { show(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

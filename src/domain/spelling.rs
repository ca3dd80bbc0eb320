//! Words: the one that a person may have meant, and how those are written that others read.

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

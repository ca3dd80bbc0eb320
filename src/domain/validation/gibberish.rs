//! Recognises text that no working model says.

use std::collections::BTreeMap;

/// The fewest characters that can be called monotonous.
const LEAST_CHARACTERS: usize = 6;
/// The fewest answers that can be called monotonous: a single one may be what was asked for.
const LEAST_ANSWERS: usize = 3;
/// The fewest characters whose distribution can be judged.
const LEAST_TEXT: usize = 48;
/// English has some four bits a character by single frequencies; a word over and over still has three.
const LEAST_ENTROPY: f64 = 2.0;
/// The share of repeated runs of three words in one text. Prose has a few percent, a list perhaps a third.
const MOST_REPEATED: f64 = 0.6;
/// The fewest words whose repetition can be judged.
const LEAST_WORDS: usize = 16;
/// The share of characters that stand for bytes that are no text.
const MOST_INVALID: f64 = 0.05;

/// The character that all of these texts consist of, if it is one. A model whose every number is NaN says
/// that; not even a random one does.
pub fn one_character(texts: &[String]) -> Option<char> {
    let all: String = texts.concat();
    let first = all.chars().next()?;
    let monotonous = all.chars().all(|character| character == first);
    (monotonous && texts.len() >= LEAST_ANSWERS && all.chars().count() >= LEAST_CHARACTERS).then_some(first)
}

/// What makes this answer gibberish, if anything does.
pub fn symptom(text: &str) -> Option<&'static str> {
    let characters: Vec<char> = text.chars().collect();
    if text.trim().is_empty() {
        return Some("it says nothing");
    }
    let invalid = characters.iter().filter(|character| **character == char::REPLACEMENT_CHARACTER).count();
    if invalid as f64 > MOST_INVALID * characters.len() as f64 {
        return Some("bytes that are no text");
    }
    if characters.len() >= LEAST_CHARACTERS && characters.iter().all(|character| *character == characters[0])
    {
        return Some("one character over and over");
    }
    if characters.len() >= LEAST_TEXT && entropy(&characters) < LEAST_ENTROPY {
        return Some("hardly any different characters");
    }
    (repeated(text) > MOST_REPEATED).then_some("the same words over and over")
}

/// Bits a character, by the frequencies of single ones.
fn entropy(characters: &[char]) -> f64 {
    let mut counts = BTreeMap::<char, u32>::new();
    for character in characters {
        *counts.entry(*character).or_default() += 1;
    }
    let all = characters.len() as f64;
    counts.values().map(|&count| f64::from(count) / all).map(|share| -share * share.log2()).sum()
}

/// The share of runs of three words that were said before.
fn repeated(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < LEAST_WORDS {
        return 0.0;
    }
    let mut runs: Vec<&[&str]> = words.windows(3).collect();
    let all = runs.len() as f64;
    runs.sort_unstable();
    runs.dedup();
    1.0 - runs.len() as f64 / all
}

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
/// White space at the end of an answer, characters, that is no longer its end. Answers end in two line breaks at most.
const MOST_BLANK_END: usize = 12;
/// The share of white space in a text. Code has some 40 %.
const MOST_BLANK: f64 = 0.67;
/// The fewest words of which one can be called the only one, and its share.
const LEAST_SAME: usize = 6;
const MOST_SAME: f64 = 0.8;
/// The fewest lines that can be called the same over and over.
const LEAST_LINES: usize = 3;
/// The marks that chat templates put around messages: in an answer it is the model talking on, or its end token read
/// as text.
const MARKS: [&str; 7] = ["<|", "</s>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "<\u{ff5c}"];
/// Who speaks next, on a line of its own.
const ROLES: [&str; 6] = ["user", "assistant", "system", "human", "question", "q"];
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

/// The symptom that makes this answer gibberish, if there is one.
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
    if is_blank(&characters) {
        return Some("white space without end");
    }
    if goes_on(text) {
        return Some("it goes on after its answer");
    }
    if characters.len() >= LEAST_TEXT && entropy(&characters) < LEAST_ENTROPY {
        return Some("hardly any different characters");
    }
    let again = repeated(text) > MOST_REPEATED || is_one_word(text) || is_one_line(text);
    again.then_some("the same words over and over")
}

fn is_blank(characters: &[char]) -> bool {
    let end = characters.iter().rev().take_while(|character| character.is_whitespace()).count();
    let blank = characters.iter().filter(|character| character.is_whitespace()).count();
    let share = blank as f64 / characters.len() as f64;
    end >= MOST_BLANK_END || characters.len() >= LEAST_TEXT / 2 && share > MOST_BLANK
}

/// Whether the answer is followed by the next turn of a conversation.
fn goes_on(text: &str) -> bool {
    let answer = text.trim_start();
    let speaks = |line: &str| {
        let line = line.trim_start_matches(['#', ' ', '*']);
        let word = line.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default();
        let rest = line.get(word.len()..).unwrap_or_default().trim_start_matches(['*', ' ']);
        ROLES.contains(&word.to_lowercase().as_str()) && (rest.is_empty() || rest.starts_with(':'))
    };
    MARKS.iter().any(|mark| answer.contains(mark)) || answer.lines().skip(1).any(speaks)
}

/// Whether nearly all words are the same one.
fn is_one_word(text: &str) -> bool {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.sort_unstable();
    let most = words.chunk_by(|first, second| first == second).map(<[String]>::len).max().unwrap_or(0);
    words.len() >= LEAST_SAME && most as f64 > MOST_SAME * words.len() as f64
}

/// Whether all lines are the same one. The last may be cut off.
fn is_one_line(text: &str) -> bool {
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.pop().unwrap_or_default();
    let first = lines.first().copied().unwrap_or_default();
    lines.len() + 1 >= LEAST_LINES && lines.iter().all(|line| *line == first) && first.starts_with(last)
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

//! The answers of the rehearsal engine: made up, except to the questions with known answers.

use super::{
    fault::EngineFault,
    request::{Endpoint, Grammar, Request},
};
use crate::domain::validation::questions::Question;

/// The tokens after which a completion ends by itself.
const NATURAL_LENGTH: usize = 24;

/// The words of a completion, repeated.
const WORDS: &[&str] = &[
    " the", " harbour", " was", " quiet", " and", " the", " ships", " lay", " at", " anchor", " while", " a",
    " clerk", " wrote", " down", " what", " each", " of", " them", " carried", " from", " port", " to",
    " port", ".", " Then",
];

/// The answer in a chat to an unknown question.
const SMALL_TALK: &[&str] = &[
    "This",
    " is",
    " a",
    " rehearsal",
    ":",
    " the",
    " engine",
    " that",
    " answers",
    " here",
    " stands",
    " in",
    " for",
    " vLLM",
    ".",
];

/// Tokens that [`EngineFault::IgnoresLimit`] adds.
const EXCESS: usize = 3;

/// How often [`EngineFault::Repeats`] says its words.
const REPETITIONS: usize = 24;

/// The tokens in which [`EngineFault::NextTurn`] goes on.
const NEXT_TURN: &[&str] = &["\nuser\n", "What", " else", "?", "\nassistant\n", "Nothing", "."];

/// The tokens in which [`EngineFault::Blank`] goes on.
const BLANK: &[&str] = &["\n\n", "  \n"];

/// The words of damaged weights.
const GIBBERISH: &[&str] = &["!"];

/// An answer before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The text, token by token.
    pub(super) pieces: Vec<String>,
    /// `stop` or `length`.
    pub(super) finish_reason: &'static str,
    /// The stop text that ended it.
    pub(super) stop_reason: Option<String>,
}

impl Reply {
    /// The answer to `request`. The same request always gets the same answer.
    pub(super) fn to(request: &Request, fault: Option<EngineFault>) -> Self {
        let excess = if fault == Some(EngineFault::IgnoresLimit) { EXCESS } else { 0 };
        let limit = request.max_tokens as usize + excess;
        let gibberish = fault == Some(EngineFault::WrongText) && request.grammar == Grammar::Free;
        let endless = request.ignore_eos || gibberish || excess > 0 || goes_on(request, fault);
        let natural = natural(request, fault);
        let mut pieces: Vec<String> = if endless {
            natural
                .iter()
                .chain(pool(fault).iter().cycle())
                .take(limit)
                .map(|&piece| piece.to_owned())
                .collect()
        } else {
            natural.iter().take(limit).map(|&piece| piece.to_owned()).collect()
        };
        let stops: &[String] = if fault == Some(EngineFault::IgnoresStop) { &[] } else { &request.stop };
        let stop_reason = cut_at(&mut pieces, stops);
        let ended = stop_reason.is_some() || (!endless && natural.len() <= limit);
        Self { pieces, finish_reason: if ended { "stop" } else { "length" }, stop_reason }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }
}

fn pool(fault: Option<EngineFault>) -> &'static [&'static str] {
    match fault {
        Some(EngineFault::WrongText) => GIBBERISH,
        Some(EngineFault::Blank) => BLANK,
        Some(EngineFault::NextTurn) => NEXT_TURN,
        _ => WORDS,
    }
}

/// Whether an answer that was complete goes on.
fn goes_on(request: &Request, fault: Option<EngineFault>) -> bool {
    let free = request.grammar == Grammar::Free && request.endpoint == Endpoint::Chat;
    free && matches!(fault, Some(EngineFault::Endless | EngineFault::Blank | EngineFault::NextTurn))
}

/// The words of an answer up to its natural end.
fn natural(request: &Request, fault: Option<EngineFault>) -> Vec<&'static str> {
    // A grammar forces a valid answer, even from damaged weights.
    if request.grammar == Grammar::Boolean {
        return vec!["true"];
    }
    if fault == Some(EngineFault::WrongText) {
        return GIBBERISH.to_vec();
    }
    match fault {
        Some(EngineFault::EmptyAnswers) => return vec![""],
        Some(EngineFault::Repeats) => return [" the", " harbour"].repeat(REPETITIONS),
        Some(EngineFault::WrongTemplate) if request.endpoint == Endpoint::Chat => return SMALL_TALK.to_vec(),
        _ => {}
    }
    match request.endpoint {
        Endpoint::Chat => match Question::find(&request.text) {
            Some(question) => question.answers.first().copied().into_iter().chain(["."]).collect(),
            None => SMALL_TALK.to_vec(),
        },
        Endpoint::Completions => {
            // The beginning depends on the prompt, so that different prompts get different answers.
            let begin = request.text.bytes().map(usize::from).sum::<usize>() % WORDS.len();
            let endless = WORDS.iter().copied().cycle();
            endless.skip(begin).take(NATURAL_LENGTH).collect()
        }
    }
}

/// Ends the text before the first of these stops, and names it. The token that completed the stop was
/// generated, and counts.
fn cut_at(pieces: &mut Vec<String>, stops: &[String]) -> Option<String> {
    let text = pieces.concat();
    let (at, stop) = stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| Some((text.find(stop.as_str())?, stop)))
        .min_by_key(|(at, _)| *at)?;
    let mut begin = 0;
    for index in 0..pieces.len() {
        let end = begin + pieces[index].len();
        let kept = at.clamp(begin, end) - begin;
        let completes = end >= at + stop.len();
        pieces[index].truncate(kept);
        if completes {
            pieces.truncate(index + 1);
            break;
        }
        begin = end;
    }
    Some(stop.clone())
}

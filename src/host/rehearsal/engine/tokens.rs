//! The tokens of the rehearsal engine: words, numbered as they are first seen, and their probabilities.

use super::{
    fault::EngineFault,
    reply::Reply,
    request::{Endpoint, Refusal, Request},
};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// The most words that are remembered: a rehearsal says few.
const MOST_WORDS: usize = 100_000;

/// The log probability of each made-up token.
const LOGPROB: f64 = -0.5;

/// Every word that was tokenized, by its number.
#[derive(Debug, Default)]
pub(super) struct Vocabulary(Mutex<Vec<String>>);

impl Vocabulary {
    /// The answer of `/tokenize`.
    pub(super) fn tokenize(&self, body: &Value, max_model_len: u32) -> Result<Value, Refusal> {
        let said = |message: &Value| {
            Some(format!("<{}> {} <end> ", message["role"].as_str()?, message["content"].as_str()?))
        };
        let conversation = body["messages"].as_array().map(|all| all.iter().filter_map(said).collect());
        let Some(text) = body["prompt"].as_str().map(str::to_owned).or(conversation) else {
            return Err(Refusal::bad("prompt", "only a prompt or messages are tokenized in a rehearsal"));
        };
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = Vec::new();
        for word in text.split_inclusive(' ') {
            let known = words.iter().position(|other| other == word);
            let index = known.unwrap_or(words.len());
            if known.is_none() {
                if words.len() >= MOST_WORDS {
                    return Err(Refusal::bad("prompt", "too many words for a rehearsal"));
                }
                words.push(word.to_owned());
            }
            tokens.push(index);
        }
        let count = tokens.len();
        Ok(json!({ "count": count, "max_model_len": max_model_len, "tokens": tokens, "token_strs": null }))
    }

    /// The answer of `/detokenize`.
    pub(super) fn detokenize(&self, body: &Value) -> Result<Value, Refusal> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let word = |token: &Value| words.get(usize::try_from(token.as_u64()?).ok()?).cloned();
        let text: Option<String> =
            body["tokens"].as_array().and_then(|tokens| tokens.iter().map(word).collect());
        match text {
            Some(text) => Ok(json!({ "prompt": text })),
            None => Err(Refusal::bad("tokens", "a token that nobody was given")),
        }
    }
}

/// The numbers of tokens: the prompt's own begin so that they come first in an object whose keys are sorted.
const OWN: u64 = 10_000;
const OTHERS: u64 = 20_000;

/// The log probabilities of a prompt's tokens, with those of the likeliest: made up from the words, so that the same text
/// always has the same.
pub(super) fn prompt_logprobs(request: &Request, most: u32, fault: Option<EngineFault>) -> Value {
    // How fast the likely tokens become unlikely: damaged weights are less sure.
    let decay: f64 = if fault == Some(EngineFault::Skewed) { 0.3 } else { 0.8 };
    let logprob = |rank: u64| (1.0 - (-decay).exp()).ln() - decay * rank as f64;
    let words: Vec<u64> = if request.prompt_ids.is_empty() {
        let number = |word: &str| word.bytes().fold(7, |sum: u64, byte| (sum * 31 + u64::from(byte)) % OWN);
        request.text.split_inclusive(' ').map(number).collect()
    } else {
        request.prompt_ids.clone()
    };
    let place = |(at, word): (u64, &u64)| {
        let rank = word % 3;
        let named = |rank: u64, id: u64, text: String| {
            let of = json!({ "logprob": logprob(rank), "rank": rank + 1, "decoded_token": text });
            (id.to_string(), of)
        };
        let own = named(rank, OWN + word % OWN, format!("t{word} "));
        let others = (0..u64::from(most)).filter(|&other| other != rank);
        let others = others.map(|other| named(other, OTHERS + (word * 31 + at + other) % OWN, String::new()));
        Value::Object(std::iter::once(own).chain(others).collect())
    };
    let places = (0..).zip(&words).skip(1).map(place);
    std::iter::once(Value::Null).chain(places).collect()
}

/// The log probabilities of an answer, in its endpoint's shape.
pub(super) fn logprobs(request: &Request, reply: &Reply) -> Value {
    let text: Vec<&str> = reply.pieces.iter().map(String::as_str).collect();
    if request.endpoint == Endpoint::Chat {
        let token = |text: &&str| json!({ "token": text, "logprob": LOGPROB, "bytes": text.as_bytes(), "top_logprobs": [] });
        return json!({ "content": text.iter().map(token).collect::<Vec<_>>() });
    }
    let prompt = if request.echo { request.text.split_inclusive(' ').collect() } else { Vec::new() };
    let tokens: Vec<&str> = prompt.iter().copied().chain(text).collect();
    let mut offset = 0;
    let mut offsets = Vec::new();
    for token in &tokens {
        offsets.push(offset);
        offset += token.chars().count();
    }
    let first = |index| request.echo && index == 0;
    let values: Vec<Value> =
        (0..tokens.len()).map(|index| if first(index) { Value::Null } else { json!(LOGPROB) }).collect();
    let top: Vec<Value> = tokens
        .iter()
        .enumerate()
        .map(|(index, token)| if first(index) { Value::Null } else { json!({ *token: LOGPROB }) })
        .collect();
    json!({ "text_offset": offsets, "token_logprobs": values, "tokens": tokens, "top_logprobs": top })
}

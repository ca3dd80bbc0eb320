//! The tokens of the rehearsal engine: words, numbered as they are first seen, and their probabilities.

use super::{
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
        let Some(text) = body["prompt"].as_str() else {
            return Err(Refusal::bad("prompt", "only a prompt is tokenized in a rehearsal"));
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

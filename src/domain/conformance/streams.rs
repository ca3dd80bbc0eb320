//! The rules for answers as server-sent events.

use super::{
    answers::{CHAT, COMPLETIONS, TOKENS, adds_up, chat, completion, identity, is_assistant, thought},
    probe::{Ask, Exchange, Known, Need, Probe, Rule, Violation, wrong},
};
use crate::domain::api::{
    openai::ApiError,
    sse::Parser,
    stream::{Streamed, Transcript},
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        path: CHAT,
        ask: |known| Ask::Post(streamed(chat(known, TOKENS))),
        rules: &[
            Rule { name: "chat-stream", need: Need::Everyone, look: whole },
            Rule { name: "chat-stream-role-first", need: Need::Everyone, look: role_first },
            Rule { name: "chat-stream-usage", need: Need::Everyone, look: usage },
            Rule { name: "chat-stream-framing", need: Need::Everyone, look: framing },
            Rule {
                name: "chat-stream-identity",
                need: Need::Vllm,
                look: |seen, known| same_identity(seen, "chat.completion.chunk", known),
            },
            Rule { name: "chat-stream-one-end", need: Need::Everyone, look: one_end },
        ],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(streamed(completion(known, TOKENS))),
        rules: &[
            Rule { name: "completion-stream", need: Need::Everyone, look: whole },
            Rule { name: "completion-stream-usage", need: Need::Everyone, look: usage },
            Rule { name: "completion-stream-framing", need: Need::Everyone, look: framing },
            Rule {
                name: "completion-stream-identity",
                need: Need::Vllm,
                look: |seen, known| same_identity(seen, "text_completion", known),
            },
            Rule { name: "completion-stream-one-end", need: Need::Everyone, look: one_end },
        ],
    },
];

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

/// The text of the stream, if it is whole.
pub(super) fn text(seen: &Exchange) -> Option<String> {
    read(seen).ok().map(|streamed| streamed.answer.text)
}

/// Whether the stream begins with thoughts: in a field of their own, or marked in the text.
pub(super) fn thinks(seen: &Exchange) -> bool {
    let marked = text(seen).is_some_and(|text| text.trim_start().starts_with("<think>"));
    marked
        || chunks(seen)
            .unwrap_or_default()
            .iter()
            .any(|chunk| thought(&chunk["choices"][0]["delta"]).is_some_and(|thought| !thought.is_empty()))
}

fn data(seen: &Exchange) -> Result<Vec<String>, ApiError> {
    // Not as text: half a character at the place of a chunk is an answer's fault, not its end.
    if seen.status != 200 {
        seen.good_text()?;
    }
    let events =
        Parser::default().push(&seen.body).map_err(|problem| ApiError::Malformed(problem.to_string()))?;
    Ok(events.into_iter().map(|event| event.data).collect())
}

fn read(seen: &Exchange) -> Result<Streamed, ApiError> {
    let mut transcript = Transcript::default();
    for data in data(seen)? {
        transcript.take(&data, Duration::ZERO)?;
    }
    transcript.finish()
}

/// The JSON of each chunk.
pub(super) fn chunks(seen: &Exchange) -> Result<Vec<Value>, ApiError> {
    Ok(data(seen)?.iter().filter_map(|data| serde_json::from_str(data).ok()).collect())
}

fn whole(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    read(seen)?;
    Ok(())
}

fn role_first(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let chunks = chunks(seen)?;
    is_assistant(chunks.first().map_or(&Value::Null, |chunk| &chunk["choices"][0]["delta"]["role"]))
}

/// One chunk without a choice, after all others, counts the tokens.
fn usage(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let chunks = chunks(seen)?;
    let last = chunks.last().unwrap_or(&Value::Null);
    adds_up(&last["usage"], TOKENS)?;
    match last["choices"].as_array() {
        Some(choices) if choices.is_empty() => Ok(()),
        _ => wrong("the usage comes in a chunk with text, not in one after all others"),
    }
}

/// The header, and bytes that are text: half a character must never be sent.
fn framing(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    if !seen.content_type.starts_with("text/event-stream") {
        return wrong(format!("the content type is `{}`, not `text/event-stream`", seen.content_type));
    }
    match std::str::from_utf8(&seen.body) {
        Ok(text) if text.trim_end().ends_with("data: [DONE]") => Ok(()),
        Ok(_) => wrong("`data: [DONE]` is not the last line"),
        Err(error) => wrong(format!("the stream is no UTF-8 text: {error}")),
    }
}

fn same_identity(seen: &Exchange, object: &str, known: &Known) -> Result<(), Violation> {
    let chunks = chunks(seen)?;
    let first = chunks.first().map(|chunk| &chunk["id"]);
    for chunk in &chunks {
        identity(chunk, object, known)?;
        if Some(&chunk["id"]) != first {
            return wrong("the chunks of one stream have different `id`s");
        }
    }
    Ok(())
}

/// A reason for the end comes once, and no text after it.
fn one_end(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let chunks = chunks(seen)?;
    let with_choice: Vec<_> = chunks.iter().filter(|chunk| chunk["choices"][0].is_object()).collect();
    let ends = |chunk: &&&Value| chunk["choices"][0]["finish_reason"].is_string();
    let count = with_choice.iter().filter(ends).count();
    match with_choice.last() {
        Some(last) if count == 1 && ends(&last) => Ok(()),
        _ => wrong(format!("{count} chunks end the stream, where its last with text alone should")),
    }
}

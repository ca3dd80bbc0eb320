//! The rules for answers in one body.

use super::probe::{Ask, Exchange, Known, Need, PROMPT, Probe, Rule, Violation, wrong};
use crate::domain::api::openai::Answer;
use serde_json::{Value, json};

pub(super) const COMPLETIONS: &str = "/v1/completions";
pub(super) const CHAT: &str = "/v1/chat/completions";

/// The message of a chat.
pub(super) const MESSAGE: &str = "Name a fruit.";
/// The limit of tokens. It is low because a server may be slow, and the old one is stopped while this one is
/// judged.
pub(super) const TOKENS: u64 = 4;

/// The exact number of tokens where the model may not end by itself.
const EXACTLY: u64 = 3;
/// Texts that hardly any prose goes without. A server that ignores `stop` shows them; one that honours it
/// never does, whatever its model says.
const STOPS: [&str; 4] = [" ", "e", "a", "\n"];
/// The limit of tokens for a server that ignores `stop` to show one of them.
const STOP_TOKENS: u64 = 12;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(completion(known, TOKENS)),
        rules: &[
            Rule { name: "completion", need: Need::Essential, look: whole },
            Rule { name: "completion-usage", need: Need::Everyone, look: usage },
            Rule { name: "completion-finish-reason", need: Need::Everyone, look: finish_reason },
            Rule {
                name: "completion-identity",
                need: Need::Vllm,
                look: |seen, known| identity(&seen.json()?, "text_completion", known),
            },
        ],
    },
    Probe {
        path: CHAT,
        ask: |known| Ask::Post(chat(known, TOKENS)),
        rules: &[
            Rule { name: "chat", need: Need::Everyone, look: whole },
            Rule { name: "chat-role", need: Need::Everyone, look: role },
            Rule { name: "chat-usage", need: Need::Everyone, look: usage },
            Rule { name: "chat-finish-reason", need: Need::Everyone, look: finish_reason },
            Rule {
                name: "chat-identity",
                need: Need::Vllm,
                look: |seen, known| identity(&seen.json()?, "chat.completion", known),
            },
        ],
    },
];

pub(super) const LIMITS: &[Probe] = &[
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(to_the_limit(known, EXACTLY)),
        rules: &[Rule { name: "max-tokens", need: Need::Vllm, look: max_tokens }],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| {
            let mut body = to_the_limit(known, STOP_TOKENS);
            body["stop"] = json!(STOPS);
            Ask::Post(body)
        },
        rules: &[
            Rule { name: "stop", need: Need::Everyone, look: stop },
            Rule { name: "stop-finish-reason", need: Need::Vllm, look: stop_reason },
        ],
    },
];

pub(super) fn completion(known: &Known, max_tokens: u64) -> Value {
    json!({ "model": known.model, "prompt": PROMPT, "max_tokens": max_tokens, "temperature": 0 })
}

pub(super) fn chat(known: &Known, max_tokens: u64) -> Value {
    let messages = json!([{ "role": "user", "content": MESSAGE }]);
    json!({ "model": known.model, "messages": messages, "max_tokens": max_tokens, "temperature": 0 })
}

fn to_the_limit(known: &Known, max_tokens: u64) -> Value {
    let mut body = completion(known, max_tokens);
    // Other servers need not know this, and some refuse what they do not know.
    if known.vllm {
        body["ignore_eos"] = json!(true);
    }
    body
}

/// The text of a choice, or where a reasoning parser took all of it what it thought.
pub(super) fn text(choice: &Value) -> Option<&str> {
    let message = &choice["message"];
    choice["text"].as_str().or_else(|| message["content"].as_str()).or_else(|| thought(message))
}

/// The text that a reasoning parser took out of a message.
pub(super) fn thought(message: &Value) -> Option<&str> {
    message["reasoning"].as_str().or_else(|| message["reasoning_content"].as_str())
}

/// The body is an answer of this API.
pub(super) fn whole(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    seen.json()?;
    let answer = Answer::parse(seen.good_text()?)?;
    match answer.usage.completion_tokens {
        0 => wrong("no tokens were generated"),
        _ => Ok(()),
    }
}

fn role(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    is_assistant(&seen.json()?["choices"][0]["message"]["role"])
}

pub(super) fn is_assistant(role: &Value) -> Result<(), Violation> {
    match role.as_str() {
        Some("assistant") => Ok(()),
        Some(role) => wrong(format!("the role is `{role}`")),
        None => wrong("the answer begins without a role"),
    }
}

fn usage(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    adds_up(&seen.json()?["usage"], TOKENS)
}

/// The usage adds up and keeps to the limit.
pub(super) fn adds_up(usage: &Value, limit: u64) -> Result<(), Violation> {
    let count = |name: &str| usage[name].as_u64().unwrap_or_default();
    let [prompt, completion, total] = ["prompt_tokens", "completion_tokens", "total_tokens"].map(count);
    if !(1..=limit).contains(&completion) {
        return wrong(format!("{completion} tokens were generated, where 1 to {limit} were asked for"));
    }
    if prompt == 0 || prompt + completion != total {
        return wrong(format!("the usage does not add up: {prompt} + {completion} is not {total}"));
    }
    Ok(())
}

fn finish_reason(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let count = body["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    match body["choices"][0]["finish_reason"].as_str() {
        Some("length") if count < TOKENS => {
            wrong(format!("it ended for `length` after {count} of {TOKENS} tokens"))
        }
        Some("length" | "stop") => Ok(()),
        reason => wrong(format!("the reason for the end is {reason:?}, not `stop` or `length`")),
    }
}

/// The fields that every answer repeats, and clients rely on.
pub(super) fn identity(body: &Value, object: &str, known: &Known) -> Result<(), Violation> {
    let said = |field: &str| body[field].as_str().unwrap_or_default();
    if said("id").is_empty() {
        return wrong("the answer has no `id`");
    }
    for (field, wanted) in [("object", object), ("model", known.model.as_str())] {
        if said(field) != wanted {
            return wrong(format!("`{field}` is `{}`, not `{wanted}`", said(field)));
        }
    }
    match body["created"].as_i64() {
        Some(1..) => Ok(()),
        _ => wrong("`created` is no time"),
    }
}

fn max_tokens(seen: &Exchange, known: &Known) -> Result<(), Violation> {
    whole(seen, known)?;
    let body = seen.json()?;
    let count = body["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    let reason = body["choices"][0]["finish_reason"].as_str().unwrap_or_default();
    if count == EXACTLY && reason == "length" {
        return Ok(());
    }
    wrong(format!("`max_tokens` of {EXACTLY} was answered with {count} tokens and `{reason}`"))
}

fn stop(seen: &Exchange, known: &Known) -> Result<(), Violation> {
    whole(seen, known)?;
    let body = seen.json()?;
    let text = text(&body["choices"][0]).unwrap_or_default();
    match STOPS.iter().find(|stop| text.contains(**stop)) {
        Some(stop) => wrong(format!("the text goes on behind the `stop` of {stop:?}")),
        None => Ok(()),
    }
}

fn stop_reason(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let count = body["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    match body["choices"][0]["finish_reason"].as_str() {
        Some("stop") if count <= STOP_TOKENS => Ok(()),
        Some("length") if count == STOP_TOKENS => Ok(()),
        reason => wrong(format!("it ended after {count} of {STOP_TOKENS} tokens for {reason:?}")),
    }
}

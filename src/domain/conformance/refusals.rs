//! The rules for clients' mistakes, which must be refused: a client that gets 200 or 500 retries for ever.

use super::{
    answers::{CHAT, COMPLETIONS},
    probe::{Ask, Exchange, Known, Need, Probe, Rule, Violation, wrong},
};
use crate::domain::api::openai::ApiErrorBody;
use serde_json::json;

/// More tokens than any model generates.
const TOO_MANY_TOKENS: u32 = 100_000_000;
/// The longest context whose overflow is tried: the body of a longer one would be megabytes.
const LONGEST_TRIED: u32 = 1 << 18;

macro_rules! refusal {
    ($name:literal, $path:expr, $look:expr, $ask:expr) => {
        Probe { path: $path, ask: $ask, rules: &[Rule { name: $name, need: Need::Vllm, look: $look }] }
    };
}

pub(super) const PROBES: &[Probe] = &[
    refusal!("error-unknown-model", COMPLETIONS, not_found, |known| Ask::Post(
        json!({ "model": format!("not-{}", known.model), "prompt": "Hi", "max_tokens": 1 })
    )),
    refusal!("error-unknown-model-stream", CHAT, not_found, |known| Ask::Post(json!({
        "model": format!("not-{}", known.model), "messages": [{ "role": "user", "content": "Hi" }],
        "max_tokens": 1, "stream": true,
    }))),
    refusal!("error-broken-body", COMPLETIONS, bad_request, |_| Ask::Raw("{\"prompt\": ")),
    refusal!("error-broken-body-chat", CHAT, bad_request, |_| Ask::Raw("{\"messages\": [")),
    refusal!("error-missing-prompt", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "max_tokens": 1 })
    )),
    refusal!("error-empty-prompt", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "prompt": "", "max_tokens": 1 })
    )),
    refusal!("error-missing-messages", CHAT, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "max_tokens": 1 })
    )),
    refusal!("error-empty-messages", CHAT, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "messages": [], "max_tokens": 1 })
    )),
    refusal!("error-wrong-type", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "prompt": "Hi", "max_tokens": "abc" })
    )),
    refusal!("error-negative-temperature", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "prompt": "Hi", "max_tokens": 1, "temperature": -1 })
    )),
    refusal!("error-no-tokens", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "prompt": "Hi", "max_tokens": 0 })
    )),
    refusal!("error-too-many-tokens", COMPLETIONS, bad_request, |known| Ask::Post(
        json!({ "model": known.model, "prompt": "Hi", "max_tokens": TOO_MANY_TOKENS })
    )),
    refusal!("error-too-long-prompt", COMPLETIONS, bad_request, |known| match known.max_model_len {
        Some(length @ ..=LONGEST_TRIED) => {
            let prompt = vec![1; length as usize + 1];
            Ask::Post(json!({ "model": known.model, "prompt": prompt, "max_tokens": 1 }))
        }
        _ => Ask::Skip("the context is not known, or too long to overflow"),
    }),
    refusal!("error-stream-options", COMPLETIONS, bad_request, |known| Ask::Post(json!({
        "model": known.model, "prompt": "Hi", "max_tokens": 1,
        "stream_options": { "include_usage": true },
    }))),
    refusal!("error-unknown-route", "/v1/awqdeploy-nowhere", |seen, _| status(seen, &[404]), |_| Ask::Get),
    refusal!("error-wrong-method", COMPLETIONS, |seen, _| status(seen, &[405]), |_| Ask::Get),
];

fn not_found(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    refused(seen, &[404])
}

fn bad_request(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    // Which of the two it is has changed between versions of vLLM.
    refused(seen, &[400, 422])
}

fn status(seen: &Exchange, wanted: &[u16]) -> Result<(), Violation> {
    if wanted.contains(&seen.status) {
        return Ok(());
    }
    let wanted: Vec<_> = wanted.iter().map(u16::to_string).collect();
    wrong(format!("a client's mistake was answered with status {}, not {}", seen.status, wanted.join(" or ")))
}

fn refused(seen: &Exchange, wanted: &[u16]) -> Result<(), Violation> {
    status(seen, wanted)?;
    let error = ApiErrorBody::parse(&String::from_utf8_lossy(&seen.body))?;
    if error.code != seen.status {
        return wrong(format!("the error's code is {} under status {}", error.code, seen.status));
    }
    if error.message.is_empty() { wrong("the error says nothing") } else { Ok(()) }
}

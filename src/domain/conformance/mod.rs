//! Asks an OpenAI-compatible server, and says what must be true of its answers.
//!
//! A [`Probe`] is one request; its [`Rule`]s are looked at in one answer, so that some forty things are
//! known after some twenty answers of a few tokens each. None of them looks at what the text means, and
//! none compares two texts: a tiny random model passes, and so does one that does not say the same thing
//! twice. What they expect of vLLM was recorded from a real one (`tests/fixtures/vllm-api`).

mod answers;
mod extras;
mod probe;
mod refusals;
mod streams;

pub(crate) use extras::{logprobs_of, read_logprobs, seeded, with_seed};
pub(crate) use probe::{Ask, Exchange, Known, Need, PROMPT, Probe, Rule, Violation};

use serde_json::Value;

/// All probes, those first that the others build on.
pub(crate) fn probes() -> impl Iterator<Item = &'static Probe> {
    [answers::PROBES, streams::PROBES, answers::LIMITS, extras::PROBES, refusals::PROBES]
        .into_iter()
        .flatten()
}

impl Exchange {
    /// The JSON values of the body: one, or one an event. Events that are no JSON are left out.
    pub(crate) fn answers(&self) -> Vec<Value> {
        if self.content_type.starts_with("text/event-stream") {
            return streams::chunks(self).unwrap_or_default();
        }
        serde_json::from_slice(&self.body).into_iter().collect()
    }
}

impl Known {
    /// Records what a good answer to a probe tells.
    pub(crate) fn learn(&mut self, probe: &Probe, exchange: &Exchange) {
        let Some(first) = probe.rules.first() else { return };
        match first.name {
            name @ ("chat-stream" | "completion-stream") => {
                self.thinks |= name == "chat-stream" && streams::thinks(exchange);
                self.texts.extend(streams::text(exchange));
            }
            "tokenize" => {
                self.tokens = exchange
                    .json()
                    .ok()
                    .and_then(|body| body["tokens"].as_array()?.iter().map(Value::as_u64).collect());
            }
            name @ ("completion" | "chat") => {
                let Ok(body) = exchange.json() else { return };
                if name == "completion" {
                    self.prompt_tokens = body["usage"]["prompt_tokens"].as_u64();
                }
                self.texts.extend(answers::text(&body["choices"][0]).map(str::to_owned));
            }
            _ => {}
        }
    }
}

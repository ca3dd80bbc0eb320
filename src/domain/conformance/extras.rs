//! The rules for what vLLM offers beside plain answers.

use super::{
    answers::{CHAT, COMPLETIONS, chat, completion, whole},
    probe::{Ask, Exchange, Known, Need, PROMPT, Probe, Rule, Violation, wrong},
};
use serde_json::{Value, json};

/// The text to be echoed. Half of its characters have several bytes, so that a cut between bytes shows.
const ECHOED: &str = "Grüße: 港に船 🚢";
/// The number of answers to one request.
const CHOICES: usize = 2;
/// Enough tokens for `true` or `false`, however they are split.
const SCHEMA_TOKENS: u64 = 8;
/// Tokens of an answer by chance: so many that two are hardly ever the same by accident.
const SEEDED_TOKENS: u64 = 12;
/// The greatest logarithm of a probability: above zero only by rounding.
const MOST_LOGPROB: f64 = 1e-3;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        path: COMPLETIONS,
        ask: |known| {
            Ask::Post(with(completion(known, 2), json!({ "n": CHOICES, "seed": 7, "temperature": 0.8 })))
        },
        rules: &[Rule { name: "n-and-seed", need: Need::Vllm, look: choices }],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(with(completion(known, 2), json!({ "logprobs": 2 }))),
        rules: &[Rule { name: "logprobs", need: Need::Vllm, look: logprobs }],
    },
    Probe {
        path: CHAT,
        ask: |known| Ask::Post(with(chat(known, 2), json!({ "logprobs": true, "top_logprobs": 2 }))),
        rules: &[Rule { name: "chat-logprobs", need: Need::Vllm, look: chat_logprobs }],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| {
            Ask::Post(with(completion(known, 1), json!({ "prompt": ECHOED, "echo": true, "logprobs": 1 })))
        },
        rules: &[
            Rule { name: "echo", need: Need::Vllm, look: echo },
            Rule { name: "prompt-logprobs", need: Need::Vllm, look: logprobs },
        ],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(with(completion(known, 1), json!({ "prompt": [1, 2, 3] }))),
        rules: &[Rule { name: "token-prompt", need: Need::Vllm, look: token_prompt }],
    },
    Probe {
        path: CHAT,
        ask: |known| {
            let parts = json!([{ "type": "text", "text": "Name a" }, { "type": "text", "text": " fruit." }]);
            let messages =
                json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": parts }]);
            Ask::Post(with(chat(known, 1), json!({ "messages": messages })))
        },
        rules: &[Rule { name: "system-and-parts", need: Need::Vllm, look: whole }],
    },
    Probe {
        path: COMPLETIONS,
        ask: |known| Ask::Post(with(completion(known, 1), json!({ "awqdeploy_unknown_field": 1 }))),
        rules: &[Rule { name: "unknown-field", need: Need::WhereOffered, look: tolerated }],
    },
    Probe {
        path: CHAT,
        ask: |known| {
            let schema = json!({ "name": "answer", "schema": { "type": "boolean" } });
            let format = json!({ "type": "json_schema", "json_schema": schema });
            Ask::Post(with(chat(known, SCHEMA_TOKENS), json!({ "response_format": format })))
        },
        rules: &[Rule { name: "json-schema", need: Need::WhereOffered, look: schema }],
    },
    Probe {
        path: CHAT,
        ask: |known| {
            let function = json!({ "name": "now", "parameters": { "type": "object", "properties": {} } });
            let tools = json!([{ "type": "function", "function": function }]);
            Ask::Post(with(chat(known, 2), json!({ "tools": tools, "tool_choice": "auto" })))
        },
        rules: &[Rule { name: "tools", need: Need::WhereOffered, look: tolerated }],
    },
    Probe {
        path: "/tokenize",
        ask: |known| Ask::Post(json!({ "model": known.model, "prompt": PROMPT })),
        rules: &[
            Rule { name: "tokenize", need: Need::WhereOffered, look: tokenize },
            Rule { name: "tokenize-agrees", need: Need::Vllm, look: tokenize_agrees },
        ],
    },
    Probe {
        path: "/detokenize",
        ask: |known| match &known.tokens {
            Some(tokens) => Ask::Post(json!({ "model": known.model, "tokens": tokens })),
            None => Ask::Skip("nothing was tokenized"),
        },
        rules: &[Rule { name: "detokenize", need: Need::WhereOffered, look: detokenize }],
    },
    Probe {
        path: "/version",
        ask: |_| Ask::Get,
        rules: &[Rule { name: "version", need: Need::Vllm, look: version }],
    },
    Probe {
        path: "/metrics",
        ask: |_| Ask::Get,
        rules: &[Rule { name: "metrics", need: Need::Vllm, look: metrics }],
    },
];

/// Sets these fields in `body`.
fn with(mut body: Value, fields: Value) -> Value {
    if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), fields) {
        body.extend(fields);
    }
    body
}

fn choices(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let indices: Option<Vec<u64>> =
        body["choices"].as_array().and_then(|choices| choices.iter().map(|c| c["index"].as_u64()).collect());
    let mut indices = indices.unwrap_or_default();
    indices.sort_unstable();
    if indices == [0, 1] {
        return Ok(());
    }
    wrong(format!("`n` of {CHOICES} was answered with the choices {indices:?}"))
}

fn logprobs(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let logprobs = &body["choices"][0]["logprobs"];
    let (Some(values), Some(tokens)) = (logprobs["token_logprobs"].as_array(), logprobs["tokens"].as_array())
    else {
        return wrong("there are no `logprobs`");
    };
    if values.len() != tokens.len() {
        return wrong(format!("{} tokens have {} log probabilities", tokens.len(), values.len()));
    }
    // The first token of a prompt has none, since nothing comes before it.
    are_logarithms(values.iter().filter(|value| !value.is_null()))
}

fn chat_logprobs(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let Some(content) = body["choices"][0]["logprobs"]["content"].as_array() else {
        return wrong("there are no `logprobs`");
    };
    are_logarithms(content.iter().map(|token| &token["logprob"]))
}

fn are_logarithms<'a>(values: impl Iterator<Item = &'a Value>) -> Result<(), Violation> {
    let mut count = 0;
    for value in values {
        match value.as_f64() {
            Some(logprob) if logprob <= MOST_LOGPROB => count += 1,
            _ => return wrong(format!("`{value}` is not the logarithm of a probability")),
        }
    }
    if count == 0 { wrong("no token has a log probability") } else { Ok(()) }
}

fn echo(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    let body = seen.json()?;
    let text = body["choices"][0]["text"].as_str().unwrap_or_default();
    if text.starts_with(ECHOED) {
        return Ok(());
    }
    let beginning: String = text.chars().take(ECHOED.chars().count()).collect();
    wrong(format!("`{ECHOED}` is echoed as `{beginning}`"))
}

fn token_prompt(seen: &Exchange, known: &Known) -> Result<(), Violation> {
    whole(seen, known)?;
    match seen.json()?["usage"]["prompt_tokens"].as_u64() {
        Some(3) => Ok(()),
        counted => wrong(format!("a prompt of 3 tokens is counted as {counted:?}")),
    }
}

fn tolerated(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    seen.offered()?;
    match &seen.json()?["choices"][0]["message"] {
        Value::Null => Ok(()),
        message => super::answers::is_assistant(&message["role"]),
    }
}

fn schema(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    seen.offered()?;
    let body = seen.json()?;
    let message = &body["choices"][0]["message"];
    let text = message["content"].as_str().unwrap_or_default();
    if text.trim().is_empty() && super::answers::thought(message).is_some() {
        let why = format!("it thinks first, and {SCHEMA_TOKENS} tokens do not reach the answer");
        return Err(Violation::NotOffered(why));
    }
    match text.trim() {
        "true" | "false" => Ok(()),
        other => wrong(format!("the answer by a schema of `true` and `false` is `{other}`")),
    }
}

fn tokenize(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    seen.offered()?;
    let body = seen.json()?;
    let tokens = body["tokens"].as_array().map(|tokens| tokens.len() as u64);
    match body["count"].as_u64() {
        Some(count) if tokens == Some(count) && count > 0 => Ok(()),
        count => wrong(format!("{tokens:?} tokens are counted as {count:?}")),
    }
}

fn tokenize_agrees(seen: &Exchange, known: &Known) -> Result<(), Violation> {
    let count = seen.json()?["count"].as_u64();
    if count == known.prompt_tokens {
        return Ok(());
    }
    let said = |count: Option<u64>| count.map_or_else(|| "no".to_owned(), |count| count.to_string());
    wrong(format!(
        "the prompt has {} tokens, and {} by a completion's usage",
        said(count),
        said(known.prompt_tokens)
    ))
}

fn detokenize(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    seen.offered()?;
    let body = seen.json()?;
    let text = body["prompt"].as_str().unwrap_or_default();
    // A tokenizer may put a token before the text.
    if text.contains(PROMPT) { Ok(()) } else { wrong(format!("`{PROMPT}` comes back as `{text}`")) }
}

fn version(seen: &Exchange, _: &Known) -> Result<(), Violation> {
    match seen.json()?["version"].as_str() {
        Some(version) if !version.is_empty() => Ok(()),
        _ => wrong("there is no `version`"),
    }
}

fn metrics(seen: &Exchange, known: &Known) -> Result<(), Violation> {
    if seen.good_text()?.lines().any(|line| line.starts_with("vllm:")) {
        return Ok(());
    }
    let why = "no metric begins with `vllm:`";
    match known.statistics {
        Some(true) => wrong(why),
        Some(false) => {
            Err(Violation::NotOffered(format!("{why}: it was started with `--disable-log-stats`")))
        }
        None => Err(Violation::NotOffered(format!("{why}, as with `--disable-log-stats`"))),
    }
}

/// Asks for some answers by chance, with this seed.
pub(crate) fn with_seed(known: &Known, seed: u32) -> Ask {
    let fields = json!({ "n": CHOICES, "seed": seed, "temperature": 1.0 });
    Ask::Post(with(completion(known, SEEDED_TOKENS), fields))
}

/// The texts of an answer that was asked for with a seed.
///
/// # Errors
/// For an answer without them, and where the server offers no seeds.
pub(crate) fn seeded(seen: &Exchange) -> Result<String, Violation> {
    seen.offered()?;
    let body = seen.json()?;
    let texts: Option<Vec<&str>> = body["choices"]
        .as_array()
        .and_then(|choices| choices.iter().map(|choice| choice["text"].as_str()).collect());
    texts.map_or_else(|| wrong("there are no texts"), |texts| Ok(texts.join(" | ")))
}

/// Asks for the probabilities of the tokens of `text`.
pub(crate) fn logprobs_of(known: &Known, text: &str) -> Ask {
    Ask::Post(with(completion(known, 1), json!({ "prompt": text, "echo": true, "logprobs": 1 })))
}

/// The natural logarithms of the probabilities of all tokens but the first, which has none, and the last,
/// which was generated. Absent where the answer has none.
pub(crate) fn read_logprobs(seen: &Exchange) -> Option<Vec<f64>> {
    let body = seen.json().ok()?;
    let mut values: Vec<f64> = body["choices"][0]["logprobs"]["token_logprobs"]
        .as_array()?
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    values.pop();
    Some(values)
}

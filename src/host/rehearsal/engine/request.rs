//! Reads requests as vLLM does, and refuses what it refuses.
//!
//! The messages are those that a real vLLM 0.32.0 gave (`tests/fixtures/vllm-api/err_*.txt`).

use super::{fault::EngineFault, options::Options};
use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// vLLM refuses a prompt by its characters alone when no tokenisation could make it short enough. The
/// factor is the tokenizer's longest token; this is that of the recorded server.
const MOST_CHARACTERS_PER_TOKEN: usize = 13;

/// The default `max_tokens` of a completion.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// The most answers to one request.
const MOST_CHOICES: u32 = 16;

/// The endpoint of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Completions,
    Chat,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    /// The prompt, or the last user message.
    pub(super) text: String,
    pub(super) prompt_tokens: u32,
    pub(super) max_tokens: u32,
    pub(super) ignore_eos: bool,
    pub(super) stop: Vec<String>,
    /// The beginning of chance.
    pub(super) seed: Option<u32>,
    /// Answers wanted, at least 1.
    pub(super) n: u32,
    /// Whether the prompt is part of the answer.
    pub(super) echo: bool,
    /// Whether the tokens' log probabilities are wanted.
    pub(super) logprobs: bool,
    /// The number of likely tokens that are wanted for each of the prompt.
    pub(super) prompt_logprobs: Option<u32>,
    /// The prompt's tokens, where it came as such.
    pub(super) prompt_ids: Vec<u64>,
    /// The grammar of the answer.
    pub(super) grammar: Grammar,
    pub(super) streaming: Option<Streaming>,
}

/// The grammar of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Any text.
    Free,
    /// `true` or `false`: the one schema that is rehearsed.
    Boolean,
}

impl Grammar {
    fn of(body: &Value) -> Self {
        match body.pointer("/response_format/json_schema/schema/type").and_then(Value::as_str) {
            Some("boolean") => Self::Boolean,
            _ => Self::Free,
        }
    }
}

/// The wanted form of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streaming {
    /// A last chunk that counts the tokens.
    pub(super) include_usage: bool,
    /// A count in every chunk.
    pub(super) continuous_usage: bool,
}

/// An error that answers a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    param: Option<String>,
    message: String,
}

impl Refusal {
    pub(super) fn bad(param: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "BadRequestError",
            param: Some(param.to_owned()),
            message: message.into(),
        }
    }

    /// A body that does not fit the schema. vLLM prints pydantic's errors the way Python prints a dict.
    fn invalid(kind: &str, place: Option<&str>, message: &str, rest: &str) -> Self {
        let message = place.map_or_else(
            || format!("1 validation error:\n  {message}"),
            |place| {
                format!("1 validation error:\n  {{'type': '{kind}', 'loc': '{place}', 'msg': '{message}', {rest}}}")
            },
        );
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "Bad Request",
            param: place.map(str::to_owned),
            message,
        }
    }

    fn no_model(name: &str, served: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            param: Some("model".to_owned()),
            message: format!("The model `{name}` does not exist. Valid aliases: {served}."),
        }
    }

    /// The answer to every request once the engine is dead.
    pub(super) fn engine_dead() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "InternalServerError",
            param: None,
            message: "EngineCore encountered an issue. See stack trace (above) for the root cause."
                .to_owned(),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body: `{"error": …}` with an integer code.
    pub(super) fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.status.as_u16(),
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

impl Request {
    /// Reads a request in the order in which vLLM looks at it: form, schema, model, limits.
    pub(super) fn parse(
        endpoint: Endpoint,
        headers: &HeaderMap,
        body: &[u8],
        options: &Options,
    ) -> Result<Self, Refusal> {
        let body = json_of(headers, body)?;
        let max_tokens = whole_number(&body, "max_completion_tokens")?
            .map_or_else(|| whole_number(&body, "max_tokens"), |n| Ok(Some(n)))?;
        let (text, prompt_tokens) = match endpoint {
            Endpoint::Completions => prompt(&body)?,
            Endpoint::Chat => conversation(&body)?,
        };
        if let Some(model) = body["model"].as_str()
            && model != options.served_name
            && options.fault != Some(EngineFault::AnyModel)
        {
            return Err(Refusal::no_model(model, &options.served_name));
        }
        if let Some(temperature) = body["temperature"].as_f64()
            && temperature < 0.0
        {
            return Err(Refusal::bad(
                "temperature",
                format!(
                    "temperature must be non-negative, got {temperature:.1}. (parameter=temperature, value={temperature:.1})"
                ),
            ));
        }
        if body["tool_choice"] == "auto" {
            return Err(Refusal {
                param: None,
                ..Refusal::bad(
                    "",
                    "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
                )
            });
        }
        let streams = body["stream"].as_bool() == Some(true);
        if !streams && !body["stream_options"].is_null() {
            return Err(Refusal::bad(
                "stream_options",
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
            ));
        }
        Ok(Self {
            endpoint,
            max_tokens: limit(endpoint, max_tokens, &text, prompt_tokens, options)?,
            text,
            prompt_tokens,
            ignore_eos: body["ignore_eos"].as_bool() == Some(true),
            stop: texts(&body["stop"]),
            seed: whole_number(&body, "seed")?,
            n: whole_number(&body, "n")?.unwrap_or(1).clamp(1, MOST_CHOICES),
            echo: body["echo"].as_bool() == Some(true),
            logprobs: body["logprobs"].is_u64() || body["logprobs"].as_bool() == Some(true),
            prompt_logprobs: whole_number(&body, "prompt_logprobs")?,
            prompt_ids: body["prompt"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
            grammar: Grammar::of(&body),
            streaming: streams.then(|| Streaming {
                include_usage: body["stream_options"]["include_usage"].as_bool() == Some(true),
                continuous_usage: body["stream_options"]["continuous_usage_stats"].as_bool() == Some(true),
            }),
        })
    }
}

pub(super) fn json_of(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next() == Some("application/json"));
    if !is_json {
        let message = "Unsupported Media Type: Only 'application/json' is allowed";
        return Err(Refusal::invalid("", None, message, ""));
    }
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("body.{}", error.column().saturating_sub(1));
        Refusal::invalid(
            "json_invalid",
            Some(&place),
            "JSON decode error",
            "'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}",
        )
    })
}

fn whole_number(body: &Value, field: &str) -> Result<Option<u32>, Refusal> {
    match &body[field] {
        Value::Null => Ok(None),
        value => value.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some).ok_or_else(|| {
            let input = format!("'input': {}", value.to_string().replace('"', "'"));
            let place = format!("body.{field}");
            let message = "Input should be a valid integer, unable to parse string as an integer";
            Refusal::invalid("int_parsing", Some(&place), message, &input)
        }),
    }
}

/// The prompt and its tokens: text, or tokens themselves.
fn prompt(body: &Value) -> Result<(String, u32), Refusal> {
    let missing = || {
        Refusal::bad(
            "prompt",
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
        )
    };
    match &body["prompt"] {
        Value::String(text) if !text.is_empty() => Ok((text.clone(), tokens(text))),
        Value::Array(ids) if ids.iter().all(Value::is_number) && !ids.is_empty() => {
            Ok((String::new(), u32::try_from(ids.len()).unwrap_or(u32::MAX)))
        }
        Value::Array(prompts) => match prompts.first().and_then(Value::as_str) {
            Some(text) => Ok((text.to_owned(), tokens(text))),
            None => Err(missing()),
        },
        _ => Err(missing()),
    }
}

/// The last message of a conversation, and the tokens of all of it.
fn conversation(body: &Value) -> Result<(String, u32), Refusal> {
    /// The tokens that a chat template puts around each message.
    const TEMPLATE_TOKENS: u32 = 4;
    let Some(messages) = body["messages"].as_array() else {
        return Err(Refusal::invalid(
            "missing",
            Some("body.messages"),
            "Field required",
            "'input': '<dict of 1 items>'",
        ));
    };
    let said: Vec<String> = messages
        .iter()
        .map(|message| match &message["content"] {
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            content => content.as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    let count = said.iter().map(|text| tokens(text) + TEMPLATE_TOKENS).sum();
    said.into_iter().next_back().map(|last| (last, count)).ok_or_else(|| Refusal {
        param: None,
        ..Refusal::bad(
            "",
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        )
    })
}

/// The most tokens to generate.
fn limit(
    endpoint: Endpoint,
    wanted: Option<u32>,
    text: &str,
    prompt_tokens: u32,
    options: &Options,
) -> Result<u32, Refusal> {
    let longest = options.max_model_len;
    match wanted {
        Some(0) => {
            return Err(Refusal::bad(
                "max_tokens",
                "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
            ));
        }
        Some(wanted) if wanted > longest => {
            return Err(Refusal::bad(
                "max_tokens",
                format!(
                    "max_tokens={wanted} cannot be greater than max_model_len={longest}. Please request fewer output tokens. (parameter=max_tokens, value={wanted})"
                ),
            ));
        }
        _ => {}
    }
    let characters = text.chars().count();
    let most = longest as usize * MOST_CHARACTERS_PER_TOKEN;
    if characters > most {
        return Err(Refusal::bad(
            "input_text",
            format!(
                "This model's maximum context length is {longest} tokens. However, your prompt contains {characters} characters (more than {most} characters, which is the upper bound for {longest} input tokens). Please reduce the length of the input prompt. (parameter=input_text, value={characters})"
            ),
        ));
    }
    let room = longest.saturating_sub(prompt_tokens);
    let wanted = match (wanted, endpoint) {
        (Some(wanted), _) => wanted,
        (None, Endpoint::Completions) => DEFAULT_COMPLETION_TOKENS.min(room),
        (None, Endpoint::Chat) => room,
    };
    if wanted > room || room == 0 {
        return Err(Refusal::bad(
            "input_tokens",
            format!(
                "This model's maximum context length is {longest} tokens. However, you requested {wanted} output tokens and your prompt contains {prompt_tokens} input tokens, for a total of {} tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value={prompt_tokens})",
                u64::from(wanted) + u64::from(prompt_tokens)
            ),
        ));
    }
    Ok(wanted)
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Counts a word as a token. Real tokenizers come to some four thirds of that for English.
fn tokens(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX).max(1)
}

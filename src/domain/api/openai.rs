//! The shapes of the OpenAI-compatible API as vLLM answers it.
//!
//! Requests say exactly what they mean (temperature 0, a token limit, nothing left to a server's defaults).
//! Responses name only the fields that are needed; other fields are ignored. The recorded answers of a real
//! vLLM 0.32.0 that the tests replay are in `tests/fixtures/vllm-api`.

use crate::domain::measure::speculation::Speculation;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// The most characters of a server's answer that a message quotes.
const MAX_QUOTED: usize = 300;

/// The input of a request, which decides the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text to go on with: `/v1/completions`.
    Prompt(String),
    /// One user message: `/v1/chat/completions`.
    Message(String),
}

/// When the answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Where the model ends it, at the limit at the latest.
    Naturally,
    /// At the limit and not before: vLLM's `ignore_eos`.
    AtLimit,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// In one body.
    Whole,
    /// As server-sent events, a chunk for every token or few, with a usage chunk at the end.
    Streamed,
}

/// A request for a completion or a chat answer, always at temperature 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The input.
    pub input: Input,
    /// The most tokens to generate, at least 1.
    pub(crate) max_tokens: u32,
    /// When to end.
    pub(crate) ends: Ends,
    /// Texts that end the answer and are not part of it. vLLM takes any number, `OpenAI` four.
    pub(crate) stop: Vec<String>,
}

/// One answer, whole or streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The role of the speaker in a chat: `assistant`.
    pub role: Option<String>,
    /// The generated text. May be empty: a token can be half of a character.
    pub text: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// The tokens of the request.
    pub usage: Usage,
}

/// Tokens, as the server counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Their sum.
    pub total_tokens: u32,
}

/// The answer of `/v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Models {
    /// Every name that is served.
    pub data: Vec<Model>,
}

/// One served name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Model {
    /// The name that requests use.
    pub id: String,
    /// The folder or repository that it was loaded from.
    pub root: Option<String>,
    /// The longest context, tokens.
    pub max_model_len: Option<u32>,
    /// The owner: `vllm`.
    pub(crate) owned_by: Option<String>,
}

/// The `error` of an error body. vLLM's `code` is an integer, the HTTP status again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiErrorBody {
    /// For people.
    pub(crate) message: String,
    /// `NotFoundError`, `BadRequestError`, `Bad Request`, …
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The field with the mistake.
    pub(crate) param: Option<String>,
    /// The HTTP status.
    pub code: u16,
}

/// How an answer falls short of what a healthy vLLM answers. An expected outcome, for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No connection, or it broke before an answer began.
    #[error("nobody answers at `{address}`: {why}")]
    Unreachable {
        /// The address of the server.
        address: String,
        /// The error of the system.
        why: String,
    },
    /// The time for the request ran out.
    #[error("no complete answer within {} s{}", .after.as_secs_f64(), So(*.chunks))]
    Late {
        /// The limit of time.
        after: Duration,
        /// Chunks of the stream that had come by then.
        chunks: usize,
    },
    /// Another status than was wanted.
    #[error("answered status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The message in the body.
        message: String,
    },
    /// The right status, and a body that is not the API's.
    #[error("answered something that is not this API: {0}")]
    Malformed(String),
    /// An error in the stream of an answer that had begun with status 200.
    #[error("reported an error in the middle of the stream: {0}")]
    InStream(String),
    /// The connection or the stream ended before the answer did.
    #[error("the answer broke off: {why}{}", So(*.chunks))]
    Cut {
        /// The part that was missing.
        why: String,
        /// Chunks of the stream that had come by then.
        chunks: usize,
    },
}

/// ", after 3 chunks" where there were any.
struct So(usize);

impl fmt::Display for So {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(", after 1 chunk"),
            chunks => write!(f, ", after {chunks} chunks"),
        }
    }
}

impl ApiError {
    /// Whether the server itself is unwell, so that further requests would fail or wait too: nobody listens,
    /// nobody answers in time, an internal error, an answer that breaks off. A refusal and a body of the
    /// wrong shape concern one request.
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } | Self::InStream(_) | Self::Cut { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Malformed(_) => false,
        }
    }
}

impl Request {
    /// A request for a text that goes on after `prompt`.
    pub fn complete(prompt: impl Into<String>, max_tokens: u32) -> Self {
        Self::of(Input::Prompt(prompt.into()), max_tokens)
    }

    /// A request for an answer to the user's `message`.
    pub fn chat(message: impl Into<String>, max_tokens: u32) -> Self {
        Self::of(Input::Message(message.into()), max_tokens)
    }

    fn of(input: Input, max_tokens: u32) -> Self {
        Self { input, max_tokens, ends: Ends::Naturally, stop: Vec::new() }
    }

    /// Asks for tokens up to the limit, even where the model would end before.
    #[must_use]
    pub fn to_the_limit(mut self) -> Self {
        self.ends = Ends::AtLimit;
        self
    }

    /// Ends the answer before the first of these texts.
    #[must_use]
    pub fn stopping_at<const N: usize>(mut self, stop: [&str; N]) -> Self {
        self.stop = stop.map(str::to_owned).into();
        self
    }

    /// The endpoint that answers.
    pub(crate) const fn path(&self) -> &'static str {
        match self.input {
            Input::Prompt(_) => "/v1/completions",
            Input::Message(_) => "/v1/chat/completions",
        }
    }

    /// The body to send.
    pub(crate) fn body(&self, model: &str, delivery: Delivery) -> Value {
        let mut body = json!({ "model": model, "max_tokens": self.max_tokens, "temperature": 0 });
        match &self.input {
            Input::Prompt(prompt) => body["prompt"] = json!(prompt),
            Input::Message(message) => {
                body["messages"] = json!([{ "role": "user", "content": message }]);
            }
        }
        if self.ends == Ends::AtLimit {
            body["ignore_eos"] = json!(true);
        }
        if !self.stop.is_empty() {
            body["stop"] = json!(self.stop);
        }
        if delivery == Delivery::Streamed {
            body["stream"] = json!(true);
            body["stream_options"] = json!({ "include_usage": true });
            // Like `ignore_eos` it is vLLM's own: every chunk says how many tokens there are by then.
            if self.ends == Ends::AtLimit {
                body["stream_options"]["continuous_usage_stats"] = json!(true);
            }
        }
        body
    }
}

#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<Message>,
    finish_reason: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    /// Null where a reasoning parser put everything beside it.
    content: Option<String>,
    #[serde(flatten)]
    thought: Thought,
}

/// The text that a reasoning parser took out.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Thought {
    #[serde(default)]
    reasoning: Option<String>,
    /// The name of the field until vLLM 0.12.
    #[serde(default)]
    reasoning_content: Option<String>,
}

impl Thought {
    /// The text, by either name.
    pub(crate) fn text(self) -> Option<String> {
        self.reasoning.or(self.reasoning_content)
    }
}

/// The answer's text, or where there is none yet what the model thought aloud.
pub(crate) fn said(content: Option<String>, thought: Option<String>) -> String {
    let content = content.unwrap_or_default();
    if content.trim().is_empty() { thought.unwrap_or(content) } else { content }
}

impl Answer {
    /// Reads the whole answer to a request for a completion or a chat.
    pub(crate) fn parse(body: &str) -> Result<Self, ApiError> {
        let Body { choices, usage } = parse(body)?;
        let [choice] = <[Choice; 1]>::try_from(choices)
            .map_err(|choices| ApiError::Malformed(format!("{} choices in place of one", choices.len())))?;
        let (role, text) = match (choice.text, choice.message) {
            (Some(text), None) => (None, text),
            (None, Some(message)) => (Some(message.role), said(message.content, message.thought.text())),
            _ => {
                return Err(ApiError::Malformed(format!("a choice without text: {}", quote(body))));
            }
        };
        Ok(Self { role, text, finish_reason: choice.finish_reason, usage })
    }
}

impl Models {
    /// Reads the answer of `/v1/models`.
    pub(crate) fn parse(body: &str) -> Result<Self, ApiError> {
        parse(body)
    }
}

impl ApiErrorBody {
    /// Reads an error body: `{"error": {…}}`.
    pub fn parse(body: &str) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Body {
            error: ApiErrorBody,
        }
        parse::<Body>(body).map(|body| body.error)
    }
}

/// The message of an error body: vLLM's own, the framework's `detail`, or the beginning of the body.
pub(crate) fn complaint(body: &str) -> String {
    if let Ok(error) = ApiErrorBody::parse(body) {
        return quote(&error.message);
    }
    let body_value: Value = serde_json::from_str(body).unwrap_or_default();
    ["detail", "error"]
        .iter()
        .find_map(|&field| body_value[field].as_str())
        .map_or_else(|| quote(body), quote)
}

/// `text` on one line and not too long, or that there is none.
pub(crate) fn quote(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_QUOTED) {
        _ if text.is_empty() => "an empty body".to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Reads JSON of a known shape.
pub(crate) fn parse<T: DeserializeOwned>(body: &str) -> Result<T, ApiError> {
    serde_json::from_str(body).map_err(|error| ApiError::Malformed(format!("{error}: {}", quote(body))))
}

/// The load of an engine, by its own `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Tokens generated since it started.
    pub generated_tokens: f64,
    /// Tokens of prompts that were read since it started. 0 where it does not tell.
    pub prompt_tokens: f64,
    /// Requests that are running or waiting.
    pub requests: f64,
}

impl Load {
    /// Reads vLLM's metrics in Prometheus' text format; values of several engines add up.
    pub fn parse(text: &str) -> Option<Self> {
        let sum = |name| metric(text, name);
        Some(Self {
            generated_tokens: sum("vllm:generation_tokens_total")?,
            prompt_tokens: sum("vllm:prompt_tokens_total").unwrap_or_default(),
            requests: sum("vllm:num_requests_running")? + sum("vllm:num_requests_waiting")?,
        })
    }
}

/// The guesses of an engine since it started. Nothing where it does not speculate.
pub(crate) fn speculation(metrics: &str) -> Option<Speculation> {
    Some(Speculation {
        drafts: metric(metrics, "vllm:spec_decode_num_drafts_total")?,
        draft_tokens: metric(metrics, "vllm:spec_decode_num_draft_tokens_total")?,
        accepted_tokens: metric(metrics, "vllm:spec_decode_num_accepted_tokens_total")?,
    })
}

/// The sum of all values of a metric in Prometheus' text format. Nothing where it has none.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite())
    };
    text.lines().filter_map(value).reduce(|sum, value| sum + value)
}

/// The sum of the values of a metric that have this label: `status="5xx"`. Nothing where it has none.
pub(crate) fn labelled_metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(label)).collect();
    metric(&lines.join("\n"), name)
}

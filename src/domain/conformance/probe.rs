//! One request, and the rules for its answer.

use crate::domain::api::openai::{ApiError, Models, complaint, parse};
use serde_json::Value;
use std::fmt;

/// The prompt of completions.
pub(crate) const PROMPT: &str = "The ships in the harbour";

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The `Content-Type` header, empty without one.
    pub(crate) content_type: String,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// The body of an answer with status 200, as JSON.
    ///
    /// # Errors
    ///
    /// For another status, and for a body that is no JSON.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        let text = self.good_text()?;
        parse(text)
    }

    /// The body of an answer with status 200, as text.
    ///
    /// # Errors
    ///
    /// For another status, and for a body that is no text.
    pub(crate) fn good_text(&self) -> Result<&str, ApiError> {
        if self.status != 200 {
            return Err(ApiError::Refused { status: self.status, message: self.complaint() });
        }
        std::str::from_utf8(&self.body)
            .map_err(|error| ApiError::Malformed(format!("{error}, of {} bytes", self.body.len())))
    }

    /// The message in an error body.
    fn complaint(&self) -> String {
        complaint(&String::from_utf8_lossy(&self.body))
    }

    /// Tells apart a refusal of something that a server need not offer: it is [`Violation::NotOffered`], and
    /// no failure.
    pub(super) fn offered(&self) -> Result<(), Violation> {
        match self.status {
            400..=499 | 501 => Err(Violation::NotOffered(self.complaint())),
            _ => Ok(()),
        }
    }
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// No body.
    Get,
    /// A JSON body.
    Post(Value),
    /// A body that need not be JSON, though its header says so.
    Raw(&'static str),
    /// No request, for this reason: something that it needs is not known.
    Skip(&'static str),
}

/// One request, and what to look at in its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// The endpoint.
    pub(crate) path: &'static str,
    /// The request.
    pub(crate) ask: fn(&Known) -> Ask,
    /// The checks. The first is for the answer as a whole: without it the others mean nothing.
    pub(crate) rules: &'static [Rule],
}

/// One named check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// A stable name: `chat-stream`.
    pub(crate) name: &'static str,
    /// The servers that must keep to it.
    pub(crate) need: Need,
    /// The check.
    pub(crate) look: fn(&Exchange, &Known) -> Result<(), Violation>,
}

/// The servers that must keep to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every server, and nothing else means anything without it.
    Essential,
    /// Every server.
    Everyone,
    /// vLLM. Another server may do without.
    Vllm,
    /// Every server that offers it.
    WhereOffered,
}

/// The facts about the server that its answers have told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    /// The name of the model in requests.
    pub(crate) model: String,
    /// Whether it is vLLM. A server of ours always is.
    pub(crate) vllm: bool,
    /// Whether it was started with metrics of its own, where that is known.
    pub statistics: Option<bool>,
    /// The longest context, tokens.
    pub(crate) max_model_len: Option<u32>,
    /// The tokens that the server counts in [`PROMPT`].
    pub(crate) prompt_tokens: Option<u64>,
    /// The tokens of [`PROMPT`], by its own tokenizer.
    pub(crate) tokens: Option<Vec<u64>>,
    /// Whether it thinks aloud before it answers in a chat.
    pub(crate) thinks: bool,
    /// The texts that it generated freely: the first answer of each kind.
    pub(crate) texts: Vec<String>,
}

impl Known {
    /// Knows only the name of the model.
    pub(crate) fn of(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// Records what the list of models says.
    pub(crate) fn learn_models(&mut self, models: &Models) {
        let ours = models.data.iter().find(|model| model.id == self.model);
        self.vllm = ours.is_some_and(|model| model.owned_by.as_deref() == Some("vllm"));
        self.max_model_len = ours.and_then(|model| model.max_model_len);
    }
}

/// Why a check failed: no good answer, or a wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// No good answer.
    Fault(ApiError),
    /// A wrong one.
    Wrong(String),
    /// The server does not offer this.
    NotOffered(String),
}

impl Violation {
    /// Whether nobody answers at all: there, or in time.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Fault(ApiError::Unreachable { .. } | ApiError::Late { .. }))
    }

    /// Whether the checks that are left would only fail, or wait, alike.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_fatal())
    }
}

impl From<ApiError> for Violation {
    fn from(fault: ApiError) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Wrong(what) => f.write_str(what),
            Self::NotOffered(why) => write!(f, "not offered: {why}"),
        }
    }
}

pub(crate) fn wrong<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::Wrong(what.into()))
}

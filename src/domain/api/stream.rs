//! A streamed answer, put together from its events and their times of arrival.

use super::openai::{Answer, ApiError, ApiErrorBody, Thought, Usage, parse, quote, said};
use crate::domain::measure::Sample;
use serde::Deserialize;
use std::time::Duration;

/// The data of the event that ends every stream, also one that failed half-way.
const DONE: &str = "[DONE]";

/// A whole streamed answer and when its parts came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// What it said.
    pub answer: Answer,
    /// When each chunk with a choice came, counted from sending the request. Never empty. The usage
    /// chunk is none of them.
    pub chunks: Vec<Duration>,
}

impl From<Streamed> for Answer {
    fn from(streamed: Streamed) -> Self {
        streamed.answer
    }
}

impl Streamed {
    /// What it took, with tokens from `usage`.
    pub fn sample(&self) -> Sample {
        let Usage { prompt_tokens, completion_tokens, .. } = self.answer.usage;
        Sample { prompt_tokens, ..sample(&self.chunks, completion_tokens) }
    }
}

fn sample(chunks: &[Duration], tokens: u32) -> Sample {
    // To the microsecond: what is beyond is noise, and evidence is read by people.
    let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
    Sample {
        began_ms: 0.0,
        prompt_tokens: 0,
        ttft_ms: chunks.first().copied().map_or(0.0, ms),
        e2el_ms: chunks.last().copied().map_or(0.0, ms),
        tokens,
        itl_ms: chunks.windows(2).map(|pair| ms(pair[1].saturating_sub(pair[0]))).collect(),
    }
}

/// A streamed answer being read.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    role: Option<String>,
    text: String,
    /// What a reasoning parser took out of the text.
    thought: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    chunks: Vec<Duration>,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    role: Option<String>,
    content: Option<String>,
    #[serde(flatten)]
    thought: Thought,
}

impl Transcript {
    /// Takes the data of the next event, which came `at` after the request was sent.
    ///
    /// # Errors
    ///
    /// For an error event: vLLM sends `{"error": …}` and then `[DONE]`, all under status 200, when its
    /// engine dies under a stream. For an event that is not of this API, and for one after the end.
    pub(crate) fn take(&mut self, data: &str, at: Duration) -> Result<(), ApiError> {
        if self.done {
            return Err(ApiError::Malformed(format!("an event after `{DONE}`: {}", quote(data))));
        }
        if data == DONE {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = parse(data)?;
        if let Some(error) = &chunk.error {
            let message = ApiErrorBody::parse(data).map(|error| error.message);
            return Err(ApiError::InStream(message.unwrap_or_else(|_| quote(&error.to_string()))));
        }
        // With `continuous_usage_stats` every chunk has one; the last one counts.
        self.usage = chunk.usage.or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        let first = self.chunks.is_empty();
        self.chunks.push(at);
        let (role, text) = match (choice.text, choice.delta) {
            (Some(text), None) => (None, Some(text)),
            (None, Some(delta)) => {
                self.thought.push_str(delta.thought.text().as_deref().unwrap_or_default());
                (delta.role, delta.content)
            }
            _ => {
                return Err(ApiError::Malformed(format!("a chunk without text: {}", quote(data))));
            }
        };
        if first {
            self.role = role;
        }
        self.text.push_str(text.as_deref().unwrap_or_default());
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    /// When the chunks of text came, so far.
    pub(crate) fn chunks(&self) -> &[Duration] {
        &self.chunks
    }

    /// What it took so far, a token a chunk: usage comes at the end only.
    pub(crate) fn sample(&self) -> Sample {
        sample(&self.chunks, u32::try_from(self.chunks.len()).unwrap_or(u32::MAX))
    }

    /// Ends the answer, because the connection did.
    ///
    /// # Errors
    ///
    /// When `[DONE]`, the finish reason, the usage or the text is missing.
    pub(crate) fn finish(self) -> Result<Streamed, ApiError> {
        let cut = |why: &str| ApiError::Cut { why: why.to_owned(), chunks: self.chunks.len() };
        if !self.done {
            return Err(cut("the stream ended without `[DONE]`"));
        }
        if self.chunks.is_empty() {
            return Err(cut("the stream has no text"));
        }
        let usage = self.usage.ok_or_else(|| cut("the stream has no usage chunk"))?;
        let finish_reason = self.finish_reason.clone().ok_or_else(|| cut("no chunk has a finish reason"))?;
        Ok(Streamed {
            answer: Answer {
                role: self.role,
                text: said(Some(self.text), Some(self.thought)),
                finish_reason,
                usage,
            },
            chunks: self.chunks,
        })
    }
}

//! A streamed answer, put together from its events and their times of arrival.

use super::openai::{Answer, ApiError, ApiErrorBody, Thought, Usage, parse, quote, said};
use crate::domain::measure::{Arrival, Sample};
use serde::Deserialize;
use std::time::Duration;

/// The data of the event that ends every stream, also one that failed half-way.
const DONE: &str = "[DONE]";

/// The mark after a model's thoughts, where no reasoning parser takes them out.
const END_OF_THOUGHT: &str = "</think>";

/// A whole streamed answer and when its parts came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The text and usage of the answer.
    pub answer: Answer,
    /// When each chunk with a choice came, counted from sending the request. Never empty. The usage chunk is
    /// left out, and a first one that only says who speaks.
    pub chunks: Vec<Duration>,
    /// The tokens of each of these chunks. Empty where each has one, or the server does not count them.
    pub chunk_tokens: Vec<u32>,
    /// When the first text of the answer came, where the model thought aloud before.
    pub first_answer: Option<Duration>,
}

impl From<Streamed> for Answer {
    fn from(streamed: Streamed) -> Self {
        streamed.answer
    }
}

impl Streamed {
    /// The times of the answer, with tokens from `usage`.
    pub fn sample(&self) -> Sample {
        let Usage { prompt_tokens, completion_tokens, .. } = self.answer.usage;
        Sample {
            prompt_tokens,
            chunk_tokens: self.chunk_tokens.clone(),
            first_answer_ms: self.first_answer.map(millis),
            ..sample(self.chunks.iter().copied(), completion_tokens)
        }
    }
}

/// Rounded to microseconds: the rest is noise, and people read the evidence.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The tokens of each chunk, by the count so far at each. Empty where each has one, or one does not tell.
fn by_chunk(chunks: &[Arrival]) -> Vec<u32> {
    let mut before = 0;
    let counted = chunks.iter().map(|chunk| {
        let count = chunk.tokens?;
        Some(count.saturating_sub(std::mem::replace(&mut before, count)))
    });
    let counted: Vec<u32> = counted.collect::<Option<_>>().unwrap_or_default();
    if counted.iter().all(|tokens| *tokens == 1) { Vec::new() } else { counted }
}

fn sample(chunks: impl Iterator<Item = Duration>, tokens: u32) -> Sample {
    let chunks: Vec<Duration> = chunks.collect();
    Sample {
        ttft_ms: chunks.first().copied().map_or(0.0, millis),
        e2el_ms: chunks.last().copied().map_or(0.0, millis),
        tokens,
        itl_ms: chunks.windows(2).map(|pair| millis(pair[1].saturating_sub(pair[0]))).collect(),
        ..Sample::default()
    }
}

/// A streamed answer being read.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    role: Option<String>,
    text: String,
    /// The text that a reasoning parser took out.
    thought: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    /// Whether a chunk with a choice has come.
    began: bool,
    /// When the first text after its thoughts came.
    first_answer: Option<Duration>,
    chunks: Vec<Arrival>,
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
        let first = !self.began;
        self.began = true;
        let arrival = Arrival { at, tokens: chunk.usage.map(|usage| usage.completion_tokens) };
        let (role, text) = match (choice.text, choice.delta) {
            (Some(text), None) => (None, Some(text)),
            (None, Some(delta)) => {
                let thought = delta.thought.text().unwrap_or_default();
                self.thought.push_str(&thought);
                let says = delta.content.as_deref().is_some_and(|content| !content.is_empty());
                // Some servers say at once who will speak, long before they say anything.
                if first
                    && delta.role.is_some()
                    && !says
                    && thought.is_empty()
                    && choice.finish_reason.is_none()
                {
                    self.role = delta.role;
                    return Ok(());
                }
                (delta.role, delta.content)
            }
            _ => {
                return Err(ApiError::Malformed(format!("a chunk without text: {}", quote(data))));
            }
        };
        if first {
            self.role = role;
        }
        self.chunks.push(arrival);
        self.text.push_str(text.as_deref().unwrap_or_default());
        if self.first_answer.is_none() && self.answers() {
            self.first_answer = Some(at);
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    /// Whether it says something after it thought aloud: beside a reasoning parser's field, or behind the mark in the text
    /// where there is no parser.
    fn answers(&self) -> bool {
        if let Some((_, answer)) = self.text.split_once(END_OF_THOUGHT) {
            return !answer.trim().is_empty();
        }
        !self.thought.is_empty() && !self.text.trim().is_empty()
    }

    /// When the chunks of text came, so far.
    pub(crate) fn chunks(&self) -> &[Arrival] {
        &self.chunks
    }

    /// The times so far, with the tokens that the chunks' own `usage` counts. Where they have none a chunk counts as a
    /// token, which is no measure.
    pub(crate) fn sample(&self) -> Sample {
        let counted = self.chunks.last().and_then(|last| last.tokens);
        let tokens = counted.unwrap_or_else(|| u32::try_from(self.chunks.len()).unwrap_or(u32::MAX));
        sample(self.chunks.iter().map(|chunk| chunk.at), tokens)
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
            chunk_tokens: by_chunk(&self.chunks),
            first_answer: self.first_answer,
            chunks: self.chunks.iter().map(|chunk| chunk.at).collect(),
        })
    }
}

//! Measurements of a server: samples and their statistics.

pub mod prompts;
pub mod stats;

use prompts::PromptSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One stream's speed, by vLLM's definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Requests measured, warm-ups not counted.
    pub requests: u32,
    /// Tokens in each answer.
    pub output_tokens: u32,
    /// 1 / TPOT, tokens/s.
    pub decode_tokens_per_second: Interval,
    /// Time to first token, milliseconds.
    pub(crate) ttft_ms: Interval,
    /// Time per output token after the first, milliseconds.
    pub tpot_ms: Interval,
    /// Time between two chunks of text, milliseconds, of all requests.
    pub itl_ms: Interval,
    /// End-to-end latency, milliseconds.
    pub e2el_ms: Interval,
    /// Requests that were thrown away and made anew, since this client itself was stalled.
    #[serde(default)]
    pub thrown_away: u32,
    /// Where the prompts came from. Absent in reports of before: one text, each time with another label.
    #[serde(default)]
    pub prompts: Option<PromptSource>,
    /// Each measured request, in order.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

/// The times and tokens of one streamed request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When it was sent, milliseconds from the beginning of its measurement.
    #[serde(default)]
    pub began_ms: f64,
    /// Tokens of its prompt, as the server's `usage` counts them.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// From sending to the first token, milliseconds.
    pub ttft_ms: f64,
    /// From sending to the last token, milliseconds.
    pub e2el_ms: f64,
    /// Tokens generated, as the server's `usage` counts them: one chunk may carry several.
    pub tokens: u32,
    /// The time before each chunk of text after the first, milliseconds.
    #[serde(default)]
    pub itl_ms: Vec<f64>,
    /// The longest that this client itself was kept from running meanwhile, milliseconds: so much later than it came a
    /// chunk may have been stamped.
    #[serde(default)]
    pub stalled_ms: f64,
}

/// A median, and where it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Half are below.
    pub median: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// How many were measured. The bounds of a single one are itself: it says nothing about the spread.
    pub n: usize,
}

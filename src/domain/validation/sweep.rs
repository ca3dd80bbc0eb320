//! Plans and reports how the speed changes with the length of the prompt and with the number of streams,
//! within a given time. The names are those of `vllm bench serve`.

use crate::domain::measure::{
    Interval, Sample,
    prompts::PromptSource,
    stats::{Logarithms, median},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requests that each stream of a level makes, one after the other. One would show no more than how the
/// server takes a burst.
const ROUNDS: u32 = 2;

/// Requests of each length of prompt.
const REPETITIONS: u32 = 3;

/// The fewest tokens of an answer: shorter ones say little of decoding.
const LEAST_TOKENS: u32 = 16;

/// The share of a context that a prompt may fill: its tokens are estimated before they are counted.
const FILLED: f64 = 0.9;

/// The measurements beyond one stream on a short prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Swept {
    /// By the length of the prompt, shortest first.
    pub prompts: Vec<PromptLength>,
    /// By the number of streams at once, fewest first.
    pub streams: Vec<Concurrency>,
    /// The measurements that were left out, and why.
    pub left_out: Vec<String>,
    /// Where the prompts came from. Absent in reports of before: one text, each time with another label, so that streams
    /// of a model with many experts shared what they read.
    #[serde(default)]
    pub source: Option<PromptSource>,
}

/// The time to the first token after prompts of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PromptLength {
    /// The length that was asked for, tokens.
    pub prompt_tokens: u32,
    /// Tokens of the prompt, as the server counts them: the median of the requests.
    pub input_len: u32,
    /// Time to first token, milliseconds.
    pub(crate) ttft_ms: Interval,
    /// Each request, in order.
    pub(crate) samples: Vec<Sample>,
}

/// The speed with so many streams at once, each making its next request when it has its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Concurrency {
    /// The number of streams.
    pub max_concurrency: u32,
    /// Requests that were answered: all of them, since one without an answer fails the validation.
    pub completed: u32,
    /// From the first request to the last token, seconds.
    pub duration: f64,
    /// Tokens of all prompts.
    pub total_input_tokens: u32,
    /// Tokens of all answers.
    pub total_output_tokens: u32,
    /// Answers per second.
    pub request_throughput: f64,
    /// Generated tokens per second, of all streams together.
    pub output_throughput: f64,
    /// Time to first token, milliseconds.
    pub(crate) ttft_ms: Interval,
    /// Time per output token after the first, milliseconds.
    pub tpot_ms: Interval,
    /// Time between two chunks of text, milliseconds, of all requests.
    pub itl_ms: Interval,
    /// End-to-end latency, milliseconds.
    pub(crate) e2el_ms: Interval,
    /// Each request, by the time at which it began.
    pub samples: Vec<Sample>,
}

/// The plan of one level of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Streams at once.
    pub streams: u32,
    /// Requests, of all streams together.
    pub requests: u32,
    /// Tokens of each answer.
    pub output_tokens: u32,
}

/// The speed of the last measurement, for an estimate of the next one's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Streams at once.
    pub streams: u32,
    /// Tokens of the prompt.
    pub input_len: u32,
    /// Median time to first token, seconds.
    pub ttft: f64,
    /// Median time per output token, seconds.
    pub tpot: f64,
}

impl Pace {
    /// The pace of these requests, so many at once. Absent without any.
    pub(crate) fn of(streams: u32, samples: &[Sample]) -> Option<Self> {
        let lengths: Vec<f64> = samples.iter().map(|sample| f64::from(sample.prompt_tokens)).collect();
        let first: Vec<f64> = samples.iter().map(|sample| sample.ttft_ms / 1000.0).collect();
        let next: Vec<f64> = samples.iter().filter_map(Sample::tpot_ms).map(|ms| ms / 1000.0).collect();
        Some(Self {
            streams,
            input_len: whole(median(&lengths)?),
            ttft: median(&first)?,
            tpot: median(&next).unwrap_or(0.0),
        })
    }

    /// The level that fits into `seconds` at so many streams, with answers of at most `tokens`. It assumes
    /// that streams share what fewer had and gain nothing from being at once. A sound server does no worse,
    /// so it takes less.
    pub fn level(self, streams: u32, tokens: u32, seconds: f64) -> Option<Level> {
        let slowdown = (f64::from(streams) / f64::from(self.streams.max(1))).max(1.0);
        let fitting = |rounds: u32| {
            let each = seconds / f64::from(rounds) / slowdown - self.ttft;
            let fitting = if self.tpot > 0.0 { each / self.tpot } else { f64::from(tokens) };
            (each > 0.0).then(|| whole(fitting).min(tokens)).filter(|&n| n >= LEAST_TOKENS.min(tokens))
        };
        (1..=ROUNDS).rev().find_map(|rounds| {
            let output_tokens = fitting(rounds)?;
            Some(Level { streams, requests: streams * rounds, output_tokens })
        })
    }

    /// The number of prompts of this length that fit into `seconds`. None: not even one. The time of a prompt
    /// is taken to grow with its length.
    pub fn prompts(self, input_len: u32, seconds: f64) -> Option<u32> {
        let longer = (f64::from(input_len) / f64::from(self.input_len.max(1))).max(1.0);
        let each = (self.ttft * longer).max(1e-6);
        Some(whole(seconds / each).min(REPETITIONS)).filter(|&n| n > 0)
    }
}

/// The longest prompt for this context.
pub fn longest_prompt(max_model_len: u32) -> u32 {
    whole(f64::from(max_model_len) * FILLED)
}

impl PromptLength {
    /// Sums up these requests, whose prompts were to have so many tokens. Absent without any.
    pub(crate) fn of(prompt_tokens: u32, samples: Vec<Sample>) -> Option<Self> {
        let lengths: Vec<f64> = samples.iter().map(|sample| f64::from(sample.prompt_tokens)).collect();
        Some(Self {
            prompt_tokens,
            input_len: whole(median(&lengths)?),
            ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms))?,
            samples,
        })
    }
}

impl Concurrency {
    /// Sums up these requests of so many streams. Absent without any, or if one of them is of a single token.
    pub fn of(max_concurrency: u32, mut samples: Vec<Sample>) -> Option<Self> {
        samples.sort_by(|a, b| a.began_ms.total_cmp(&b.began_ms));
        let first = samples.first()?.began_ms;
        let last = samples.iter().map(|sample| sample.began_ms + sample.e2el_ms).fold(first, f64::max);
        let duration = ((last - first) / 1000.0).max(1e-6);
        let total = |of: fn(&Sample) -> u32| samples.iter().map(of).fold(0, u32::saturating_add);
        let total_output_tokens = total(|sample| sample.tokens);
        let tpots: Option<Vec<f64>> = samples.iter().map(Sample::tpot_ms).collect();
        Some(Self {
            max_concurrency,
            completed: u32::try_from(samples.len()).ok()?,
            duration,
            total_input_tokens: total(|sample| sample.prompt_tokens),
            total_output_tokens,
            request_throughput: samples.len() as f64 / duration,
            output_throughput: f64::from(total_output_tokens) / duration,
            ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms))?,
            tpot_ms: Interval::of(tpots?)?,
            itl_ms: Interval::of_gaps(&samples)?,
            e2el_ms: Interval::of(samples.iter().map(|sample| sample.e2el_ms))?,
            samples,
        })
    }
}

impl Concurrency {
    /// The rate of each request, tokens/s, its first token included.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| f64::from(sample.tokens) * 1000.0 / sample.e2el_ms).collect()
    }

    /// The throughput and its bounds, which are in proportion those of one request's rate.
    pub(crate) fn throughput(&self) -> Interval {
        let exact = self.output_throughput;
        let rates = self.rates();
        let middle = Logarithms::of(&rates).map_or(exact, |rates| rates.mean.exp());
        let scaled: Vec<f64> = rates.iter().map(|rate| rate * exact / middle).collect();
        Interval::around(exact, &scaled, rates.len()).unwrap_or(Interval {
            median: exact,
            low: exact,
            high: exact,
            n: rates.len(),
        })
    }
}

/// A number as an integer, rounded down; 0 for a negative one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

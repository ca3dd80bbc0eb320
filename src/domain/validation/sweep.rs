//! Plans and reports how the speed changes with the length of the prompt and with the number of streams,
//! within a given time. The names are those of `vllm bench serve`.

use crate::domain::measure::{Interval, Sample, prompts::PromptSource, run::Run, stats::median};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requests that each stream of a level makes, one after the other. One would show no more than how the
/// server takes a burst.
const ROUNDS: u32 = 2;

/// The windows of time that a level's throughput is measured in.
const WINDOWS: u32 = 6;

/// The share of intervals that miss, on either side.
const OUTSIDE: f64 = 0.025;

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
    /// The throughput in some windows of equal length, tokens/s, from the first token to the last. Requests of a batch
    /// move in lock-step, so that they are no independent measurements; windows are, more nearly. Empty where a
    /// window would have no token.
    pub fn windows(&self) -> Vec<f64> {
        let tokens: Vec<(f64, f64)> = self.samples.iter().flat_map(arrivals).collect();
        let begin = tokens.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
        let end = tokens.iter().map(|(at, _)| *at).fold(f64::NEG_INFINITY, f64::max);
        let width = (end - begin) / f64::from(WINDOWS);
        if !(width.is_finite() && width > 0.0) {
            return Vec::new();
        }
        let mut windows = vec![0.0; WINDOWS as usize];
        for (at, tokens) in tokens {
            let window = whole((at - begin) / width).min(WINDOWS - 1);
            windows[window as usize] += tokens * 1000.0 / width;
        }
        if windows.contains(&0.0) { Vec::new() } else { windows }
    }

    /// The throughput and its bounds, within this start of the server.
    pub(crate) fn throughput(&self) -> Interval {
        let exact = self.output_throughput;
        let windows = Run { start_spread: 0.0, ..Run::alone(&self.windows()) };
        let estimate = windows.estimate().map(|windows| (windows.mean(), windows.bounds(1, OUTSIDE)));
        let [low, high] = estimate.map_or([exact; 2], |(mean, bounds)| {
            bounds.map(|bound| exact * (bound - mean).exp().min(f64::MAX / exact.max(1.0)))
        });
        Interval { median: exact, low, high, n: windows.rates.len().max(1) }
    }
}

/// The times at which the chunks of a request came, milliseconds, and the tokens of each: on average, since only their
/// sum is known.
fn arrivals(sample: &Sample) -> impl Iterator<Item = (f64, f64)> {
    let each = f64::from(sample.tokens) / (sample.itl_ms.len() + 1) as f64;
    let first = sample.began_ms + sample.ttft_ms;
    let later = sample.itl_ms.iter().scan(first, |at, gap| {
        *at += gap;
        Some(*at)
    });
    std::iter::once(first).chain(later).map(move |at| (at, each))
}

/// A number as an integer, rounded down; 0 for a negative one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

//! Plans and reports how the speed changes with the length of the prompt and with the number of streams,
//! within a given time. The names are those of `vllm bench serve`.

pub mod arrivals;
pub mod deep;
mod pace;

use crate::domain::measure::{Interval, Sample, prompts::PromptSource, run::Run, stats::median};
use deep::{Deep, FirstAnswers, Interrupted};
use pace::whole;
pub use pace::{Level, Pace, Readings, longest_prompt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The windows of time that a level's throughput is measured in.
const WINDOWS: u32 = 6;

/// The share of intervals that miss, on either side.
const OUTSIDE: f64 = 0.025;

/// The measurements beyond one stream on a short prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Swept {
    /// By the length of the prompt, shortest first.
    pub prompts: Vec<PromptLength>,
    /// By the number of streams at once, fewest first.
    pub streams: Vec<Concurrency>,
    /// The measurements that were left out, and why.
    pub left_out: Vec<String>,
    /// One stream after the longest prompt that there was time for.
    #[serde(default)]
    pub deep: Option<Deep>,
    /// One stream while a long prompt was read.
    #[serde(default)]
    pub interrupted: Option<Interrupted>,
    /// The time to the first token of the answer, of a model that thinks aloud before.
    #[serde(default)]
    pub first_answers: Option<FirstAnswers>,
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
    /// Requests of this length that were sent before, and not counted: the first of a length may compile, or take memory.
    #[serde(default)]
    pub warmups: u32,
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
    /// Requests of so many streams that were made before, and not counted.
    #[serde(default)]
    pub warmups: u32,
    /// Each request, by the time at which it began.
    pub samples: Vec<Sample>,
}

impl PromptLength {
    /// Sums up these requests, whose prompts were to have so many tokens. Absent without any.
    pub(crate) fn of(prompt_tokens: u32, samples: Vec<Sample>) -> Option<Self> {
        let lengths: Vec<f64> = samples.iter().map(|sample| f64::from(sample.prompt_tokens)).collect();
        Some(Self {
            prompt_tokens,
            input_len: whole(median(&lengths)?),
            ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms))?,
            warmups: 0,
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
            warmups: 0,
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

/// The times at which the chunks of a request came, milliseconds, and the tokens of each.
fn arrivals(sample: &Sample) -> impl Iterator<Item = (f64, f64)> {
    let first = sample.began_ms + sample.ttft_ms;
    let later = sample.itl_ms.iter().scan(first, |at, gap| {
        *at += gap;
        Some(*at)
    });
    std::iter::once(first).chain(later).zip(sample.tokens_by_chunk())
}

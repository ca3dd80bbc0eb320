//! Plans what of a sweep fits into its time, by the speed that was last seen.

use crate::domain::measure::{Sample, stats::median};

/// The requests that each stream of a level makes, one after the other. One would show no more than how the
/// server takes a burst.
const ROUNDS: u32 = 2;

/// Requests of each length of prompt.
const REPETITIONS: u32 = 3;

/// The fewest tokens of an answer: shorter ones say little of decoding.
const LEAST_TOKENS: u32 = 16;

/// The share of a context that a prompt may fill: its tokens are estimated before they are counted.
const FILLED: f64 = 0.9;

/// The plan of one level of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Streams at once.
    pub streams: u32,
    /// Requests, of all streams together.
    pub requests: u32,
    /// Tokens of each answer.
    pub output_tokens: u32,
    /// Tokens of the answer that each stream gets before, and that is not counted. 0: there is no time for one.
    pub warmup_tokens: u32,
}

/// The requests with prompts of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// Those that are not counted.
    pub warmups: u32,
    /// Those that are.
    pub requests: u32,
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
        let least = LEAST_TOKENS.min(tokens);
        let fitting = |rounds: u32, warmup_tokens: u32| {
            let warmup =
                if warmup_tokens > 0 { self.ttft + f64::from(warmup_tokens) * self.tpot } else { 0.0 };
            let each = (seconds / slowdown - warmup) / f64::from(rounds) - self.ttft;
            let fitting = if self.tpot > 0.0 { each / self.tpot } else { f64::from(tokens) };
            (each > 0.0).then(|| whole(fitting).min(tokens)).filter(|&n| n >= least)
        };
        // Without a warm-up only where there is no time for anything else.
        [(ROUNDS, least), (1, least), (1, 0)].into_iter().find_map(|(rounds, warmup_tokens)| {
            let output_tokens = fitting(rounds, warmup_tokens)?;
            Some(Level { streams, requests: streams * rounds, output_tokens, warmup_tokens })
        })
    }

    /// The prompts of this length that fit into `seconds`. None: not even one.
    pub fn prompts(self, input_len: u32, seconds: f64) -> Option<Readings> {
        let all = whole(seconds / self.reading(input_len)).min(REPETITIONS + 1);
        let warmups = u32::from(all > 1);
        (all > 0).then(|| Readings { warmups, requests: all - warmups })
    }

    /// The time of a prompt of this length, seconds: it is taken to grow with the length.
    pub(super) fn reading(self, input_len: u32) -> f64 {
        let longer = (f64::from(input_len) / f64::from(self.input_len.max(1))).max(1.0);
        (self.ttft * longer).max(1e-6)
    }
}

/// The longest prompt for this context.
pub fn longest_prompt(max_model_len: u32) -> u32 {
    whole(f64::from(max_model_len) * FILLED)
}

/// A number as an integer, rounded down; 0 for a negative one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
pub(super) fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

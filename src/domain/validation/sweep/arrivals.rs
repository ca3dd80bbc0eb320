//! Requests that come at a rate of their own, whatever the server makes of them, as those of users do: an open loop.
//!
//! The definitions are those of `vllm bench serve --request-rate --goodput`. Streams that ask again when they have their answer
//! slow down with the server; these do not, so that queues show.

use crate::domain::{
    measure::{Interval, Sample, prompts::PromptSource},
    profile::Arrivals,
    validation::{quality::paired::share_bounds, sequential::SequentialResult},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A run with requests at a given rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenLoop {
    /// The rate that was asked for, requests/s.
    pub request_rate: f64,
    /// Where the prompts and the times of arrival came from.
    pub source: PromptSource,
    /// Requests that were answered.
    pub completed: u32,
    /// Requests that were not.
    pub failed: u32,
    /// The fault of the first of those. Absent: all were answered.
    pub failure: Option<String>,
    /// From the first request to the last token, seconds.
    pub duration: f64,
    /// Answers per second.
    pub request_throughput: f64,
    /// Generated tokens per second, of all together.
    pub output_throughput: f64,
    /// Good answers per second: those within all limits that were given.
    pub request_goodput: f64,
    /// The share of all requests that got a good answer.
    pub good: f64,
    /// Where that share lies with 95 % confidence, if requests were independent.
    pub good_bounds: [f64; 2],
    /// The most requests that were under way at once.
    pub max_concurrent_requests: u32,
    /// The longest that this client sent a request after its time, milliseconds.
    pub late_ms: f64,
    /// Time to first token, milliseconds. Absent where nothing was answered.
    pub(crate) ttft_ms: Option<Interval>,
    /// Time per output token after the first, milliseconds.
    pub(crate) tpot_ms: Option<Interval>,
    /// End-to-end latency, milliseconds.
    pub(crate) e2el_ms: Option<Interval>,
    /// Each answered request, by the time at which it began.
    pub samples: Vec<Sample>,
}

/// The times at which requests come, from the first at 0: as many as the rate gives in the time, with exponential waits between
/// them that are stretched to end with the time, as vLLM's are. The same seed gives the same times.
pub fn schedule(wanted: &Arrivals, source: PromptSource) -> Vec<Duration> {
    let count = wanted.requests();
    let waits: Vec<f64> =
        (1..count).map(|number| -source.uniform(&format!("arrival-{number}")).ln() / wanted.rate).collect();
    let all: f64 = waits.iter().sum();
    let stretch = if all > 0.0 { f64::from(count - 1) / wanted.rate / all } else { 1.0 };
    let mut at = 0.0;
    let later = waits.into_iter().map(|wait| {
        at += wait * stretch;
        Duration::from_secs_f64(at)
    });
    std::iter::once(Duration::ZERO).chain(later).collect()
}

impl OpenLoop {
    /// Sums up the answered requests, and what those that failed got.
    pub fn of(wanted: &Arrivals, mut samples: Vec<Sample>, failures: &[String], late_ms: f64) -> Self {
        samples.sort_by(|a, b| a.began_ms.total_cmp(&b.began_ms));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let all = count(samples.len() + failures.len());
        let end = |sample: &Sample| sample.began_ms + sample.e2el_ms;
        let first = samples.first().map_or(0.0, |sample| sample.began_ms);
        let last = samples.iter().map(end).fold(first, f64::max);
        let duration = ((last - first) / 1000.0).max(1e-6);
        let tokens: f64 = samples.iter().map(|sample| f64::from(sample.tokens)).sum();
        let good = samples.iter().filter(|sample| is_good(wanted, sample)).count();
        Self {
            request_rate: wanted.rate,
            source: PromptSource::NOW,
            completed: count(samples.len()),
            failed: count(failures.len()),
            failure: failures.first().cloned(),
            duration,
            request_throughput: samples.len() as f64 / duration,
            output_throughput: tokens / duration,
            request_goodput: good as f64 / duration,
            good: good as f64 / f64::from(all.max(1)),
            good_bounds: share_bounds(count(good), all),
            max_concurrent_requests: most_at_once(&samples),
            late_ms,
            ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms)),
            tpot_ms: Interval::of(samples.iter().filter_map(Sample::tpot_ms)),
            e2el_ms: Interval::of(samples.iter().map(|sample| sample.e2el_ms)),
            samples,
        }
    }

    /// Whether at least this share of the requests is shown to be good, or fewer.
    pub fn against(&self, least: f64) -> SequentialResult {
        let [low, high] = self.good_bounds;
        if low >= least {
            SequentialResult::Above
        } else if high < least {
            SequentialResult::Below
        } else {
            SequentialResult::Open
        }
    }

    /// The share in words: "0.87 of 60 requests at 2 a second (95 %: 0.76 to 0.94) got a good answer".
    pub fn told(&self) -> String {
        let [low, high] = self.good_bounds;
        format!(
            "{:.2} of {} requests at {} a second (95 %: {low:.2} to {high:.2}) got a good answer",
            self.good,
            self.completed + self.failed,
            self.request_rate
        )
    }
}

/// Whether an answered request was within all limits.
fn is_good(wanted: &Arrivals, sample: &Sample) -> bool {
    let within = |limit: Option<f64>, seen: Option<f64>| {
        limit.is_none_or(|limit| seen.is_none_or(|seen| seen <= limit))
    };
    within(wanted.max_ttft_ms, Some(sample.ttft_ms))
        && within(wanted.max_tpot_ms, sample.tpot_ms())
        && within(wanted.max_e2el_ms, Some(sample.e2el_ms))
}

/// The most of these requests that were under way at once.
fn most_at_once(samples: &[Sample]) -> u32 {
    let mut events: Vec<(f64, i32)> = samples
        .iter()
        .flat_map(|sample| [(sample.began_ms, 1), (sample.began_ms + sample.e2el_ms, -1)])
        .collect();
    // One that ends as another begins is not under way with it.
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut now = 0;
    let most = events.into_iter().map(|(_, change)| {
        now += change;
        now
    });
    most.max().and_then(|most| u32::try_from(most).ok()).unwrap_or(0)
}

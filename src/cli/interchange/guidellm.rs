//! Writes measurements as guidellm's report, version 2, as guidellm 0.8.1 writes and reads it. The figures of
//! its own scheduler (delays, queues) are zero: each stream makes its next request when it has its answer.

use super::levels::levels;
use crate::{
    domain::{
        measure::{Sample, stats::median},
        validation::sweep::Concurrency,
    },
    flow::inspect::evidence::GenerationEvidence,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, iter::once};

/// The time within which guidellm takes events to be simultaneous: a tenth of a millisecond.
const AT_ONCE: f64 = 1e-4;

/// The time between two levels, seconds.
const APART: f64 = 0.001;

/// The percentiles of guidellm, by name.
const PERCENTILES: [(&str, f64); 11] = [
    ("p001", 0.001),
    ("p01", 0.01),
    ("p05", 0.05),
    ("p10", 0.1),
    ("p25", 0.25),
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
];

/// A benchmark for each number of streams, fewest first.
pub(crate) fn guidellm(account: &GenerationEvidence) -> String {
    let levels = levels(account);
    // The levels were measured one after the other, and only when the last one ended is on record.
    let mut ended = account.report.as_ref().map_or(0.0, |report| report.at.as_millisecond() as f64 / 1000.0);
    let mut benchmarks: Vec<Value> = Vec::new();
    for (index, level) in levels.iter().enumerate().rev() {
        let timed = Timed::ending(level, ended);
        ended = timed.start - APART;
        benchmarks.push(benchmark(account, index, level, &timed));
    }
    benchmarks.reverse();
    let lengths =
        levels.iter().flat_map(|level| &level.samples).map(|sample| f64::from(sample.prompt_tokens));
    let prompt_tokens = median(&lengths.collect::<Vec<_>>()).unwrap_or_default();
    let streams: Vec<u32> = levels.iter().map(|level| level.max_concurrency).collect();
    let plan = &account.generation.plan;
    let target = format!("http://{}:{}", plan.serve.listen.host, plan.serve.listen.port);
    let report = json!({
        "metadata": { "version": 2, "guidellm_version": "0.8.1", "python_version": "", "platform": "awqdeploy" },
        "config": { "spec": {
            "backend": { "kind": "openai_http", "target": target, "model": plan.model.served_name, "request_format": "/v1/completions" },
            "profile": { "kind": "concurrent", "streams": streams },
            "data": [{ "kind": "synthetic_text", "prompt_tokens": whole(prompt_tokens), "output_tokens": plan.gates.output_tokens }],
        } },
        "benchmarks": benchmarks,
    });
    report.to_string() + "\n"
}

/// A number of tokens: at least one, as guidellm wants it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tokens")]
fn whole(tokens: f64) -> u32 {
    tokens.round().clamp(1.0, f64::from(u32::MAX)) as u32
}

/// A benchmark's requests in wall-clock time.
struct Timed<'a> {
    samples: &'a [Sample],
    /// The beginning of the measurement, seconds of Unix time: reckoned back from the end of the validation.
    epoch: f64,
    /// The time of the first request.
    start: f64,
    /// The time of the last token.
    end: f64,
}

fn benchmark(account: &GenerationEvidence, index: usize, level: &Concurrency, timed: &Timed<'_>) -> Value {
    let (start, end) = (timed.start, timed.end);
    let streams = level.max_concurrency;
    let count = level.samples.len();
    let made = json!({ "successful": count, "incomplete": 0, "errored": 0, "total": count });
    json!({
        "type_": "generative_benchmark",
        "config": {
            "run_id": format!("generation-{}", account.generation.id),
            "run_index": index,
            "strategy": { "type_": "concurrent", "streams": streams },
            "constraints": {},
            "profile": { "kind": "concurrent", "streams": [streams] },
            "requests": {},
            "backend": { "model": account.generation.plan.model.served_name },
            "environment": {},
        },
        "scheduler_state": {
            "start_time": start, "end_time": end, "start_requests_time": start, "end_requests_time": end,
            "created_requests": count, "processed_requests": count, "successful_requests": count,
        },
        "scheduler_metrics": scheduling(start, end, &made, level),
        "metrics": metrics(timed, level, &made),
        "requests": {
            "successful": (1..).zip(&level.samples).map(|(n, sample)| timed.request(n, sample)).collect::<Vec<_>>(),
            "incomplete": [], "errored": [], "total": null,
        },
        "start_time": start,
        "end_time": end,
        "duration": end - start,
        "warmup_duration": 0.0,
        "cooldown_duration": 0.0,
    })
}

fn scheduling(start: f64, end: f64, made: &Value, level: &Concurrency) -> Value {
    let whole: f64 = level.samples.iter().map(|sample| sample.e2el_ms / 1000.0).sum();
    let mean = whole / level.samples.len() as f64;
    json!({
        "start_time": start, "request_start_time": start, "measure_start_time": start,
        "measure_end_time": end, "request_end_time": end, "end_time": end,
        "requests_made": made,
        "queued_time_avg": 0.0, "resolve_start_delay_avg": 0.0, "resolve_targeted_start_delay_avg": 0.0,
        "request_start_delay_avg": 0.0, "request_targeted_start_delay_avg": 0.0, "request_time_avg": mean,
        "resolve_end_delay_avg": 0.0, "resolve_time_avg": mean, "finalized_delay_avg": 0.0, "processed_delay_avg": 0.0,
    })
}

/// The metrics by guidellm's definitions: its TPOT includes the first token, and its ITL is a mean of each
/// request.
fn metrics(timed: &Timed<'_>, level: &Concurrency, made: &Value) -> Value {
    let each = |of: fn(&Sample) -> f64| spread(level.samples.iter().map(of));
    let nothing =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Value>();
    json!({
        "request_totals": made,
        "requests_per_second": timed.rate(timed.ends().map(|end| (end, 1.0))),
        "request_concurrency": spread([f64::from(level.max_concurrency)]),
        "request_latency": each(|sample| sample.e2el_ms / 1000.0),
        "request_streaming_iterations_count": each(chunks),
        "prompt_token_count": each(|sample| f64::from(sample.prompt_tokens)),
        "output_token_count": each(|sample| f64::from(sample.tokens)),
        "total_token_count": each(|sample| f64::from(sample.prompt_tokens) + f64::from(sample.tokens)),
        "time_to_first_token_ms": each(|sample| sample.ttft_ms),
        "time_to_first_output_token_ms": each(|sample| sample.ttft_ms),
        "time_per_output_token_ms": each(|sample| sample.e2el_ms / f64::from(sample.tokens.max(1))),
        "inter_token_latency_ms": spread(level.samples.iter().filter_map(Sample::tpot_ms)),
        "time_to_last_round_trip_ms": spread([]),
        "avg_round_trip_time_ms": spread([]),
        "prompt_tokens_per_second": timed.rate(timed.firsts()),
        "output_tokens_per_second": timed.rate(timed.tokens()),
        "tokens_per_second": timed.rate(timed.firsts().chain(timed.tokens())),
        "output_tokens_per_iteration": each(|sample| f64::from(sample.tokens) / chunks(sample)),
        "iter_tokens_per_iteration": each(|sample| f64::from(sample.tokens.max(2) - 1) / (chunks(sample) - 1.0).max(1.0)),
        "text": { "tokens": tokens(timed), "words": null, "characters": null },
        "image": nothing(&["tokens", "images", "pixels", "bytes"]),
        "video": nothing(&["tokens", "frames", "seconds", "bytes"]),
        "audio": nothing(&["tokens", "samples", "seconds", "bytes"]),
        "tool_call": nothing(&["tokens", "mixed_tokens", "count"]),
    })
}

/// The tokens of prompts and answers.
fn tokens(timed: &Timed<'_>) -> Value {
    let each = |of: fn(&Sample) -> u32| spread(timed.samples.iter().map(of).map(f64::from));
    json!({
        "input": each(|sample| sample.prompt_tokens),
        "input_per_second": timed.rate(timed.firsts()),
        "input_concurrency": null,
        "output": each(|sample| sample.tokens),
        "output_per_second": timed.rate(timed.tokens()),
        "output_concurrency": null,
        "total": each(|sample| sample.prompt_tokens + sample.tokens),
        "total_per_second": timed.rate(timed.firsts().chain(timed.tokens())),
        "total_concurrency": null,
    })
}

/// Chunks with text.
fn chunks(sample: &Sample) -> f64 {
    sample.itl_ms.len() as f64 + 1.0
}

impl<'a> Timed<'a> {
    /// The requests of a level whose last token came then, seconds of Unix time.
    fn ending(level: &'a Concurrency, ended: f64) -> Self {
        let last = level.samples.iter().map(|sample| sample.began_ms + sample.e2el_ms).fold(0.0, f64::max);
        let first = level.samples.iter().map(|sample| sample.began_ms).fold(last, f64::min);
        let epoch = ended - last / 1000.0;
        Self { samples: &level.samples, epoch, start: epoch + first / 1000.0, end: ended }
    }
}

impl Timed<'_> {
    /// The time so many milliseconds after the beginning.
    fn at(&self, ms: f64) -> f64 {
        self.epoch + ms / 1000.0
    }

    fn ends(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| self.at(sample.began_ms + sample.e2el_ms))
    }

    /// The time of each first token, and the tokens that had been read for it.
    fn firsts(&self) -> impl Iterator<Item = (f64, f64)> {
        let first =
            |sample: &Sample| (self.at(sample.began_ms + sample.ttft_ms), f64::from(sample.prompt_tokens));
        self.samples.iter().map(first)
    }

    /// The time of each chunk, and the tokens in it.
    fn tokens(&self) -> impl Iterator<Item = (f64, f64)> {
        self.samples.iter().flat_map(|sample| {
            let first = self.at(sample.began_ms + sample.ttft_ms);
            let times = sample.itl_ms.iter().scan(first, |at, gap| {
                *at += gap / 1000.0;
                Some(*at)
            });
            once(first).chain(times).zip(sample.tokens_by_chunk())
        })
    }

    /// The rate of events given as (time, count), each rate weighted by how long it held; from the first
    /// request to the last token.
    fn rate(&self, events: impl Iterator<Item = (f64, f64)>) -> Value {
        let mut events: Vec<(f64, f64)> = events.chain([(self.start, 0.0), (self.end, 0.0)]).collect();
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        events.dedup_by(|next, kept| {
            let same = next.0 - kept.0 <= AT_ONCE;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        let held = |index: usize| {
            let before = events[index.saturating_sub(1)].0;
            let after = events[(index + 1).min(events.len() - 1)].0;
            (after - before) / 2.0
        };
        let rates = (0..events.len()).map(|index| (events[index].1 / held(index), held(index)));
        told(weighted(rates.filter(|(_, held)| *held > 0.0).collect(), events.len()).as_ref())
    }

    fn request(&self, number: usize, sample: &Sample) -> Value {
        let start = self.at(sample.began_ms);
        let first = self.at(sample.began_ms + sample.ttft_ms);
        let end = self.at(sample.began_ms + sample.e2el_ms);
        let chunks = sample.chunks();
        let id = number.to_string();
        json!({
            "type_": "generative_request_stats",
            "request_id": id,
            "info": {
                "request_id": id,
                "status": "completed",
                "timings": {
                    "targeted_start": start, "queued": start, "dequeued": start, "scheduled_at": start,
                    "resolve_start": start, "request_start": start, "first_request_iteration": first,
                    "first_token_iteration": first, "first_output_token_iteration": first,
                    "last_token_iteration": end, "last_request_iteration": end,
                    "request_iterations": chunks, "token_iterations": chunks,
                    "request_end": end, "resolve_end": end, "finalized": end,
                },
            },
            "input_metrics": { "text_tokens": sample.prompt_tokens },
            "output_metrics": { "text_tokens": sample.tokens },
        })
    }
}

/// The statistics of many values. All requests were successful: any other is a failed validation.
#[derive(Default, Serialize)]
struct Spread {
    mean: f64,
    median: f64,
    mode: f64,
    variance: f64,
    std_dev: f64,
    min: f64,
    max: f64,
    count: usize,
    total_sum: f64,
    percentiles: BTreeMap<&'static str, f64>,
}

fn spread(values: impl IntoIterator<Item = f64>) -> Value {
    let values: Vec<(f64, f64)> = values.into_iter().map(|value| (value, 1.0)).collect();
    let count = values.len();
    told(weighted(values, count).as_ref())
}

fn told(spread: Option<&Spread>) -> Value {
    let nothing =
        Spread { percentiles: PERCENTILES.map(|(name, _)| (name, 0.0)).into(), ..Spread::default() };
    let spread = spread.unwrap_or(&nothing);
    json!({ "successful": spread, "incomplete": nothing, "errored": nothing, "total": spread })
}

/// The statistics of weighted values. None: there are none.
fn weighted(mut values: Vec<(f64, f64)>, count: usize) -> Option<Spread> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (min, max) = (values.first()?.0, values.last()?.0);
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let total: f64 = values.iter().map(|(value, weight)| value * weight).sum();
    let mean = total / all;
    let variance = values.iter().map(|(value, weight)| weight * (value - mean).powi(2)).sum::<f64>() / all;
    let below = |share: f64| {
        let mut left = share * all;
        let reached = values.iter().find(|(_, weight)| {
            left -= weight;
            left <= 1e-9 * all
        });
        reached.map_or(max, |(value, _)| *value)
    };
    let mode = values.iter().max_by(|a, b| a.1.total_cmp(&b.1))?.0;
    Some(Spread {
        mean,
        median: below(0.5),
        mode,
        variance,
        std_dev: variance.sqrt(),
        min,
        max,
        count,
        total_sum: total,
        percentiles: PERCENTILES.into_iter().map(|(name, share)| (name, below(share))).collect(),
    })
}

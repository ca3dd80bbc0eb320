//! Writes measurements as `vllm bench serve --save-result --save-detailed` of vLLM 0.32.0 does.

use super::levels::levels;
use crate::{
    domain::{
        measure::Sample,
        validation::sweep::{Concurrency, arrivals::OpenLoop},
    },
    flow::inspect::evidence::GenerationEvidence,
};
use serde_json::{Map, Value, json};

/// The percentiles that are written.
const PERCENTILES: [u32; 3] = [50, 90, 99];

/// A JSON document a line for each number of streams, fewest first, and for the rate that requests came at: the output of
/// `vllm bench serve --append-result` over as many runs with `--max-concurrency`, and one with `--request-rate`. Empty where nothing was measured.
pub(crate) fn vllm_bench(account: &GenerationEvidence) -> String {
    let lines: Vec<String> = runs(account).iter().map(Value::to_string).collect();
    lines.join("\n") + "\n"
}

/// All documents as one array: the `summary.json` that `vllm bench sweep plot` looks for below a folder.
pub(crate) fn vllm_sweep(account: &GenerationEvidence) -> String {
    json!(runs(account)).to_string() + "\n"
}

/// The levels, and the run at a rate of its own if there was one.
fn runs(account: &GenerationEvidence) -> Vec<Value> {
    let arrivals = account.report.as_ref().and_then(|report| report.arrivals.as_ref());
    let levels = levels(account);
    levels
        .iter()
        .map(|level| run(account, level))
        .chain(arrivals.and_then(|seen| at_rate(account, seen)))
        .collect()
}

/// A run with `--request-rate`. Nothing where no request was answered.
fn at_rate(account: &GenerationEvidence, seen: &OpenLoop) -> Option<Value> {
    let level = Concurrency::of(seen.max_concurrent_requests, seen.samples.clone())?;
    let mut run = run(account, &level);
    run["num_prompts"] = json!(seen.completed + seen.failed);
    run["failed"] = json!(seen.failed);
    run["request_rate"] = json!(seen.request_rate);
    run["request_goodput"] = json!(seen.request_goodput);
    run["max_concurrency"] = Value::Null;
    Some(run)
}

fn run(account: &GenerationEvidence, level: &Concurrency) -> Value {
    let plan = &account.generation.plan;
    let samples = &level.samples;
    let each = |of: fn(&Sample) -> Value| samples.iter().map(of).collect::<Value>();
    let at = account.report.as_ref().map(|report| report.at.strftime("%Y%m%d-%H%M%S").to_string());
    let mut run = json!({
        "date": at,
        "endpoint_type": "openai",
        "backend": "openai",
        "label": plan.profile,
        "model_id": plan.model.served_name,
        "tokenizer_id": plan.model.repo,
        "num_prompts": level.completed,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": level.max_concurrency,
        "duration": level.duration,
        "completed": level.completed,
        "failed": 0,
        "total_input_tokens": level.total_input_tokens,
        "total_output_tokens": level.total_output_tokens,
        "request_throughput": level.request_throughput,
        "request_goodput": null,
        "output_throughput": level.output_throughput,
        "total_token_throughput":
            f64::from(level.total_input_tokens) / level.duration + level.output_throughput,
        "input_lens": each(|sample| json!(sample.prompt_tokens)),
        "output_lens": each(|sample| json!(sample.tokens)),
        "ttfts": each(|sample| json!(sample.ttft_ms / 1000.0)),
        "itls": each(|sample| sample.itl_ms.iter().map(|ms| ms / 1000.0).collect()),
        "latencies": each(|sample| json!(sample.e2el_ms / 1000.0)),
        "start_times": each(|sample| json!(sample.began_ms / 1000.0)),
        // Each stream makes its next request when it has its answer: none waits at the client.
        "queue_times": each(|_| json!(0.0)),
        // The texts are not kept.
        "generated_texts": each(|_| json!("")),
        "errors": each(|_| json!("")),
        "max_output_tokens_per_s": peak(samples, tokens_of) as f64,
        "max_concurrent_requests": peak(samples, seconds_of),
        "rtfx": 0.0,
    });
    if let Value::Object(run) = &mut run {
        summary(run, "ttft", &samples.iter().map(|sample| sample.ttft_ms).collect::<Vec<_>>());
        summary(run, "tpot", &samples.iter().filter_map(Sample::tpot_ms).collect::<Vec<_>>());
        summary(run, "itl", &samples.iter().flat_map(|sample| sample.itl_ms.clone()).collect::<Vec<_>>());
        summary(run, "e2el", &samples.iter().map(|sample| sample.e2el_ms).collect::<Vec<_>>());
    }
    run
}

fn summary(run: &mut Map<String, Value>, name: &str, values: &[f64]) {
    let mean = mean(values);
    run.insert(format!("mean_{name}_ms"), json!(mean));
    run.insert(format!("median_{name}_ms"), json!(percentile(values, 50)));
    run.insert(format!("std_{name}_ms"), json!(deviation(values)));
    for percent in PERCENTILES {
        run.insert(format!("p{percent}_{name}_ms"), json!(percentile(values, percent)));
    }
}

/// The mean; 0 without values, as vLLM writes it.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation of the values themselves, as numpy's `std`.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// The value below which so many percent lie, interpolated, as numpy's `percentile`.
fn percentile(values: &[f64], percent: u32) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let hundredths = last * percent as usize;
    let (below, rest) = (hundredths / 100, (hundredths % 100) as f64 / 100.0);
    let above = sorted[(below + 1).min(last)];
    sorted[below] + (above - sorted[below]) * rest
}

/// The greatest number that `of` finds in any whole second since the first request.
fn peak(samples: &[Sample], of: fn(&Sample, f64) -> Vec<u64>) -> usize {
    let first = samples.iter().map(|sample| sample.began_ms).fold(f64::INFINITY, f64::min);
    let mut seconds: Vec<u64> = samples.iter().flat_map(|sample| of(sample, first)).collect();
    seconds.sort_unstable();
    seconds.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or_default()
}

/// The second of each of its tokens.
fn tokens_of(sample: &Sample, first: f64) -> Vec<u64> {
    let mut at = sample.began_ms - first + sample.ttft_ms;
    let rest = sample.itl_ms.iter().map(|gap| {
        at += gap;
        second(at)
    });
    let rest: Vec<u64> = rest.collect();
    [vec![second(sample.began_ms - first + sample.ttft_ms)], rest].concat()
}

/// The seconds in which it was under way.
fn seconds_of(sample: &Sample, first: f64) -> Vec<u64> {
    let began = sample.began_ms - first;
    (second(began)..=second(began + sample.e2el_ms)).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of a measurement")]
fn second(ms: f64) -> u64 {
    (ms / 1000.0).max(0.0) as u64
}

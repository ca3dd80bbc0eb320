//! Reads what users got of a server between two looks at its own metrics.

use crate::domain::api::openai::{labelled_metric, metric};

/// The fewest gaps between chunks by which a rate of users can be told.
const LEAST_GAPS: f64 = 16.0;
/// Tokens of prompts per generated one from which on a server mostly reads: its decode rate then says little.
const MOSTLY_READS: f64 = 8.0;
/// The metrics with the time between the chunks of an answer, seconds, by their names of several versions.
const GAPS: [&str; 2] = ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"];
/// The metric with the time to the first token, seconds.
const WAITS: &str = "vllm:time_to_first_token_seconds";
/// The metrics with the share of the KV cache in use, by both of its names.
const CACHE: [&str; 2] = ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

/// vLLM's counts at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    generated: f64,
    prompts: f64,
    running: f64,
    waiting: f64,
    cache: Option<f64>,
    /// Gaps between chunks: their number and the sum of their seconds.
    gaps: Option<(f64, f64)>,
    /// Requests that had their first token, and how long they waited for it.
    waits: Waits,
    finished: f64,
    failed: f64,
}

/// The waits of requests for their first token, as a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
struct Waits {
    requests: f64,
    /// All of their seconds.
    seconds: f64,
    /// How many waited at most so many seconds, by the histogram's own bounds, rising.
    within: Vec<(f64, f64)>,
}

impl Waits {
    fn parse(text: &str) -> Self {
        let sum = |of: &str| metric(text, &format!("{WAITS}_{of}")).unwrap_or_default();
        let mut within: Vec<(f64, f64)> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(WAITS)?.strip_prefix("_bucket{")) {
            let Some((labels, value)) = line.rsplit_once('}') else { continue };
            let bound = labels.rsplit_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
            let Some(bound) = bound.and_then(|(bound, _)| bound.parse::<f64>().ok()) else { continue };
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            // Several engines add up.
            match within.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += value,
                None => within.push((bound, value)),
            }
        }
        within.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Self { requests: sum("count"), seconds: sum("sum"), within }
    }

    /// How many waited longer than this for sure: those above the first bound that is no less.
    fn longer_than(&self, seconds: f64) -> f64 {
        let bound = self.within.iter().find(|(bound, _)| *bound >= seconds);
        bound.map_or(0.0, |(_, within)| (self.requests - within).max(0.0))
    }
}

/// The service that users got between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Served {
    /// Tokens per second of each of their streams. Absent where too little was decoded, or mostly prompts were read.
    pub rate: Option<f64>,
    /// Streams at the same time, at least 1.
    pub streams: f64,
    /// Requests that wait or run while nothing is read or generated for anybody. 0: something is.
    pub stuck: f64,
    /// Requests that ended in an error.
    pub failed: f64,
    /// Requests that ended in any way.
    pub finished: f64,
    /// Requests that had their first token.
    pub started: f64,
    /// How long those waited for it, seconds, on average. Absent where there were none.
    pub ttft: Option<f64>,
    /// How many of those waited longer than they may.
    pub late: f64,
}

impl Counts {
    /// Reads vLLM's metrics. Nothing where it has none.
    pub fn parse(text: &str) -> Option<Self> {
        let sum = |name: &str| metric(text, name);
        let both = |name: &str| {
            sum(&format!("{name}_count")).zip(sum(&format!("{name}_sum"))).filter(|(_, sum)| sum.is_finite())
        };
        Some(Self {
            generated: sum("vllm:generation_tokens_total")?,
            prompts: sum("vllm:prompt_tokens_total").unwrap_or_default(),
            running: sum("vllm:num_requests_running")?,
            waiting: sum("vllm:num_requests_waiting")?,
            cache: CACHE.iter().find_map(|name| sum(name)),
            gaps: GAPS.iter().find_map(|name| both(name)),
            waits: Waits::parse(text),
            finished: sum("vllm:request_success_total").unwrap_or_default(),
            failed: labelled_metric(text, "vllm:request_success_total", "finished_reason=\"error\"")
                .unwrap_or_default(),
        })
    }

    /// Requests that run or wait.
    pub fn requests(&self) -> f64 {
        self.running + self.waiting
    }

    /// Tokens that were generated since `before`.
    pub fn generated_since(&self, before: &Self) -> f64 {
        (self.generated - before.generated).max(0.0)
    }

    /// The service that users got since `before`, so many seconds ago. Nothing where the server has started anew
    /// since.
    pub fn since(&self, before: &Self, seconds: f64) -> Option<Served> {
        let generated = self.generated - before.generated;
        let prompts = self.prompts - before.prompts;
        if generated < 0.0 || prompts < 0.0 || seconds <= 0.0 {
            return None;
        }
        let (gaps, decoding) = match (self.gaps, before.gaps) {
            (Some((after, time)), Some((before, earlier))) => (after - before, time - earlier),
            _ => (0.0, 0.0),
        };
        // The first token of a request has no gap before it; where a chunk has several tokens, a gap has, too.
        let started = (self.waits.requests - before.waits.requests).max(0.0);
        let decoded = generated - started;
        let told =
            gaps >= LEAST_GAPS && decoding > 0.0 && decoded > 0.0 && prompts <= MOSTLY_READS * generated;
        let still = generated == 0.0 && prompts == 0.0 && self.cache == before.cache;
        let requests = self.requests().min(before.requests());
        Some(Served {
            rate: told.then(|| decoded / decoding),
            streams: (decoding / seconds).max(self.running).max(before.running).max(1.0),
            stuck: if still { requests } else { 0.0 },
            failed: (self.failed - before.failed).max(0.0),
            finished: (self.finished - before.finished).max(0.0),
            started,
            ttft: (started > 0.0).then(|| (self.waits.seconds - before.waits.seconds).max(0.0) / started),
            late: 0.0,
        })
    }

    /// Requests that had their first token since `before`, and had waited longer than so many seconds for it.
    pub fn late_since(&self, before: &Self, seconds: f64) -> f64 {
        (self.waits.longer_than(seconds) - before.waits.longer_than(seconds)).max(0.0)
    }
}

impl Served {
    /// Whether most of the requests that ended did so in an error.
    pub fn fails(self) -> bool {
        self.failed > 0.0 && self.failed * 2.0 >= self.finished
    }

    /// Whether most of the requests that had their first token had waited for it longer than they may.
    pub fn is_late(self) -> bool {
        self.late * 2.0 > self.started
    }
}

//! The parts that a report's page and its Markdown share: the gates with their margins, the plan beside what
//! was seen.

use crate::{
    domain::{
        size::ByteSize,
        validation::{observed::Figure, report::KnownAnswers},
    },
    flow::inspect::evidence::GenerationEvidence,
};

/// A gate and its margin.
pub(crate) struct Gate {
    pub(crate) name: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) margin: String,
    pub(crate) met: bool,
}

/// The gates with a measurement.
pub(crate) fn gates(account: &GenerationEvidence) -> Vec<Gate> {
    let Some(report) = &account.report else { return Vec::new() };
    let gates = &account.generation.plan.gates;
    let rate = report.throughput.as_ref().map(|speed| speed.decode_tokens_per_second.median);
    let share = report.known_answers.map(KnownAnswers::share);
    let perplexity = report.quality_comparison.as_ref().and_then(|quality| quality.perplexity_ratio);
    let compared = report.comparison.as_ref();
    let at_least = [
        rate.map(|rate| at_least("decode, tokens/s".to_owned(), gates.min_decode_tokens_per_second, rate)),
        compared.map(|of| at_least(format!("decode over {}", of.profile), of.min_ratio, of.ratio)),
        gates
            .min_known_answers
            .zip(share)
            .map(|(least, share)| at_least("known answers, share".to_owned(), least, share)),
    ];
    let at_most = gates.max_perplexity_ratio.zip(perplexity).map(|(most, ratio)| Gate {
        name: "perplexity over the baseline's".to_owned(),
        wanted: format!("≤ {most:.2}"),
        measured: format!("{:.3}", ratio.value),
        margin: percent(most / ratio.value),
        met: ratio.high <= most,
    });
    at_least.into_iter().chain([at_most]).flatten().collect()
}

fn at_least(name: String, wanted: f64, measured: f64) -> Gate {
    Gate {
        name,
        wanted: format!("≥ {wanted:.2}"),
        measured: format!("{measured:.2}"),
        margin: percent(measured / wanted),
        met: measured >= wanted,
    }
}

fn percent(ratio: f64) -> String {
    format!("{:+.0} %", (ratio - 1.0) * 100.0)
}

/// A planned value beside what was seen; empty where that is not known.
pub(crate) struct Beside {
    pub(crate) name: &'static str,
    pub(crate) planned: String,
    pub(crate) seen: String,
}

/// The plan beside what was seen.
pub(crate) fn plan_beside_actual(account: &GenerationEvidence) -> Vec<Beside> {
    let plan = &account.generation.plan;
    let figures = account.report.iter().flat_map(|report| &report.figures);
    let seen =
        |name: &str| figures.clone().find(|figure| figure.name == name).map(|Figure { seen, .. }| *seen);
    let bytes = |name, planned: Option<ByteSize>, figure| Beside {
        name,
        planned: planned.map_or_else(|| "not modelled".to_owned(), |bytes| bytes.to_string()),
        seen: seen(figure).map_or_else(String::new, gib),
    };
    let speed = account.report.as_ref().and_then(|report| report.throughput.as_ref());
    let rate = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!("{rate:.1} tokens/s"));
    vec![
        Beside {
            name: "decode",
            planned: rate(plan.prediction.expected()),
            seen: rate(speed.map(|speed| speed.decode_tokens_per_second.median)),
        },
        bytes("weights, each GPU", plan.memory.weights, "weights_on_gpu_bytes"),
        bytes("offloaded per rank", Some(plan.memory.offloaded), "offloaded_bytes"),
        bytes("KV cache, each GPU", plan.memory.kv_cache, "kv_cache_bytes"),
        bytes("VRAM, fullest GPU", plan.memory.vram(), "vram_bytes"),
        bytes("RAM", Some(plan.memory.ram), "ram_bytes"),
        Beside {
            name: "start until ready",
            planned: String::new(),
            seen: account.start_up().map_or_else(String::new, |seconds| format!("{seconds:.1} s")),
        },
    ]
}

fn gib(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / f64::from(1 << 30))
}

//! The parts that a report's page and its Markdown share: the gates with their margins, the plan beside what
//! was seen.

use crate::{
    domain::{
        measure::{Throughput, run::Run},
        size::ByteSize,
        validation::{
            expectations::{Against, Divergence},
            observed::Figure,
            report::{KnownAnswers, Report},
            sequential::SequentialResult,
            verdict::speed,
        },
    },
    flow::inspect::evidence::GenerationEvidence,
};

/// A gate and its margin.
pub(crate) struct Gate {
    pub(crate) name: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) margin: String,
    pub(crate) state: GateState,
}

/// How a gate was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateState {
    Met,
    Missed,
    /// Within the measurements that were allowed.
    Undecided,
    /// Nothing was measured of it, or of what it compares with.
    NotJudged,
}

impl GateState {
    /// In words.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Undecided => "undecided",
            Self::NotJudged => "not judged",
        }
    }
}

/// The gates with a measurement.
pub(crate) fn gates(account: &GenerationEvidence) -> Vec<Gate> {
    let Some(report) = &account.report else { return Vec::new() };
    let gates = &account.generation.plan.gates;
    let ours = report.throughput.as_ref().and_then(Throughput::run).unwrap_or_else(|| Run::alone(&[]));
    let theirs = account.baseline.as_ref().and_then(|of| of.throughput.as_ref()?.run());
    let [floor, ratio] = speed(gates, &ours, theirs.as_ref());
    let decode = report.throughput.as_ref().map(|speed| speed.decode_tokens_per_second);
    let mut all = vec![Gate {
        name: "decode, tokens/s".to_owned(),
        wanted: format!("≥ {:.2}", gates.min_decode_tokens_per_second),
        measured: decode.map_or_else(unmeasured, |rate| within(rate.median, Some([rate.low, rate.high]))),
        margin: decode
            .map_or_else(String::new, |rate| percent(rate.median / gates.min_decode_tokens_per_second)),
        state: decode.map_or(GateState::NotJudged, |_| floor.into()),
    }];
    all.extend(gates.baseline.as_ref().map(|baseline| {
        let of = report.comparison.as_ref();
        Gate {
            name: format!("decode over {}", baseline.profile),
            wanted: format!("≥ {:.2}", baseline.min_ratio),
            measured: of.map_or_else(unmeasured, |of| within(of.ratio, of.bounds)),
            margin: of.map_or_else(String::new, |of| percent(of.ratio / of.min_ratio)),
            state: of.map_or(GateState::NotJudged, |_| ratio.into()),
        }
    }));
    all.extend(gates.min_known_answers.map(|least| known_answers(report, least)));
    all.extend(gates.max_perplexity_ratio.map(|most| perplexity(report, most)));
    let beside = report.quality_comparison.as_ref().and_then(|quality| quality.divergence.as_ref());
    all.extend(gates.quality.max_divergence.map(|most| divergence("the baseline", beside, most)));
    all.extend(
        report
            .reference
            .as_ref()
            .map(|beside| divergence(&beside.named, beside.divergence.as_ref(), beside.limit)),
    );
    let least = gates.arrivals.as_ref().and_then(|wanted| wanted.min_goodput);
    all.extend(least.map(|least| goodput(report, least)));
    all
}

fn goodput(report: &Report, least: f64) -> Gate {
    let seen = report.arrivals.as_ref();
    Gate {
        name: "good answers at a rate, share".to_owned(),
        wanted: format!("≥ {least:.2}"),
        measured: seen.map_or_else(unmeasured, |seen| within(seen.good, Some(seen.good_bounds))),
        margin: seen.map_or_else(String::new, |seen| percent(seen.good / least)),
        state: seen.map_or(GateState::NotJudged, |seen| seen.against(least).into()),
    }
}

fn known_answers(report: &Report, least: f64) -> Gate {
    let share = report.known_answers.map(KnownAnswers::share);
    Gate {
        name: "known answers, share".to_owned(),
        wanted: format!("≥ {least:.2}"),
        measured: report
            .known_answers
            .map_or_else(unmeasured, |answers| within(answers.share(), Some(answers.bounds()))),
        margin: share.map_or_else(String::new, |share| percent(share / least)),
        state: match share {
            None => GateState::NotJudged,
            Some(share) if share >= least => GateState::Met,
            Some(_) => GateState::Missed,
        },
    }
}

fn perplexity(report: &Report, most: f64) -> Gate {
    let ratio = report.quality_comparison.as_ref().and_then(|quality| quality.perplexity_ratio);
    Gate {
        name: "perplexity over the baseline's".to_owned(),
        wanted: format!("≤ {most:.2}"),
        measured: ratio.map_or_else(unmeasured, |ratio| within(ratio.value, Some([ratio.low, ratio.high]))),
        margin: ratio.map_or_else(String::new, |ratio| percent(most / ratio.value)),
        state: match ratio {
            None => GateState::NotJudged,
            Some(ratio) if ratio.low > most => GateState::Missed,
            Some(ratio) if ratio.high > most => GateState::Undecided,
            Some(_) => GateState::Met,
        },
    }
}

fn divergence(from: &str, of: Option<&Divergence>, most: f64) -> Gate {
    let mean = of.and_then(|of| Some((of.mean?, of.low?, of.high?)));
    Gate {
        name: format!("divergence from {from}, nats a token"),
        wanted: format!("≤ {most}"),
        measured: mean
            .map_or_else(unmeasured, |(mean, low, high)| format!("{mean:.4} ({low:.4} to {high:.4})")),
        margin: mean.map_or_else(String::new, |(mean, ..)| {
            percent(most / mean.max(f64::MIN_POSITIVE).max(most / 100.0))
        }),
        state: match of.and_then(|of| of.shows(most)) {
            None => GateState::NotJudged,
            Some(Against::Within) => GateState::Met,
            Some(Against::Beyond) => GateState::Missed,
            Some(Against::Open) => GateState::Undecided,
        },
    }
}

impl From<SequentialResult> for GateState {
    fn from(shown: SequentialResult) -> Self {
        match shown {
            SequentialResult::Above => Self::Met,
            SequentialResult::Below => Self::Missed,
            SequentialResult::Open => Self::Undecided,
        }
    }
}

fn unmeasured() -> String {
    "not measured".to_owned()
}

/// A value, and where it lies with 95 % confidence.
fn within(value: f64, bounds: Option<[f64; 2]>) -> String {
    match bounds {
        Some([low, high]) => format!("{value:.2} ({low:.2} to {high:.2})"),
        None => format!("{value:.2}"),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:+.0}\u{a0}%", (ratio - 1.0) * 100.0)
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
        seen: seen(figure).map_or_else(unmeasured, gib),
    };
    let measured = account.report.as_ref().and_then(|report| report.throughput.as_ref());
    let rate = |rate: f64| format!("{rate:.1} tokens/s");
    vec![
        Beside {
            name: "decode",
            planned: plan.prediction.expected().map_or_else(|| "not predicted".to_owned(), rate),
            seen: measured.map_or_else(unmeasured, |speed| rate(speed.decode_tokens_per_second.median)),
        },
        bytes("weights, each GPU", plan.memory.weights, "weights_on_gpu_bytes"),
        bytes("offloaded per rank", Some(plan.memory.offloaded), "offloaded_bytes"),
        bytes("KV cache, each GPU", plan.memory.kv_cache, "kv_cache_bytes"),
        bytes("VRAM, fullest GPU", plan.memory.vram(), "vram_bytes"),
        bytes("RAM", Some(plan.memory.ram), "ram_bytes"),
        Beside {
            name: "start until ready",
            planned: "not predicted".to_owned(),
            seen: account.start_up().map_or_else(unmeasured, |seconds| format!("{seconds:.1} s")),
        },
    ]
}

fn gib(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / f64::from(1 << 30))
}

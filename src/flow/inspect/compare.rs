//! `compare`: two profiles that were proven on this host, measure by measure.

use super::evidence::{self, GenerationEvidence};
use crate::{
    domain::{
        generation_id::GenerationId,
        measure::{Interval, Sample, Throughput, run::Run, stats::rates},
        problem::Problem,
        size::ByteSize,
        validation::{
            observed::Held,
            quality::QualityComparison,
            questions::QUESTIONS,
            report::Report,
            sweep::{Concurrency, PromptLength, Swept},
        },
    },
    flow::{context::Context, event::Event, validate::generation::start_spread},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// The greatest probability that a ratio lies beyond its bounds, on either side. It is looked at once.
const OUTSIDE: f64 = 0.025;

/// Why the rates of several streams have no ratio.
const OTHER_PROMPTS: &str = "several streams: the two were sent different prompts, and streams of one text share what \
     they read";

/// Two profiles side by side, the baseline first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SideBySide {
    /// The names of the profiles.
    pub(crate) profiles: [String; 2],
    /// The generations that are compared.
    pub(crate) generations: [GenerationId; 2],
    /// When they were compared.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: jiff::Timestamp,
    /// The measures.
    pub(crate) rows: Vec<Row>,
    /// The comparison of their answers, question by question. Absent where one was not asked.
    pub(crate) quality: Option<QualityComparison>,
    /// The parts that are not comparable, and why: they have no ratio.
    pub(crate) not_comparable: Vec<String>,
}

/// One measure of both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Row {
    /// The name of the measure.
    pub(crate) name: String,
    /// The unit.
    pub(crate) unit: String,
    /// The values of the first and of the second. Null: not known.
    pub(crate) values: [Option<Value>; 2],
    /// The ratio of the second to the first.
    pub(crate) ratio: Option<f64>,
    /// The lower bound of the ratio at 95 % confidence. Null where both were not measured several times.
    pub(crate) ratio_low: Option<f64>,
    /// The upper bound of the ratio.
    pub(crate) ratio_high: Option<f64>,
}

/// The value of a measure.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Value {
    /// Known, or measured once.
    Exact(f64),
    /// Measured several times.
    Measured(Interval),
}

impl Row {
    fn without_ratio(self) -> Self {
        Self { ratio: None, ratio_low: None, ratio_high: None, ..self }
    }
}

/// The interval of a measure, and the independent measurements behind it.
struct Measured(Interval, Vec<f64>);

/// Why times that were measured beside users have no bounds.
const BESIDE_USERS: &str =
    "times of one stream: one of the two was measured beside users, and may be faster alone";

/// Compares the newest proven generations of two profiles, and keeps the comparison with the activation that
/// proved the second. Returns where; absent where it could not be kept, which does not stop the comparison.
pub(crate) fn compare(
    context: &Context,
    profiles: [&str; 2],
) -> Result<(SideBySide, Option<PathBuf>), Problem> {
    let first = evidence::of_profile(context, profiles[0])?;
    let second = evidence::of_profile(context, profiles[1])?;
    let starts = start_spread(&context.store)?;
    let compared = SideBySide::of(&first, &second, starts);
    let kept = context
        .store
        .writer(Duration::ZERO, "compare")
        .and_then(|locked| locked.keep_comparison(second.activation, first.generation.id, &compared));
    match kept {
        Ok(path) => Ok((compared, Some(path))),
        Err(problem) => {
            context.tell(Event::Warning(format!("this comparison is not kept: {}", problem.in_one_line())));
            Ok((compared, None))
        }
    }
}

impl SideBySide {
    /// Compares two on a host where starts of a server differ so much.
    fn of(first: &GenerationEvidence, second: &GenerationEvidence, starts: f64) -> Self {
        let both = [first, second];
        let quality = |account: &GenerationEvidence| account.report.as_ref()?.quality.clone();
        let sweeps = both.map(|account| account.report.as_ref()?.sweep.as_ref());
        let other_prompts = matches!(sweeps, [Some(first), Some(second)] if first.source != second.source);
        Self {
            profiles: both.map(|account| account.generation.plan.profile.clone()),
            generations: both.map(|account| account.generation.id),
            at: jiff::Timestamp::now(),
            rows: [
                costs(both),
                one_stream(both, starts),
                by_prompt(both, starts),
                by_streams(both, starts, other_prompts),
                further(both),
                answers(both),
            ]
            .concat(),
            quality: quality(second).zip(quality(first)).and_then(|(ours, theirs)| ours.against(&theirs)),
            not_comparable: [(other_prompts, OTHER_PROMPTS), (!alone(beside(both)), BESIDE_USERS)]
                .into_iter()
                .filter(|(so, _)| *so)
                .map(|(_, why)| why.to_owned())
                .collect(),
        }
    }
}

/// The measures of cost: memory, start-up, downtime.
fn costs(both: [&GenerationEvidence; 2]) -> Vec<Row> {
    let exact =
        |name, unit: &str, of: fn(&GenerationEvidence) -> Option<f64>| exact(name, unit, both.map(of));
    vec![
        exact("weights, each GPU", "GiB", |account| account.generation.plan.memory.weights.map(gib)),
        exact("VRAM held, fullest GPU", "GiB", |account| held(account)?.vram.iter().max().copied().map(gib)),
        exact("RAM", "GiB", |account| Some(gib(account.generation.plan.memory.ram))),
        exact("RAM held", "GiB", |account| held(account)?.ram.map(gib)),
        exact("start until ready", "s", GenerationEvidence::start_up),
        exact("nothing served for", "s", GenerationEvidence::downtime),
    ]
}

fn held(account: &GenerationEvidence) -> Option<&Held> {
    Some(&account.report.as_ref()?.actual.as_ref()?.held)
}

fn gib(bytes: ByteSize) -> f64 {
    bytes.0 as f64 / f64::from(1 << 30)
}

fn one_stream(both: [&GenerationEvidence; 2], starts: f64) -> Vec<Row> {
    let speed = both.map(|account| account.report.as_ref()?.throughput.as_ref());
    let users = beside(both);
    let row = |name: &str, unit, of: fn(&Throughput) -> Measured| {
        let row = measured(name.to_owned(), unit, speed.map(|speed| speed.map(of)), starts, [0.0; 2]);
        if alone(users) { row } else { row.without_ratio() }
    };
    let decode = speed.map(|speed| {
        let speed = speed?;
        Some(Measured(speed.decode_tokens_per_second, rates(&speed.samples).unwrap_or_default()))
    });
    vec![
        measured("decode, one stream".to_owned(), "tokens/s", decode, starts, users),
        row("TTFT", "ms", |speed| Measured(speed.ttft_ms, first_tokens(&speed.samples))),
        row("TPOT", "ms", |speed| Measured(speed.tpot_ms, next_tokens(&speed.samples))),
        row("ITL", "ms", |speed| Measured(speed.itl_ms, Interval::gap_medians(&speed.samples))),
    ]
}

/// The users beside whom the one stream of each was measured.
fn beside(both: [&GenerationEvidence; 2]) -> [f64; 2] {
    both.map(|account| {
        let speed = account.report.as_ref().and_then(|report| report.throughput.as_ref());
        speed.map_or(0.0, Throughput::beside)
    })
}

/// Whether there were none.
fn alone(users: [f64; 2]) -> bool {
    users.iter().all(|users| *users == 0.0)
}

/// The measures for each length of prompt that one of them was measured with.
fn by_prompt(both: [&GenerationEvidence; 2], starts: f64) -> Vec<Row> {
    let all = both.map(|account| swept(account, |sweep| &sweep.prompts));
    let lengths: BTreeSet<u32> = all.iter().copied().flatten().map(|length| length.prompt_tokens).collect();
    let row = |tokens: u32| {
        let of = |lengths: &[PromptLength]| {
            let length = lengths.iter().find(|length| length.prompt_tokens == tokens)?;
            Some(Measured(length.ttft_ms, first_tokens(&length.samples)))
        };
        measured(format!("TTFT, prompt of {tokens}"), "ms", all.map(of), starts, [0.0; 2])
    };
    lengths.into_iter().map(row).collect()
}

/// The measures for each number of streams that one of them was measured with. Without ratios where they were sent
/// `other_prompts`: streams of one text share what they read.
fn by_streams(both: [&GenerationEvidence; 2], starts: f64, other_prompts: bool) -> Vec<Row> {
    type Of = fn(&Concurrency) -> Measured;
    const MEASURES: [(&str, &str, Of); 3] = [
        ("throughput", "tokens/s", |level| Measured(level.throughput(), level.windows())),
        ("TTFT", "ms", |level| Measured(level.ttft_ms, first_tokens(&level.samples))),
        ("TPOT", "ms", |level| Measured(level.tpot_ms, next_tokens(&level.samples))),
    ];
    let all = both.map(|account| swept(account, |sweep| &sweep.streams));
    let numbers: BTreeSet<u32> = all.iter().copied().flatten().map(|level| level.max_concurrency).collect();
    let rows = |streams: u32| {
        let level = all.map(|levels| levels.iter().find(|level| level.max_concurrency == streams));
        // The times of one stream have rows already.
        let measures = if streams == 1 { &MEASURES[..1] } else { &MEASURES };
        let row = |(name, unit, of): &(&str, &'static str, Of)| {
            let of = level.map(|level| level.map(of));
            let row = measured(format!("{name}, {}", plural(streams)), unit, of, starts, [0.0; 2]);
            if other_prompts && streams > 1 { row.without_ratio() } else { row }
        };
        measures.iter().map(row).collect::<Vec<_>>()
    };
    numbers.into_iter().flat_map(rows).collect()
}

/// The measures of depth, interruptions, thoughts and arrivals, each taken once.
fn further(both: [&GenerationEvidence; 2]) -> Vec<Row> {
    let exact = |name, unit, of: fn(&Report) -> Option<f64>| {
        exact(name, unit, both.map(|account| of(account.report.as_ref()?)))
    };
    let rows = vec![
        exact("decode at depth", "tokens/s", |report| {
            Some(report.sweep.as_ref()?.deep.as_ref()?.decode_tokens_per_second)
        }),
        exact("ITL beside a long prompt", "ms", |report| {
            Some(report.sweep.as_ref()?.interrupted.as_ref()?.itl_during_ms)
        }),
        exact("answer after thinking", "ms", |report| {
            Some(report.sweep.as_ref()?.first_answers.as_ref()?.first_answer_ms?.median)
        }),
        exact("goodput", "answers/s", |report| Some(report.arrivals.as_ref()?.request_goodput)),
    ];
    rows.into_iter().filter(|row| row.values.iter().any(Option::is_some)).collect()
}

fn answers(both: [&GenerationEvidence; 2]) -> Vec<Row> {
    let exact =
        |name, unit: &str, of: fn(&GenerationEvidence) -> Option<f64>| exact(name, unit, both.map(of));
    vec![
        exact("known answers", &format!("of {}", QUESTIONS.len()), |account| {
            Some(account.report.as_ref()?.known_answers?.share() * QUESTIONS.len() as f64)
        }),
        exact("perplexity", "", |account| account.report.as_ref()?.quality.as_ref()?.perplexity()),
        exact("surprise at a byte", "bits", |account| {
            account.report.as_ref()?.quality.as_ref()?.expectations.as_ref()?.bits_per_byte()
        }),
    ]
}

fn swept<T>(account: &GenerationEvidence, of: fn(&Swept) -> &Vec<T>) -> &[T] {
    let sweep = account.report.as_ref().and_then(|report| report.sweep.as_ref());
    sweep.map_or(&[], |sweep| of(sweep).as_slice())
}

fn first_tokens(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.ttft_ms).collect()
}

fn next_tokens(samples: &[Sample]) -> Vec<f64> {
    samples.iter().filter_map(Sample::tpot_ms).collect()
}

/// `1 stream`, `2 streams`.
fn plural(streams: u32) -> String {
    if streams == 1 { "1 stream".to_owned() } else { format!("{streams} streams") }
}

fn exact(name: &str, unit: &str, values: [Option<f64>; 2]) -> Row {
    Row {
        name: name.to_owned(),
        unit: unit.to_owned(),
        values: values.map(|value| value.map(Value::Exact)),
        ratio: ratio(values),
        ratio_low: None,
        ratio_high: None,
    }
}

/// A measure of both on a host where starts of a server differ so much, each taken beside so many users.
fn measured(name: String, unit: &str, of: [Option<Measured>; 2], starts: f64, users: [f64; 2]) -> Row {
    let estimate = |of: &Option<Measured>, beside: f64| {
        let Measured(_, values) = of.as_ref()?;
        Run { start_spread: starts, beside, ..Run::alone(values) }.estimate()
    };
    let ratio_of = |[first, second]: &[Option<Measured>; 2]| {
        Some(estimate(second, users[1])?.over(estimate(first, users[0])?))
    };
    let bounds = ratio_of(&of).map(|ratio| ratio.bounds(1, OUTSIDE).map(f64::exp));
    let intervals = of.map(|of| of.map(|Measured(interval, _)| interval));
    let ratio = ratio(intervals.map(|interval| interval.map(|interval| interval.median)));
    Row {
        name,
        unit: unit.to_owned(),
        values: intervals.map(|interval| interval.map(Value::Measured)),
        ratio,
        ratio_low: bounds.zip(ratio).map(|([low, _], ratio)| low.min(ratio)),
        ratio_high: bounds.zip(ratio).map(|([_, high], ratio)| high.max(ratio)),
    }
}

fn ratio(values: [Option<f64>; 2]) -> Option<f64> {
    let (first, second) = values[0].zip(values[1])?;
    (first != 0.0).then(|| second / first)
}

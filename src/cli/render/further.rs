//! The measurements beyond the usual, a line for each: chunks, GPUs, depth, interruptions, thoughts, arrivals.

use crate::domain::{
    measure::{
        Interval, Throughput,
        conditions::{GpuConditions, Span},
    },
    validation::{
        report::Report,
        sweep::{
            Swept,
            arrivals::OpenLoop,
            deep::{Deep, FirstAnswers, Interrupted},
        },
    },
};

/// A chunk of more tokens than this is worth a word.
const SEVERAL: f64 = 1.05;

/// A name and what there is to say of it.
pub(crate) type Line = (String, String);

/// Everything further in a report. What was not measured has no line.
pub(crate) fn further(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(speed) = &report.throughput {
        lines.extend(chunks(speed));
        lines.extend(speed.gpus.iter().map(gpu));
    }
    if let Some(swept) = &report.sweep {
        lines.extend(self::swept(swept));
    }
    lines.extend(report.arrivals.iter().flat_map(arrivals));
    lines
}

fn chunks(speed: &Throughput) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(tokens) = speed.tokens_per_chunk.filter(|tokens| *tokens > SEVERAL) {
        lines.push(("tokens per chunk".to_owned(), format!("{tokens:.2}")));
        lines.extend(speed.itl_per_token_ms.map(|itl| ("ITL per token".to_owned(), interval(&itl))));
    }
    if let Some(speculation) = speed.speculation {
        let share =
            speculation.acceptance().map(|share| format!("{:.0} % of guessed tokens right", share * 100.0));
        let step = speculation.tokens_per_step().map(|tokens| format!("{tokens:.2} tokens a step"));
        let told: Vec<String> = share.into_iter().chain(step).collect();
        lines.push(("speculation".to_owned(), told.join(", ")));
    }
    lines
}

fn gpu(gpu: &GpuConditions) -> Line {
    let span = |span: Option<Span>, unit: &str| {
        let Span { least, most } = span?;
        let one = most - least < 0.5;
        Some(if one { format!("{most:.0} {unit}") } else { format!("{least:.0} to {most:.0} {unit}") })
    };
    let limit = gpu.power_limit_watts.map_or_else(String::new, |watts| format!(" of {watts:.0} W"));
    let states = Some(gpu.performance_states.join(" ")).filter(|states| !states.is_empty());
    let slowed = Some(gpu.slowed_by.join(", ")).filter(|why| !why.is_empty());
    let told = [
        span(gpu.sm_clock_mhz, "MHz"),
        span(gpu.memory_clock_mhz, "MHz memory"),
        span(gpu.temperature_celsius, "°C"),
        span(gpu.power_watts, "W").map(|watts| watts + &limit),
        states,
        slowed.map(|why| format!("slowed by {why}")),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    (format!("GPU {}", gpu.gpu), format!("{}: {}", gpu.name, told.join(", ")))
}

fn swept(swept: &Swept) -> Vec<Line> {
    let deep = swept.deep.as_ref().map(|deep| {
        let Deep { input_len, decode_tokens_per_second, of_short, .. } = deep;
        let fault = deep.fault().map_or_else(String::new, |fault| format!("; {fault}"));
        let told = format!(
            "{decode_tokens_per_second:.1} tokens/s after {input_len} tokens, {of_short:.2} of after a short prompt{fault}"
        );
        ("decode at depth".to_owned(), told)
    });
    let interrupted = swept.interrupted.as_ref().map(|seen| {
        let Interrupted { input_len, itl_before_ms, itl_during_ms, longest_ms, .. } = seen;
        let told = format!(
            "ITL {itl_during_ms:.1} ms in place of {itl_before_ms:.1}, the longest {longest_ms:.0} ms, while {input_len} tokens are read"
        );
        ("beside a long prompt".to_owned(), told)
    });
    let answers = swept.first_answers.as_ref().map(|answers| {
        let FirstAnswers { requests, unanswered, max_tokens, first_answer_ms, .. } = answers;
        let begins = first_answer_ms
            .as_ref()
            .map_or_else(|| "none began".to_owned(), |first| format!("after {:.0} ms", first.median));
        let open = match unanswered {
            0 => String::new(),
            open => format!("; {open} of {requests} not within {max_tokens} tokens"),
        };
        ("answer after thinking".to_owned(), begins + &open)
    });
    [deep, interrupted, answers].into_iter().flatten().collect()
}

fn arrivals(seen: &OpenLoop) -> Vec<Line> {
    let median = |name: &str, of: Option<Interval>| Some(format!("{name} {:.0} ms", of?.median));
    let times = [median("TTFT", seen.ttft_ms), median("TPOT", seen.tpot_ms), median("E2EL", seen.e2el_ms)];
    let times: Vec<String> = times.into_iter().flatten().collect();
    let failed = match (&seen.failure, seen.failed) {
        (Some(why), failed) => format!("; {failed} not answered, as the first: {why}"),
        (None, _) => String::new(),
    };
    vec![
        (
            format!("at {} a second", seen.request_rate),
            format!(
                "{}, {:.2} answers and {:.1} tokens a second, up to {} at once, {}{failed}",
                seen.told(),
                seen.request_throughput,
                seen.output_throughput,
                seen.max_concurrent_requests,
                times.join(", ")
            ),
        ),
        ("goodput".to_owned(), format!("{:.2} good answers a second", seen.request_goodput)),
    ]
}

fn interval(spread: &Interval) -> String {
    format!("{:.1} ms (median; 95 %: {:.1} to {:.1})", spread.median, spread.low, spread.high)
}

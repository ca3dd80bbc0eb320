//! `report` and `compare`: evidence, shown and written.

use super::{
    args::{Global, ReportRequest},
    interchange, page, run,
};
use crate::{
    domain::{
        activation::GenerationId,
        journal::Phase,
        problem::Problem,
        report::{Interval, Report, Throughput},
        sweep::{Concurrency, PromptLength, Swept},
    },
    flow::account::{self, Account},
    host::fs,
};
use anstyle::Style;
use serde::Serialize;
use std::{collections::BTreeSet, fmt::Write};

const BOLD: Style = Style::new().bold();

/// `awqdeploy/report/v1`
#[derive(Debug, Serialize)]
struct ReportDocument {
    schema: &'static str,
    generation: GenerationId,
    profile: String,
    activation: u64,
    verdict: Option<&'static str>,
    downtime_seconds: Option<f64>,
    start_up_seconds: Option<f64>,
    phases: Vec<Phase>,
    report: Option<Report>,
    returned: Option<Report>,
    baseline: Option<Report>,
}

/// `awqdeploy/comparison/v1`
#[derive(Debug, Serialize)]
struct ComparisonDocument {
    schema: &'static str,
    profiles: [String; 2],
    generations: [GenerationId; 2],
    rows: Vec<Row>,
}

/// One measure of both.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    values: [Option<Value>; 2],
    /// The second over the first.
    ratio: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
enum Value {
    Exact(f64),
    Measured(Interval),
}

/// Shows or writes how a generation was proven.
pub(super) fn report(global: &Global, request: &ReportRequest) -> Result<u8, Problem> {
    let account = account::of_generation(&run::reading_world(global), request.generation.map(GenerationId))?;
    let ReportRequest { html, markdown, vllm_bench, .. } = request;
    if let Some(path) = html {
        fs::write(path, page::html(&account))?;
    }
    if let Some(path) = vllm_bench {
        fs::write(path, interchange::vllm_bench(&account))?;
    }
    let document = document(account);
    if let Some(path) = markdown {
        fs::write(path, self::markdown(&document))?;
    }
    if global.json || (html.is_none() && markdown.is_none() && vllm_bench.is_none()) {
        return run::show(global, &document, self::markdown);
    }
    Ok(0)
}

/// Sets two profiles side by side.
pub(super) fn compare(global: &Global, profiles: [&str; 2]) -> Result<u8, Problem> {
    let world = run::reading_world(global);
    let [first, second] =
        [account::of_profile(&world, profiles[0])?, account::of_profile(&world, profiles[1])?];
    let document = ComparisonDocument {
        schema: "awqdeploy/comparison/v1",
        profiles: profiles.map(str::to_owned),
        generations: [first.generation.id, second.generation.id],
        rows: rows(&first, &second),
    };
    run::show(global, &document, side_by_side)
}

fn document(account: Account) -> ReportDocument {
    ReportDocument {
        schema: "awqdeploy/report/v1",
        generation: account.generation.id,
        profile: account.generation.plan.profile.clone(),
        activation: account.activation,
        verdict: account.report.as_ref().map(|report| report.verdict().name()),
        downtime_seconds: account.downtime(),
        start_up_seconds: account.start_up(),
        phases: account.phases(),
        report: account.report,
        returned: account.returned,
        baseline: account.baseline,
    }
}

fn rows(first: &Account, second: &Account) -> Vec<Row> {
    let exact = |name: &str, unit, of: fn(&Account) -> Option<f64>| {
        row(name, unit, [of(first).map(Value::Exact), of(second).map(Value::Exact)])
    };
    let measured = |name: &str, unit, of: fn(&Throughput) -> Interval| {
        let value =
            |account: &Account| Some(Value::Measured(of(account.report.as_ref()?.throughput.as_ref()?)));
        row(name, unit, [value(first), value(second)])
    };
    let mut rows = vec![
        exact("weights, each GPU", "GiB", |account| {
            Some(account.generation.plan.memory.weights?.0 as f64 / f64::from(1 << 30))
        }),
        exact("RAM", "GiB", |account| Some(account.generation.plan.memory.ram.0 as f64 / f64::from(1 << 30))),
        exact("start until ready", "s", Account::start_up),
        exact("nothing served for", "s", Account::downtime),
        measured("decode, one stream", "tokens/s", |speed| speed.decode_tokens_per_second),
        measured("TTFT", "ms", |speed| speed.ttft_ms),
        measured("TPOT", "ms", |speed| speed.tpot_ms),
        measured("ITL", "ms", |speed| speed.itl_ms),
        exact("known answers", "of 10", |account| {
            Some(f64::from(account.report.as_ref()?.known_answers?.right))
        }),
        exact("perplexity", "", |account| account.report.as_ref()?.quality.as_ref()?.perplexity()),
    ];
    let [first, second] = [first, second].map(|account| account.report.as_ref()?.sweep.as_ref());
    rows.extend(by_prompt(first, second));
    rows.extend(by_streams(first, second));
    rows
}

/// The time to the first token after each length of prompt that one of them was measured with.
fn by_prompt(first: Option<&Swept>, second: Option<&Swept>) -> Vec<Row> {
    let all = |sweep: Option<&Swept>| sweep.map(|sweep| sweep.prompts.clone()).unwrap_or_default();
    let both = [all(first), all(second)];
    let lengths: BTreeSet<u32> = both.iter().flatten().map(|length| length.prompt_tokens).collect();
    let line = |tokens: u32| {
        let of = |lengths: &Vec<PromptLength>| {
            let found = lengths.iter().find(|length| length.prompt_tokens == tokens)?;
            Some(Value::Measured(found.ttft_ms))
        };
        row(&format!("TTFT, prompt of {tokens}"), "ms", [of(&both[0]), of(&both[1])])
    };
    lengths.into_iter().map(line).collect()
}

/// The throughput with each number of streams that one of them was measured with.
fn by_streams(first: Option<&Swept>, second: Option<&Swept>) -> Vec<Row> {
    let all = |sweep: Option<&Swept>| sweep.map(|sweep| sweep.streams.clone()).unwrap_or_default();
    let both = [all(first), all(second)];
    let numbers: BTreeSet<u32> = both.iter().flatten().map(|level| level.max_concurrency).collect();
    let line = |streams: u32| {
        let of = |levels: &Vec<Concurrency>| {
            let found = levels.iter().find(|level| level.max_concurrency == streams)?;
            Some(Value::Exact(found.output_throughput))
        };
        row(&format!("throughput, {}", plural(streams)), "tokens/s", [of(&both[0]), of(&both[1])])
    };
    numbers.into_iter().map(line).collect()
}

/// `1 stream`, `2 streams`.
pub(super) fn plural(streams: u32) -> String {
    if streams == 1 { "1 stream".to_owned() } else { format!("{streams} streams") }
}

fn row(name: &str, unit: &'static str, values: [Option<Value>; 2]) -> Row {
    let middle = |value: Option<Value>| match value? {
        Value::Exact(value) => Some(value),
        Value::Measured(interval) => Some(interval.median),
    };
    let ratio = middle(values[0]).zip(middle(values[1])).filter(|(first, _)| *first != 0.0);
    Row { name: name.to_owned(), unit, values, ratio: ratio.map(|(first, second)| second / first) }
}

fn shown(value: Option<Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::Exact(value)) => format!("{value:.1}"),
        Some(Value::Measured(Interval { median, low, high, .. })) => {
            format!("{median:.1} ({low:.1} to {high:.1})")
        }
    }
}

fn side_by_side(document: &ComparisonDocument) -> String {
    let [first, second] = &document.profiles;
    let mut out = format!("{BOLD}{:<22} {:>24} {:>24}   ratio{BOLD:#}\n", "", first, second);
    for Row { name, unit, values, ratio } in &document.rows {
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let _ =
            writeln!(out, "{name:<22} {:>24} {:>24} {ratio:>7}  {unit}", shown(values[0]), shown(values[1]));
    }
    out.push_str("in brackets: where the median lies with 95 % confidence\n");
    out
}

fn markdown(document: &ReportDocument) -> String {
    let verdict = document.verdict.unwrap_or("never validated");
    let mut out = format!(
        "# {} (generation {}): {verdict}\n\nActivation {}",
        document.profile, document.generation, document.activation
    );
    if let Some(seconds) = document.downtime_seconds {
        let _ = write!(out, ", nothing served for {seconds:.1} s");
    }
    out.push_str(".\n");
    let Some(report) = &document.report else { return out };
    for reason in report.reasons() {
        let _ = writeln!(out, "- {reason}");
    }
    if let Some(speed) = &report.throughput {
        out.push_str("\n| one stream | median | 95 %: from | to | n |\n|---|---:|---:|---:|---:|\n");
        for (name, Interval { median, low, high, n }) in [
            ("decode, tokens/s", speed.decode_tokens_per_second),
            ("TTFT, ms", speed.ttft_ms),
            ("TPOT, ms", speed.tpot_ms),
            ("ITL, ms", speed.itl_ms),
        ] {
            let _ = writeln!(out, "| {name} | {median:.1} | {low:.1} | {high:.1} | {n} |");
        }
    }
    if let Some(sweep) = &report.sweep {
        out.push_str(&self::sweep(sweep));
    }
    if let Some(answers) = &report.known_answers {
        let _ = writeln!(out, "\nKnown answers: {} of {} right.", answers.right, answers.asked);
    }
    out.push_str("\n| check | verdict | detail |\n|---|---|---|\n");
    for check in &report.checks {
        let verdict = format!("{:?}", check.verdict).to_lowercase();
        let detail = check.detail.as_deref().unwrap_or_default().replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(out, "| `{}` | {verdict} | {detail} |", check.name);
    }
    out
}

fn sweep(sweep: &Swept) -> String {
    let mut out = String::new();
    if !sweep.prompts.is_empty() {
        out.push_str("\n| prompt, tokens | TTFT, ms | 95 %: from | to | n |\n|---:|---:|---:|---:|---:|\n");
        for PromptLength { input_len, ttft_ms: Interval { median, low, high, n }, .. } in &sweep.prompts {
            let _ = writeln!(out, "| {input_len} | {median:.1} | {low:.1} | {high:.1} | {n} |");
        }
    }
    if !sweep.streams.is_empty() {
        out.push_str("\n| streams | requests | tokens/s, all | TTFT, ms | TPOT, ms | E2EL, ms |\n");
        out.push_str("|---:|---:|---:|---:|---:|---:|\n");
        for level in &sweep.streams {
            let (streams, requests, rate) = (level.max_concurrency, level.completed, level.output_throughput);
            let [first, next, whole] = [level.ttft_ms, level.tpot_ms, level.e2el_ms].map(|it| it.median);
            let _ =
                writeln!(out, "| {streams} | {requests} | {rate:.1} | {first:.1} | {next:.1} | {whole:.1} |");
        }
    }
    if !sweep.left_out.is_empty() {
        let _ = writeln!(out, "\nNot measured: {}.", sweep.left_out.join("; "));
    }
    out
}

//! `report` and `compare`: shows and writes evidence.

use crate::{
    cli::{
        args::{Global, ReportRequest},
        context,
        documents::evidence::{ComparisonDocument, ReportDocument},
        interchange, output,
        progress::Screen,
        render::{
            further::further,
            gates::{self, Beside, Gate},
            page,
        },
        terminal::{BOLD, json_text, plain},
    },
    domain::{
        activation::journal::Phase,
        exit_status::ExitStatus,
        findings::Finding,
        generation_id::GenerationId,
        measure::Interval,
        problem::Problem,
        validation::{
            endings::Endings,
            quality::{QualityComparison, Ratio},
            report::Report,
            sweep::{PromptLength, Swept},
        },
    },
    flow::inspect::{
        compare::{self, Row, SideBySide, Value},
        evidence::{self, GenerationEvidence},
    },
    host::os::fs,
};
use std::{fmt::Write, path::PathBuf, rc::Rc};

/// Writes all evidence of a generation.
type Form = fn(&GenerationEvidence) -> String;

/// A file that was asked for, and what is written into it.
type Written<'a> = (&'a Option<PathBuf>, &'a dyn Fn(&GenerationEvidence) -> String);

/// The name of a file that `vllm bench sweep plot` reads: it holds one array.
const SWEEP: &str = "summary.json";

/// Shows or writes how a generation was proven.
pub(crate) fn report(global: &Global, request: &ReportRequest) -> Result<ExitStatus, Problem> {
    let account = evidence::of_generation(&context::context(global)?, request.generation.map(GenerationId))?;
    let sweep =
        request.vllm_bench.as_ref().is_some_and(|file| file.file_name().is_some_and(|name| name == SWEEP));
    let bench: Form = if sweep { interchange::vllm_sweep } else { interchange::vllm_bench };
    let measurements = |account: &GenerationEvidence| json_text(&bench(account));
    let forms: [Written<'_>; 4] = [
        (&request.html, &|account| plain(&page::html(account))),
        (&request.markdown, &|account| plain(&markdown(account))),
        (&request.vllm_bench, &measurements),
        (&request.guidellm, &|account| json_text(&interchange::guidellm(account))),
    ];
    let mut into_files = false;
    for (path, form) in forms.iter().filter_map(|(path, form)| Some((path.as_ref()?, form))) {
        fs::write_unlocked(path, form(&account))?;
        into_files = true;
    }
    if global.json || !into_files {
        let text = markdown(&account);
        return output::show(global, &document(account), |_| text);
    }
    Ok(ExitStatus::Done)
}

/// Compares two profiles.
pub(crate) fn compare(
    global: &Global,
    profiles: [&str; 2],
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let (compared, kept) =
        compare::compare(&context::context(global)?.observed_by(screen.clone()), profiles)?;
    let document = ComparisonDocument { schema: "awqdeploy/comparison/v1", compared, kept };
    output::show(global, &document, side_by_side)
}

fn document(account: GenerationEvidence) -> ReportDocument {
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

fn shown(value: Option<Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::Exact(value)) => figure(value),
        Some(Value::Measured(Interval { median, low, high, .. })) => {
            format!("{} ({} to {})", figure(median), figure(low), figure(high))
        }
    }
}

/// A number with as many digits as are meaningful.
fn figure(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

fn side_by_side(document: &ComparisonDocument) -> String {
    let SideBySide { profiles: [first, second], rows, quality, not_comparable, .. } = &document.compared;
    let mut out = format!("{BOLD}{:<22} {:>24} {:>24}   ratio{BOLD:#}\n", "", first, second);
    for Row { name, unit, values, ratio, ratio_low, ratio_high } in rows {
        let bounds = ratio_low.zip(*ratio_high).map(|(low, high)| format!(" ({low:.2} to {high:.2})"));
        let ratio =
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}{}", bounds.unwrap_or_default()));
        let [first, second] = values.map(shown);
        let _ = writeln!(out, "{name:<22} {first:>24} {second:>24}   {ratio:<20} {unit}");
    }
    if let Some(quality) = quality {
        let _ = writeln!(out, "{second}: {}", of_quality(quality));
    }
    out.push_str("in brackets: where it lies with 95 % confidence\n");
    for why in not_comparable {
        let _ = writeln!(out, "not compared: {why}");
    }
    if let Some(path) = &document.kept {
        let _ = writeln!(out, "kept in {}", path.display());
    }
    out
}

fn of_quality(quality: &QualityComparison) -> String {
    let QualityComparison {
        agreement,
        lost,
        gained,
        perplexity_ratio,
        divergence,
        endings,
        least_shown_loss,
        ..
    } = quality;
    let mut told = vec![];
    if let Some(agreement) = agreement {
        told.push(format!("{:.0} % of the answers are the same to the letter", agreement * 100.0));
        told.push(format!("{lost} lost and {gained} gained (by chance {})", quality.by_chance()));
        told.push(match least_shown_loss {
            Some(least) => format!("a loss of {least} could have been shown"),
            None => "no loss could have been shown".to_owned(),
        });
    }
    if let Some(Endings { lost, gained, tokens, baseline_tokens, .. }) = endings {
        told.push(format!("{lost} end no longer by themselves, {gained} newly do"));
        told.push(format!("{tokens} tokens to the other's {baseline_tokens}"));
    }
    if let Some((mean, flips)) = divergence.as_ref().and_then(|of| of.mean.zip(of.flips)) {
        told.push(format!(
            "its expectations diverge by {mean:.4} nats a token, and at {:.1} % of tokens it expects another first",
            flips * 100.0
        ));
    }
    if let Some(Ratio { value, low, high }) = perplexity_ratio {
        told.push(format!("its perplexity is {value:.3} ({low:.3} to {high:.3}) of the other's"));
    }
    told.join("; ")
}

fn markdown(account: &GenerationEvidence) -> String {
    let generation = &account.generation;
    let verdict = account.report.as_ref().map_or("never validated", |report| report.verdict().name());
    let mut out = format!(
        "# {} (generation {}): {verdict}\n\nActivation {}",
        generation.plan.profile, generation.id, account.activation
    );
    if let Some(seconds) = account.downtime() {
        let _ = write!(out, ", nothing served for {seconds:.1} s");
    }
    out.push_str(".\n");
    let Some(report) = &account.report else { return out };
    for reason in report.reasons() {
        let _ = writeln!(out, "- {reason}");
    }
    for open in &report.not_judged {
        let _ = writeln!(out, "- {open}");
    }
    out.push_str("\n| gate | wanted | measured | margin | judged |\n|---|---:|---:|---:|---|\n");
    for Gate { name, wanted, measured, margin, state } in gates::gates(account) {
        let _ = writeln!(out, "| {name} | {wanted} | {measured} | {margin} | {} |", state.word());
    }
    let findings: Vec<&Finding> = generation.plan.findings.iter().chain(&report.findings).collect();
    if !findings.is_empty() {
        out.push('\n');
    }
    for Finding { severity, message, help, .. } in findings {
        let help = help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        let _ = writeln!(out, "- **{severity}**: {message}{help}");
    }
    out.push_str("\n| | planned | seen |\n|---|---:|---:|\n");
    for Beside { name, planned, seen } in gates::plan_beside_actual(account) {
        let _ = writeln!(out, "| {name} | {planned} | {seen} |");
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
    out.push_str(&beyond(report));
    if let Some(answers) = &report.known_answers {
        let _ = writeln!(out, "\nKnown answers: {answers}.");
    }
    if let Some(quality) = &report.quality_comparison {
        let _ = writeln!(out, "Against the baseline: {}.", of_quality(quality));
    }
    out.push_str("\n| step | begins, s | seconds |\n|---|---:|---:|\n");
    for Phase { name, begins, seconds } in account.phases() {
        let _ = writeln!(out, "| {name} | {begins:.1} | {seconds:.1} |");
    }
    out.push_str("\n| check | verdict | detail |\n|---|---|---|\n");
    for check in &report.checks {
        let verdict = format!("{:?}", check.verdict).to_lowercase();
        let detail = check.detail.as_deref().unwrap_or_default().replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(out, "| `{}` | {verdict} | {detail} |", check.name);
    }
    out
}

/// The measurements beyond the usual.
fn beyond(report: &Report) -> String {
    let lines = further(report);
    let head = if lines.is_empty() { "" } else { "\n| further | |\n|---|---|\n" };
    let rows = lines.into_iter().map(|(name, text)| format!("| {name} | {} |\n", text.replace('|', "\\|")));
    head.to_owned() + &rows.collect::<String>()
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

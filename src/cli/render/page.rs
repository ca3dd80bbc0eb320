//! Renders a report as one HTML file that needs nothing else: no network, no script.

use super::{
    charts::{self, BAR, INK, OTHER},
    further::further,
    gates::{self, Beside, Gate, GateState},
};
use crate::{
    domain::{
        activation::machine::End,
        findings::Finding,
        measure::{Interval, Throughput},
        validation::{
            expectations::Expectations,
            report::{Check, CheckOutcome, Report, Verdict},
            sweep::{Concurrency, PromptLength, Swept},
        },
    },
    flow::inspect::evidence::GenerationEvidence,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--soft:#60646c;--line:#d9dce1;--bar:#0a66c2;--other:#b45309;--good:#18794e;--bad:#c62a2f;--care:#ad5700}
@media (prefers-color-scheme:dark){:root{--ink:#edeef0;--paper:#111315;--soft:#b0b4ba;--line:#363a3f;--bar:#70b8ff;--other:#ffb86b;--good:#3dd68c;--bad:#ff9592;--care:#ffca16}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:46rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1.25rem 0 .25rem}
.pass{color:var(--good)}.fail{color:var(--bad)}.inconclusive,.skipped{color:var(--care)}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right}code{overflow-wrap:anywhere}td code{white-space:nowrap}.wide{overflow-x:auto}.names code{margin-right:.6em}svg{width:100%;max-width:34rem;height:auto}
@media (max-width:30rem){body{padding:.75rem}.wide{font-size:.85rem}}
@media print{@page{size:A4;margin:12mm}:root{--ink:#000;--paper:#fff;--soft:#333}body{font-size:9.5px;line-height:1.35;max-width:none;padding:0}h2{margin:.8rem 0 .25rem}h3{margin:.4rem 0 0}th,td{padding:.05rem .4rem .05rem 0}p,ul{margin:.3rem 0}.wide{overflow:visible}h2,h3{break-after:avoid}.chart,tr{break-inside:avoid}.charts{display:grid;grid-template-columns:1fr 1fr;gap:0 1.5rem}svg{max-height:42mm}}
";

/// The whole page.
pub(crate) fn html(account: &GenerationEvidence) -> String {
    let plan = &account.generation.plan;
    let title = format!("{} (generation {})", plan.profile, account.generation.id);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (title) " – awqdeploy" }
                style { (PreEscaped(STYLE)) (PreEscaped(colours())) }
            }
            body {
                (head(account, &title))
                @if account.report.is_some() { (gates(account)) }
                (findings(account))
                (plan_and_actual(account))
                @if let Some(report) = &account.report { (speed(account, report)) (sweep(account, report)) (beyond(report)) (quality(report)) }
                (timeline(account))
                @if let Some(report) = &account.report { (checks(report)) }
            }
        }
    };
    page.into_string()
}

/// The charts' key colours, replaced by the page's own.
fn colours() -> String {
    [(INK, "--ink"), (BAR, "--bar"), (OTHER, "--other")]
        .map(|(key, name)| {
            format!("svg [fill=\"{key}\"]{{fill:var({name})}}svg [stroke=\"{key}\"]{{stroke:var({name})}}")
        })
        .concat()
}

fn head(account: &GenerationEvidence, title: &str) -> Markup {
    let plan = &account.generation.plan;
    html! {
        h1 { (title) }
        @match &account.report {
            Some(report) => { (verdict(report)) (reasons(report)) }
            None => p.fail { "It never got so far that it could be validated." }
        }
        (serves_now(account))
        @if account.report.as_ref().and_then(|report| report.actual.as_ref()).is_some_and(|actual| actual.rehearsed) {
            p.inconclusive { "A rehearsal: the embedded engine answered, at the predicted rate. Nothing here was measured of vLLM." }
        }
        p.soft {
            code { (plan.model.repo) } ", vLLM " (plan.runtime.vllm) ", activation " (account.activation)
            @if let Some(report) = &account.report { ", validated " (report.at.strftime("%F %R")) " UTC" }
            @if let Some(seconds) = account.downtime() { "; nothing served for " (format!("{seconds:.1} s")) }
        }
    }
}

/// The server after a rollback.
fn serves_now(account: &GenerationEvidence) -> Markup {
    let last = account.journal.last().map(|entry| &entry.activation);
    let went_back = last.filter(|last| matches!(last.end(), Some(End::RolledBack { .. })));
    let Some(last) = went_back else { return html! {} };
    html! {
        section {
            h2 { "The running server" }
            p {
                @match (last.from, &account.returned) {
                    (Some(from), Some(returned)) => { "Generation " (from) " (" (returned.profile) ") serves again." }
                    (Some(from), None) => { "Generation " (from) " was started again. It was not validated." }
                    (None, _) => { "Nothing, as before: there was nothing to roll back to." }
                }
            }
            @if let Some(returned) = &account.returned { (verdict(returned)) (reasons(returned)) }
        }
    }
}

fn verdict(report: &Report) -> Markup {
    let (class, word) = match report.verdict() {
        Verdict::Pass if !report.not_judged.is_empty() => {
            ("inconclusive", "✓ passed, with a gate not judged")
        }
        Verdict::Pass => ("pass", "✓ passed"),
        Verdict::Fail => ("fail", "✗ failed"),
        Verdict::Inconclusive => ("inconclusive", "? could not be judged"),
    };
    html! { p class=(class) { strong { (word) } } }
}

fn reasons(report: &Report) -> Markup {
    html! {
        @let open = report.not_judged.iter().map(String::as_str).filter(|open| !report.reasons().contains(open));
        @let all: Vec<&str> = report.reasons().into_iter().chain(open).collect();
        @if !all.is_empty() {
            ul { @for reason in all { li { (prose(reason)) } } }
        }
    }
}

fn gates(account: &GenerationEvidence) -> Markup {
    html! {
        section {
            h2 { "Gates" }
            div.wide { table {
                tr { th { "Gate" } th.n { "Wanted" } th.n { "Measured" } th.n { "Margin" } th { "Judged" } }
                @for Gate { name, wanted, measured, margin, state } in gates::gates(account) {
                    @let class = match state {
                        GateState::Met => "pass",
                        GateState::Missed => "fail",
                        GateState::Undecided | GateState::NotJudged => "inconclusive",
                    };
                    tr {
                        td { (name) } td.n { (wanted) } td.n { (measured) } td.n { (margin) }
                        td class=(class) { (state.word()) }
                    }
                }
            } }
        }
    }
}

/// The findings, the plan's first, with their remedies.
fn findings(account: &GenerationEvidence) -> Markup {
    let plan = account.generation.plan.findings.iter();
    let all: Vec<&Finding> = plan.chain(account.report.iter().flat_map(|report| &report.findings)).collect();
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Findings" }
                ul { @for finding in all {
                    li {
                        strong { (finding.severity) ": " } (prose(&finding.message))
                        @if let Some(help) = &finding.help { br; span.soft { (prose(help)) } }
                    }
                } }
            }
        }
    }
}

/// A sentence with its values between backticks set as such.
fn prose(text: &str) -> Markup {
    html! {
        @for (index, piece) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

fn plan_and_actual(account: &GenerationEvidence) -> Markup {
    html! {
        section {
            h2 { "Plan and actual" }
            div.wide { table {
                tr { th { "" } th.n { "planned" } th.n { "seen" } }
                @for Beside { name, planned, seen } in gates::plan_beside_actual(account) {
                    tr { td { (name) } td.n { (planned) } td.n { (seen) } }
                }
            } }
        }
    }
}

fn speed(account: &GenerationEvidence, report: &Report) -> Markup {
    let Some(speed) = &report.throughput else { return html! {} };
    let baseline =
        account.baseline.as_ref().and_then(|baseline| Some((baseline, baseline.throughput.as_ref()?)));
    let gaps: Vec<f64> = speed.samples.iter().flat_map(|sample| sample.itl_ms.iter().copied()).collect();
    let mut rows = vec![(report.profile.as_str(), speed)];
    rows.extend(baseline.map(|(baseline, speed)| (baseline.profile.as_str(), speed)));
    let of = |which: fn(&Throughput) -> Interval| -> Vec<(&str, Interval)> {
        rows.iter().map(|(name, speed)| (*name, which(speed))).collect()
    };
    let floor = Some(account.generation.plan.gates.min_decode_tokens_per_second);
    html! {
        section {
            h2 { "Speed of one stream" }
            div.wide { table {
                tr { th { "" } th.n { "median" } th.n { "95 %: from" } th.n { "to" } th.n { "n" } }
                (measure("decode, tokens/s", &speed.decode_tokens_per_second))
                (measure("TTFT, ms", &speed.ttft_ms))
                (measure("TPOT, ms", &speed.tpot_ms))
                (measure("ITL, ms", &speed.itl_ms))
                (measure("end to end, ms", &speed.e2el_ms))
            } }
            div.charts {
                (chart("Decode rate; the line is the floor", charts::intervals(&of(|speed| speed.decode_tokens_per_second), floor, "tokens/s")))
                (chart("Time to the first token", charts::intervals(&of(|speed| speed.ttft_ms), None, "ms")))
                (chart("Time between two tokens", charts::histogram(&gaps, "ms")))
            }
            @if speed.thrown_away > 0 {
                p.soft { (speed.thrown_away) " more requests were thrown away: this host stalled the measuring itself." }
            }
            @if let Some(comparison) = &report.comparison {
                p.soft { (comparison.profile) " was measured "
                    @if comparison.live { "just before, on this host." } @else { "earlier: " (comparison.at.strftime("%F %R")) " UTC." }
                }
            }
        }
    }
}

fn sweep(account: &GenerationEvidence, report: &Report) -> Markup {
    let Some(swept) = &report.sweep else { return html! {} };
    if swept.streams.is_empty() && swept.prompts.is_empty() && swept.left_out.is_empty() {
        return html! {};
    }
    let theirs = account.baseline.as_ref().and_then(|baseline| baseline.sweep.as_ref());
    let rows: Vec<(&str, &Swept)> = [
        Some((report.profile.as_str(), swept)),
        account.baseline.as_ref().map(|baseline| baseline.profile.as_str()).zip(theirs),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rates: Vec<charts::Curve<'_>> = rows
        .iter()
        .map(|(name, swept)| {
            let point = |level: &Concurrency| (f64::from(level.max_concurrency), level.output_throughput);
            (*name, swept.streams.iter().map(point).collect())
        })
        .collect();
    let firsts: Vec<charts::Curve<'_>> = rows
        .iter()
        .map(|(name, swept)| {
            let point = |length: &PromptLength| (f64::from(length.input_len), length.ttft_ms.median);
            (*name, swept.prompts.iter().map(point).collect())
        })
        .collect();
    html! {
        section {
            h2 { "More streams, longer prompts" }
            @if !swept.streams.is_empty() {
                div.wide { table {
                    tr { th.n { "streams" } th.n { "tokens/s, all" } th.n { "TTFT, ms" } th.n { "TPOT, ms" } th.n { "E2EL, ms" } th.n { "requests" } }
                    @for level in &swept.streams { tr {
                        td.n { (level.max_concurrency) } td.n { (format!("{:.1}", level.output_throughput)) }
                        @for it in [level.ttft_ms, level.tpot_ms, level.e2el_ms] { td.n { (format!("{:.1}", it.median)) } }
                        td.n { (level.completed) }
                    } }
                } }
            }
            @if !swept.prompts.is_empty() {
                div.wide { table {
                    tr { th.n { "prompt, tokens" } th.n { "TTFT, ms" } th.n { "95 %: from" } th.n { "to" } th.n { "n" } }
                    @for length in &swept.prompts { tr {
                        td.n { (length.input_len) }
                        @for value in [length.ttft_ms.median, length.ttft_ms.low, length.ttft_ms.high] { td.n { (format!("{value:.1}")) } }
                        td.n { (length.ttft_ms.n) }
                    } }
                } }
            }
            div.charts {
                (chart("Throughput by streams", charts::curves(&rates, "streams at once", "tokens/s")))
                (chart("Time to the first token by prompt", charts::curves(&firsts, "tokens of the prompt", "ms")))
            }
            @if let Some((name, _)) = rows.get(1) { p.soft { "The curves of " (name) " are those of its own validation." } }
            @if !swept.left_out.is_empty() { p.soft { "Not measured: " (swept.left_out.join("; ")) "." } }
        }
    }
}

/// The measurements beyond the usual.
fn beyond(report: &Report) -> Markup {
    let lines = further(report);
    html! {
        @if !lines.is_empty() {
            section {
                h2 { "Further measurements" }
                div.wide { table { @for (name, text) in &lines { tr { th { (name) } td { (text) } } } } }
            }
        }
    }
}

fn chart(title: &str, svg: Option<String>) -> Markup {
    html! {
        @if let Some(svg) = svg { div.chart { h3 { (title) } (PreEscaped(svg)) } }
    }
}

fn measure(name: &str, interval: &Interval) -> Markup {
    html! {
        tr {
            td { (name) } td.n { (format!("{:.1}", interval.median)) } td.n { (format!("{:.1}", interval.low)) }
            td.n { (format!("{:.1}", interval.high)) } td.n { (interval.n) }
        }
    }
}

fn quality(report: &Report) -> Markup {
    let Some(quality) = &report.quality else { return html! {} };
    let known = report.known_answers.is_some() || report.quality_comparison.is_some();
    if !known && quality.perplexity().is_none() {
        return html! {};
    }
    html! {
        section {
            h2 { "Quality" }
            table {
                @if let Some(answers) = report.known_answers {
                    tr { th { "known answers" } td { (answers) } }
                }
                @if let Some(perplexity) = quality.perplexity() {
                    tr { th { "perplexity" } td { (format!("{perplexity:.2}")) } }
                }
                @if let Some(bits) = quality.expectations.as_ref().and_then(Expectations::bits_per_byte) {
                    tr { th { "surprise at a byte of the texts" } td { (format!("{bits:.3} bits")) } }
                }
                @if let Some(comparison) = &report.quality_comparison {
                    tr { th { "against the baseline" } td {
                        (comparison.lost) " lost, " (comparison.gained) " gained"
                        @if let Some(ratio) = comparison.perplexity_ratio {
                            (format!("; perplexity × {:.3} (95 %: {:.3} to {:.3})", ratio.value, ratio.low, ratio.high))
                        }
                    } }
                }
            }
        }
    }
}

fn timeline(account: &GenerationEvidence) -> Markup {
    let Some(svg) = charts::timeline(&account.phases()) else { return html! {} };
    html! {
        section { h2 { "What happened when" } div.chart { (PreEscaped(svg)) } }
    }
}

fn checks(report: &Report) -> Markup {
    if report.checks.is_empty() {
        return html! {};
    }
    let (good, others): (Vec<&Check>, Vec<&Check>) =
        report.checks.iter().partition(|check| check.verdict == CheckOutcome::Pass);
    let row = |check: &Check| {
        let (class, mark) = match check.verdict {
            CheckOutcome::Pass => ("pass", "✓"),
            CheckOutcome::Fail => ("fail", "✗"),
            CheckOutcome::Skipped => ("skipped", "–"),
        };
        html! {
            tr { td class=(class) { (mark) } td { code { (check.name) } } td { (check.detail.as_deref().unwrap_or_default()) } }
        }
    };
    html! {
        section {
            h2 { "Checks: " (good.len()) " of " (report.checks.len()) " passed" }
            @if !others.is_empty() { div.wide { table { @for check in others { (row(check)) } } } }
            @if !good.is_empty() {
                p.names { span.pass { "✓ " } @for check in good { code { (check.name) } " " } }
            }
            @if !report.added_fields.is_empty() {
                p.soft { "New in answers: " (report.added_fields.join(", ")) }
            }
        }
    }
}

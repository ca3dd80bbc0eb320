//! Renders a report as one HTML file that needs nothing else: no network, no script.

use super::{
    charts::{self, BAR, INK, OTHER},
    gates::{self, Beside, Gate},
};
use crate::{
    domain::{
        findings::Finding,
        measure::{Interval, Throughput},
        validation::{
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
td.n,th.n{text-align:right}code{overflow-wrap:anywhere}td code{white-space:nowrap}.wide{overflow-x:auto}section{overflow-x:auto}svg{width:100%;min-width:27rem;height:auto}
@media print{:root{--ink:#000;--paper:#fff;--soft:#333}section,.wide{overflow:visible}h2,h3{break-after:avoid}svg,tr{break-inside:avoid}svg{min-width:0}}
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
                @if let Some(report) = &account.report { (speed(account, report)) (sweep(account, report)) (quality(report)) }
                (timeline(account))
                @if let Some(report) = &account.report { (checks(report)) }
                @if let Some(returned) = &account.returned {
                    section { h2 { "What serves again" } (verdict(returned)) (reasons(returned)) }
                }
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

fn verdict(report: &Report) -> Markup {
    let (class, word) = match report.verdict() {
        Verdict::Pass => ("pass", "✓ passed"),
        Verdict::Fail => ("fail", "✗ failed"),
        Verdict::Inconclusive => ("inconclusive", "? could not be judged"),
    };
    html! { p class=(class) { strong { (word) } } }
}

fn reasons(report: &Report) -> Markup {
    html! {
        @if !report.reasons().is_empty() {
            ul { @for reason in report.reasons() { li { (prose(reason)) } } }
        }
    }
}

fn gates(account: &GenerationEvidence) -> Markup {
    html! {
        section {
            h2 { "Gates" }
            div.wide { table {
                tr { th { "Gate" } th.n { "Wanted" } th.n { "Measured" } th.n { "Margin" } }
                @for Gate { name, wanted, measured, margin, met } in gates::gates(account) {
                    tr {
                        td { (name) } td.n { (wanted) } td.n { (measured) }
                        td class=(if met { "n pass" } else { "n fail" }) { (margin) }
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
    let chart = |chart: Option<String>| chart.map(PreEscaped);
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
            h3 { "Decode rate; the line is the floor" }
            @if let Some(svg) = chart(charts::intervals(&of(|speed| speed.decode_tokens_per_second), floor, "tokens/s")) { (svg) }
            h3 { "Time to the first token" }
            @if let Some(svg) = chart(charts::intervals(&of(|speed| speed.ttft_ms), None, "ms")) { (svg) }
            h3 { "Time between two tokens" }
            @if let Some(svg) = chart(charts::histogram(&gaps, "ms")) { (svg) }
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
                @if let Some(svg) = charts::curves(&rates, "streams at once", "tokens/s") { h3 { "Throughput by streams" } (PreEscaped(svg)) }
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
                @if let Some(svg) = charts::curves(&firsts, "tokens of the prompt", "ms") { h3 { "Time to the first token by prompt" } (PreEscaped(svg)) }
            }
            @if let Some((name, _)) = rows.get(1) { p.soft { "The curves of " (name) " are those of its own validation." } }
            @if !swept.left_out.is_empty() { p.soft { "Not measured: " (swept.left_out.join("; ")) "." } }
        }
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
    html! {
        section {
            h2 { "What happened when" }
            @if let Some(svg) = charts::timeline(&account.phases()) { (PreEscaped(svg)) }
        }
    }
}

fn checks(report: &Report) -> Markup {
    let good = report.checks.iter().filter(|check| check.verdict == CheckOutcome::Pass).count();
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
            h2 { "Checks: " (good) " of " (report.checks.len()) " passed" }
            div.wide { table { @for check in &report.checks { (row(check)) } } }
            @if !report.added_fields.is_empty() {
                p.soft { "New in answers: " (report.added_fields.join(", ")) }
            }
        }
    }
}

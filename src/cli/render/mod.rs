//! Text for people, rendered from the JSON documents.

mod charts;
pub(super) mod further;
pub(super) mod gates;
pub(super) mod page;
pub(super) mod plan;
mod status;
pub(super) mod style;

use super::{
    documents::{ActivationDocument, CollectDocument, GenerationsDocument, ValidationDocument},
    terminal::{BAD, BOLD, CARE, FAINT, GOOD},
};
use crate::domain::{
    measure::Interval,
    size::ByteSize,
    store::gc::Why,
    validation::{
        report::{CheckOutcome, Report, Verdict},
        sweep::Swept,
    },
    vllm::serve::Serve,
};
pub(crate) use status::status;
use std::fmt::Write;
use style::{command, row, shell_word};

/// The engine's environment and command line, a variable and an option a line.
pub(crate) fn serve(serve: &Serve) -> String {
    let variables = serve.env.iter().map(|(name, value)| format!("  {name}={}\n", shell_word(value)));
    variables.chain([command(&serve.argv)]).collect()
}

/// The changes from one plan to another, as a unified diff of what they run.
pub(crate) fn difference(old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    let mut out = String::new();
    for change in diff.iter_all_changes() {
        let (sign, style) = match change.tag() {
            similar::ChangeTag::Delete => ('-', BAD),
            similar::ChangeTag::Insert => ('+', GOOD),
            similar::ChangeTag::Equal => (' ', FAINT),
        };
        let _ = writeln!(out, "{style}{sign} {}{style:#}", change.to_string().trim_end());
    }
    out
}

/// The lines that differ, without those around them.
pub(crate) fn changes(old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    let changed = diff.iter_all_changes().filter_map(|change| match change.tag() {
        similar::ChangeTag::Delete => Some(format!("- {}", change.to_string_lossy().trim_end())),
        similar::ChangeTag::Insert => Some(format!("+ {}", change.to_string_lossy().trim_end())),
        similar::ChangeTag::Equal => None,
    });
    changed.collect::<Vec<_>>().join("\n")
}

/// The end of a deployment or rollback.
pub(crate) fn activation(document: &ActivationDocument) -> String {
    let mut out = String::new();
    let (action, profile) = (document.action, &document.profile);
    let generation = document.generation.map_or_else(String::new, |id| format!(" (generation {id})"));
    match document.end {
        "committed" => {
            let open = document.report.as_ref().is_some_and(|report| !report.not_judged.is_empty());
            let but = if open { ", with a gate not judged" } else { "" };
            let _ = writeln!(out, "{GOOD}{profile} serves{GOOD:#}{generation}: validated{but} and committed");
        }
        "unchanged" => {
            let _ = writeln!(out, "{GOOD}{profile} serves already{GOOD:#}{generation}: nothing to do");
        }
        "rolled-back" => {
            let serves = document.returned_to.map_or_else(
                || "nothing serves, as before".to_owned(),
                |id| format!("generation {id} serves again"),
            );
            let _ =
                writeln!(out, "{BAD}{action} of {profile}{BAD:#}{generation} {BAD}failed{BAD:#}; {serves}");
        }
        end => {
            let _ = writeln!(out, "{BAD}{action} of {profile}{BAD:#}{generation}: {end}");
        }
    }
    if let Some(why) = &document.why {
        row(&mut out, "why", why);
    }
    if let Some(help) = &document.help {
        row(&mut out, "help", help);
    }
    if let Some(seconds) = document.downtime_seconds {
        let steps = document.outage.iter().map(|phase| format!("{} {:.1} s", phase.name, phase.seconds));
        let steps: Vec<_> = steps.collect();
        row(&mut out, "nothing served for", &format!("{seconds:.1} s: {}", steps.join(", ")));
        if let Some(plain) = document.plain_restart_seconds {
            row(&mut out, "a plain restart takes", &format!("{plain:.1} s, of what served before"));
        }
    }
    if let Some(report) = &document.report {
        out.push_str(&self::report(report));
    }
    if let Some(returned) = &document.returned {
        let of =
            returned.generation.map_or_else(String::new, |generation| format!(" of generation {generation}"));
        let _ = writeln!(out, "{BOLD}and{of}, which serves again{BOLD:#}");
        out.push_str(&report(returned));
    }
    out
}

/// Where to look after a failure.
pub(crate) fn evidence(document: &ActivationDocument) -> String {
    let mut out = String::new();
    if let Some(number) = document.activation.filter(|_| document.exit_code != 0) {
        row(&mut out, "evidence", &format!("`awqdeploy why`; activations/{number}/ below the root"));
    }
    out
}

/// The measurements of a validation.
pub(crate) fn report(report: &Report) -> String {
    let mut out = String::new();
    let count = |wanted: CheckOutcome| report.checks.iter().filter(|check| check.verdict == wanted).count();
    let [passed, failed, skipped] =
        [CheckOutcome::Pass, CheckOutcome::Fail, CheckOutcome::Skipped].map(count);
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    row(&mut out, "checks", &format!("{passed} passed, {failed} failed{skipped}"));
    if let Some(answers) = &report.known_answers {
        row(&mut out, "known answers", &answers.to_string());
    }
    if let Some(speed) = &report.throughput {
        let spread = |spread: &Interval, unit: &str| {
            format!("{:.1} {unit} (median; 95 %: {:.1} to {:.1})", spread.median, spread.low, spread.high)
        };
        row(&mut out, "decode, one stream", &spread(&speed.decode_tokens_per_second, "tokens/s"));
        row(&mut out, "TTFT", &spread(&speed.ttft_ms, "ms"));
        row(&mut out, "TPOT", &spread(&speed.tpot_ms, "ms"));
        row(&mut out, "ITL", &spread(&speed.itl_ms, "ms"));
        let thrown = match speed.thrown_away {
            0 => String::new(),
            anew => format!("; {anew} more thrown away: the client was stalled"),
        };
        row(
            &mut out,
            "measured",
            &format!("{} requests of {} tokens{thrown}", speed.requests, speed.output_tokens),
        );
    }
    if let Some(sweep) = &report.sweep {
        out.push_str(&self::sweep(sweep));
    }
    for (name, text) in further::further(report) {
        row(&mut out, &name, &text);
    }
    if let Some(comparison) = &report.comparison {
        let text = format!(
            "{:.2}{} × generation {} ({:.1} tokens/s, {} {}); at least {:.2}",
            comparison.ratio,
            comparison
                .bounds
                .map_or_else(String::new, |[low, high]| format!(" (95 %: {low:.2} to {high:.2})")),
            comparison.generation,
            comparison.baseline_tokens_per_second,
            if comparison.live { "measured just before," } else { "stored" },
            comparison.at.strftime("%F %R"),
            comparison.min_ratio
        );
        row(&mut out, &format!("against {}", comparison.profile), &text);
    }
    out.push_str(&plan::figures(&report.figures));
    for failure in &report.failures {
        let _ = writeln!(out, "  {BAD}✗{BAD:#} {failure}");
    }
    for open in report.not_judged.iter().filter(|open| !report.failures.contains(*open)) {
        let _ = writeln!(out, "  {CARE}?{CARE:#} {open}");
    }
    for doubt in &report.doubts {
        let _ = writeln!(out, "  {CARE}?{CARE:#} {doubt}");
    }
    out
}

/// The measurements beyond one stream, a line for each kind.
fn sweep(sweep: &Swept) -> String {
    let mut out = String::new();
    let prompts: Vec<_> = sweep
        .prompts
        .iter()
        .map(|length| format!("{:.0} ms after {} tokens", length.ttft_ms.median, length.input_len))
        .collect();
    if !prompts.is_empty() {
        row(&mut out, "TTFT by prompt", &prompts.join(", "));
    }
    let streams: Vec<_> = sweep
        .streams
        .iter()
        .map(|level| format!("{:.1} with {}", level.output_throughput, level.max_concurrency))
        .collect();
    if !streams.is_empty() {
        row(&mut out, "tokens/s by streams", &streams.join(", "));
    }
    for what in &sweep.left_out {
        row(&mut out, "not measured", what);
    }
    out
}

/// The result of a requested validation.
pub(crate) fn validation(document: &ValidationDocument) -> String {
    let (style, word) = match document.verdict {
        Verdict::Pass if !document.report.not_judged.is_empty() => (CARE, "passed, with a gate not judged"),
        Verdict::Pass => (GOOD, "passed"),
        Verdict::Fail => (BAD, "did not pass"),
        Verdict::Inconclusive => (CARE, "could not be judged"),
    };
    let of = match (document.report.generation, &document.url) {
        (Some(generation), _) => format!(" (generation {generation})"),
        (None, Some(url)) => format!(" at {url}"),
        (None, None) => String::new(),
    };
    let head = format!("{}{of} {style}{word}{style:#}\n", document.report.profile);
    head + &report(&document.report)
}

/// All generations, a line each.
pub(crate) fn generations(document: &GenerationsDocument) -> String {
    let mut out = String::new();
    if document.generations.is_empty() {
        out.push_str("there are no generations\n");
    }
    for line in &document.generations {
        let _ = writeln!(
            out,
            "{:>4}  {:<12} {:<9} {}  vLLM {}  {FAINT}{}{FAINT:#}{}",
            line.generation,
            line.profile,
            line.standing,
            line.created.strftime("%F %R"),
            line.vllm,
            line.repo,
            if line.pinned { "  pinned" } else { "" }
        );
    }
    out
}

/// The things that a collection frees.
pub(crate) fn collection(document: &CollectDocument) -> String {
    let mut out = String::new();
    for line in &document.kept {
        let why = match line.why {
            Why::Current => "it serves",
            Why::Previous => "a rollback returns to it",
            Why::Pinned => "it is pinned",
            Why::Unfinished => "its activation has no end yet",
        };
        row(&mut out, "keep generation", &format!("{} ({}): {why}", line.generation, line.profile));
    }
    for line in &document.generations {
        row(&mut out, "free generation", &format!("{} ({})", line.id, line.name));
    }
    for line in &document.models {
        row(&mut out, "free model", &format!("{} ({})", line.id.short(), line.name));
    }
    for runtime in &document.runtimes {
        row(&mut out, "free runtime", &runtime.short());
    }
    for interpreter in &document.interpreters {
        row(&mut out, "free interpreter", &interpreter.short());
    }
    if document.kept_downloads_bytes > ByteSize(0) {
        let bytes = document.kept_downloads_bytes;
        row(&mut out, "keep downloads", &format!("{bytes}: `awqdeploy fetch` goes on with them"));
    }
    let done = if document.dry_run { "would be freed" } else { "freed" };
    let _ = writeln!(out, "{GOOD}{} {done}{GOOD:#}", document.freed_bytes);
    out
}

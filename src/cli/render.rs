//! Text for people, rendered from the JSON documents.

use super::documents::{
    ActivationDocument, GenerationsDocument, PlanDocument, StatusDocument, ValidationDocument,
    VerificationDocument,
};
use crate::domain::{
    plan::Serve,
    report::{Checked, Interval, Report, Verdict},
    size::Bytes,
};
use anstyle::{AnsiColor, Style};
use std::fmt::Write;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CARE: Style = AnsiColor::Yellow.on_default();

/// A plan: what would run, and where each byte would go.
pub(crate) fn plan(document: &PlanDocument) -> String {
    let mut out = String::new();
    let Some(serve) = &document.serve else {
        return out;
    };
    row(&mut out, "profile", &document.profile);
    row(&mut out, "service", document.service.as_deref().unwrap_or("-"));
    row(&mut out, "vLLM", document.vllm.as_deref().unwrap_or("-"));
    row(&mut out, "API", &format!("http://{}:{}", serve.listen.host, serve.listen.port));
    if let Some(memory) = &document.memory {
        let size = memory.tensor_parallel_size;
        row(&mut out, "tensor parallel", &size.to_string());
        let shown =
            |bytes: Option<Bytes>| bytes.map_or_else(|| "not modelled".to_owned(), |bytes| bytes.to_string());
        let each = if size == 1 { "GPU" } else { "each GPU" };
        if memory.gpu.is_some() {
            row(&mut out, &format!("{each}: vLLM may use"), &shown(memory.gpu));
            row(&mut out, "  weights", &shown(memory.weights));
            row(&mut out, "  overhead", &shown(memory.overhead));
            row(&mut out, "  KV cache", &shown(memory.kv_cache));
        }
        row(&mut out, "offloaded per rank", &memory.offload.to_string());
        row(&mut out, "RAM in all", &memory.ram.to_string());
    }
    let predicted = document.predicted_tokens_per_second;
    row(
        &mut out,
        "predicted",
        &predicted.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1} tokens/s, one stream")),
    );
    let _ = writeln!(out, "{BOLD}runs{BOLD:#}");
    out.push_str(&command(serve));
    for warning in &document.warnings {
        let _ = writeln!(out, "{CARE}warning{CARE:#}: {}", warning.message);
        if let Some(help) = &warning.help {
            let _ = writeln!(out, "  {FAINT}help{FAINT:#}: {help}");
        }
    }
    out
}

/// The engine's command line, an option a line.
pub(crate) fn command(serve: &Serve) -> String {
    let mut out = String::from(" ");
    for (index, word) in serve.argv.iter().enumerate() {
        if index > 0 && word.starts_with("--") {
            out.push_str("\n    ");
        }
        let _ = write!(out, " {}", shell_word(word));
    }
    out.push('\n');
    out
}

/// What changes from one plan to another, as a unified diff of what they run.
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

/// How a deployment or rollback ended.
pub(crate) fn activation(document: &ActivationDocument) -> String {
    let mut out = String::new();
    let (action, profile) = (document.action, &document.profile);
    let generation = document.generation.map_or_else(String::new, |id| format!(" (generation {id})"));
    match document.end {
        "committed" => {
            let _ = writeln!(out, "{GOOD}{profile} serves{GOOD:#}{generation}: validated and committed");
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
        row(&mut out, "nothing served for", &format!("{seconds:.1} s"));
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
    if let Some(number) = document.activation.filter(|_| document.exit_code != 0) {
        row(&mut out, "evidence", &format!("activations/{number}/ below the root"));
    }
    out
}

/// What a validation measured.
pub(crate) fn report(report: &Report) -> String {
    let mut out = String::new();
    let count = |wanted: Checked| report.checks.iter().filter(|check| check.verdict == wanted).count();
    let [passed, failed, skipped] = [Checked::Pass, Checked::Fail, Checked::Skipped].map(count);
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    row(&mut out, "checks", &format!("{passed} passed, {failed} failed{skipped}"));
    if let Some(answers) = &report.known_answers {
        row(&mut out, "known answers", &format!("{} of {} right", answers.right, answers.asked));
    }
    if let Some(speed) = &report.throughput {
        let spread = |spread: &Interval, unit: &str| {
            format!("{:.1} {unit} (median; 95 %: {:.1} to {:.1})", spread.median, spread.low, spread.high)
        };
        row(&mut out, "decode, one stream", &spread(&speed.decode_tokens_per_second, "tokens/s"));
        row(&mut out, "TTFT", &spread(&speed.ttft_ms, "ms"));
        row(&mut out, "TPOT", &spread(&speed.tpot_ms, "ms"));
        row(&mut out, "ITL", &spread(&speed.itl_ms, "ms"));
        row(&mut out, "measured", &format!("{} requests of {} tokens", speed.requests, speed.output_tokens));
    }
    if let Some(comparison) = &report.comparison {
        let text = format!(
            "{:.2} × generation {} ({:.1} tokens/s, {} {}); at least {:.2}",
            comparison.ratio,
            comparison.generation,
            comparison.baseline_tokens_per_second,
            if comparison.live { "measured just before," } else { "stored" },
            comparison.at.strftime("%F %R"),
            comparison.min_ratio
        );
        row(&mut out, &format!("against {}", comparison.profile), &text);
    }
    for failure in &report.failures {
        let _ = writeln!(out, "  {BAD}✗{BAD:#} {failure}");
    }
    for doubt in &report.doubts {
        let _ = writeln!(out, "  {CARE}?{CARE:#} {doubt}");
    }
    out
}

/// What a validation that was asked for showed.
pub(crate) fn validation(document: &ValidationDocument) -> String {
    let (style, word) = match document.verdict {
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

/// What is now.
pub(crate) fn status(document: &StatusDocument) -> String {
    let mut out = String::new();
    let Some(current) = &document.current else {
        return format!("nothing is deployed below {}\n", document.root.display());
    };
    let (style, word) = match (&document.serving, &document.service) {
        (Some(_), _) => (GOOD, "serves"),
        (None, Some(word)) => (BAD, word.as_str()),
        (None, None) => (CARE, "unknown: no service manager to ask"),
    };
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#} (generation {}) {style}{word}{style:#}",
        current.profile, current.generation
    );
    row(&mut out, "API", &current.url);
    row(&mut out, "model", &current.repo);
    row(
        &mut out,
        "vLLM",
        &format!("{}, tensor parallel size {}", current.vllm, current.tensor_parallel_size),
    );
    row(&mut out, "unit", &format!("{}.service", current.service));
    if let Some(last) = &document.last_activation {
        let how = match (last.end, &last.step) {
            (Some(end), _) => end.to_owned(),
            (None, step) => format!("at {}", step.as_deref().unwrap_or("-")),
        };
        let at = last.at.map_or_else(String::new, |at| at.strftime(", %F %T UTC").to_string());
        row(&mut out, "last activation", &format!("{}: to generation {}, {how}{at}", last.number, last.to));
        if let Some(why) = &last.why {
            row(&mut out, "why", why);
        }
    }
    if let Some(speed) = document.report.as_ref().and_then(|report| report.throughput.as_ref()) {
        row(
            &mut out,
            "last measured",
            &format!("{:.1} tokens/s, one stream", speed.decode_tokens_per_second.median),
        );
    }
    out
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
            "{:>4}  {:<12} {:<9} {}  vLLM {}  {FAINT}{}{FAINT:#}",
            line.generation,
            line.profile,
            line.standing,
            line.created.strftime("%F %R"),
            line.vllm,
            line.repo
        );
    }
    out
}

/// What a verification found.
pub(crate) fn verification(document: &VerificationDocument) -> String {
    let (files, path) = (document.files, document.path.display());
    if document.differences.is_empty() {
        return format!(
            "{GOOD}{}{GOOD:#}: all {files} files in {path} are what was locked\n",
            document.profile
        );
    }
    let mut out = format!(
        "{BAD}{}{BAD:#}: {} of {files} files in {path} differ\n",
        document.profile,
        document.differences.len()
    );
    for line in &document.differences {
        let _ = writeln!(out, "  {BAD}✗{BAD:#} {} ({})", line.path.display(), line.is);
    }
    out
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {FAINT}{name:<24}{FAINT:#} {value}");
}

/// A word as a shell reads it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

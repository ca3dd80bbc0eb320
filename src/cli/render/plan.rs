//! Renders a plan as text: the command line, the memory, and the findings.

use super::style::{command, row};
use crate::{
    cli::{
        documents::{
            GatesDocument, MemoryDocument, PlanDocument,
            basis::{Basis, Known},
        },
        terminal::{BAD, BOLD, CARE, FAINT, TextStyle},
    },
    domain::{
        findings::Severity,
        machine::{calibration::Measurement, start::ShownMemory},
        planning::{
            engine_config::Compared,
            prediction::{AllStreams, Decode, Prediction},
            preflight::Finding,
        },
        size::ByteSize,
        validation::observed::Figure,
    },
    flow::plan::Readiness,
};
use std::fmt::Write;

/// The text of a plan. Nothing for a refusal, which is shown as a problem.
pub(crate) fn plan(document: &PlanDocument) -> String {
    let mut out = engine(&document.engine);
    let Some(serve) = &document.serve else {
        return out;
    };
    row(&mut out, "profile", &document.profile);
    row(&mut out, "service", document.service.as_deref().unwrap_or("-"));
    row(&mut out, "vLLM", document.vllm.as_deref().unwrap_or("-"));
    if let Some(python) = &document.python {
        row(&mut out, "runs on", &python.to_string());
    }
    if !document.needs.is_empty() {
        let needs: Vec<String> = document.needs.iter().map(ToString::to_string).collect();
        row(&mut out, "needs of the host", &needs.join(", "));
    }
    row(&mut out, "API", &format!("http://{}:{}", serve.listen.host, serve.listen.port));
    if let Some(memory) = &document.memory {
        self::memory(&mut out, memory, document.basis.as_ref());
    }
    if let Some(prediction) = &document.prediction {
        self::prediction(&mut out, prediction);
    }
    if let Some(readiness) = &document.readiness {
        self::readiness(&mut out, readiness);
    }
    if let Some(gates) = &document.gates {
        self::gates(&mut out, gates);
    }
    let _ = writeln!(out, "{BOLD}runs{BOLD:#}");
    out.push_str(&command(&serve.argv));
    out.push_str(&findings(&document.findings));
    out
}

/// Says which parts are on this host already, and which are not.
fn readiness(out: &mut String, readiness: &Readiness) {
    let size =
        |bytes: Option<ByteSize>| bytes.map_or_else(String::new, |bytes| format!(": {bytes} to download"));
    let model = match (readiness.locked, readiness.fetched) {
        (false, false) => "not locked: `awqdeploy lock` comes first".to_owned(),
        (false, true) => "not locked: `awqdeploy lock` comes first; its files are here".to_owned(),
        (true, true) => "locked and here".to_owned(),
        (true, false) => format!("locked{}", size(readiness.model_download_bytes)),
    };
    row(out, "model's files", &model);
    let vllm = match readiness.installed {
        None => "not awqdeploy's to install".to_owned(),
        Some(true) => "installed".to_owned(),
        Some(false) => format!("not installed{}", size(readiness.wheels_download_bytes)),
    };
    row(out, "vLLM's wheels", &vllm);
}

/// The gates that it must pass before it is kept.
fn gates(out: &mut String, gates: &GatesDocument) {
    row(out, "must reach", &format!("{:.1} tokens/s, one stream", gates.min_decode_tokens_per_second));
    if let (Some(profile), Some(ratio)) = (&gates.baseline, gates.min_ratio) {
        let but = match gates.baseline_required {
            Some(false) => "; not judged where that was never measured",
            _ => "",
        };
        row(out, "  beside the baseline", &format!("{ratio:.2} of the speed of `{profile}`{but}"));
    }
    match gates.min_known_answers {
        Some(share) => {
            row(out, "  known answers", &format!("{:.0} % right, and no gibberish", share * 100.0));
        }
        None => row(
            out,
            "  known answers",
            &format!("{CARE}no gate{CARE:#}: what it says is not judged; `[validation.quality]` does"),
        ),
    }
    if let Some(ratio) = gates.max_perplexity_ratio {
        row(out, "  perplexity", &format!("at most {ratio:.2} of the baseline's"));
    }
}

/// How fast it will be.
pub(crate) fn prediction(out: &mut String, prediction: &Prediction) {
    match &prediction.decode_tokens_per_second {
        Some(decode) => self::decode(out, decode),
        None => row(out, "predicted", "-"),
    }
    if let Some(AllStreams { streams, each, together }) = prediction.all_streams {
        let text = format!("{each:.1} tokens/s each, {together:.1} together");
        row(out, &format!("with {streams} at once"), &text);
    }
    if let Some(seconds) = prediction.time_to_first_token_seconds {
        row(out, "first token, roughly", &format!("{seconds:.1} s after a prompt of 128 tokens"));
    }
}

/// The rate, and the measurement that corrected it.
fn decode(out: &mut String, decode: &Decode) {
    let Decode { low, expected, ceiling, limited_by, rates, corrected_by } = decode;
    let text = format!(
        "{expected:.1} tokens/s, one stream ({low:.1} to at most {ceiling:.1}; {limited_by} limits it; {rates})"
    );
    row(out, "predicted", &text);
    if let Some(Measurement { generation, profile, at, computed, measured }) = corrected_by {
        let alone = decode.computed();
        let text = format!(
            "from {alone:.1}: generation {generation} ({profile}) was computed to reach {computed:.1}, and measured at \
             {measured:.1} on {}",
            at.strftime("%F")
        );
        row(out, "  corrected", &text);
    }
}

/// The comparison of the plan with the installed vLLM.
fn engine(compared: &[Compared]) -> String {
    let mut out = String::new();
    if compared.is_empty() {
        return out;
    }
    let _ = writeln!(out, "  {FAINT}{:<24} {:<24} vLLM says{FAINT:#}", "", "planned");
    for Compared { what, planned, engine, agrees } in compared {
        let style = if *agrees { TextStyle::Plain } else { BAD };
        let planned = planned.as_deref().unwrap_or("-");
        row(&mut out, what, &format!("{planned:<24} {style}{engine}{style:#}"));
    }
    out
}

/// The planned and the seen figures.
pub(crate) fn figures(figures: &[Figure]) -> String {
    let mut out = String::new();
    for Figure { name, planned, seen } in figures {
        let gib = |bytes: f64| format!("{:.2} GiB", bytes / ByteSize::gib(1).0 as f64);
        let (what, shown): (_, &dyn Fn(f64) -> String) = match name.strip_suffix("_bytes") {
            Some(what) => (what, &gib),
            None => (name.as_str(), &|number| format!("{number:.1}")),
        };
        let difference = (seen / planned - 1.0) * 100.0;
        let text = format!("{} planned, {} seen ({difference:+.1} %)", shown(*planned), shown(*seen));
        row(&mut out, &what.replace('_', " "), &text);
    }
    out
}

/// Findings with their remedies, each under its severity.
pub(crate) fn findings(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let style = match finding.severity {
            Severity::Fatal => BAD,
            Severity::Warning => CARE,
            Severity::Note => FAINT,
        };
        let _ = writeln!(out, "{style}{}{style:#}: {}", finding.severity, finding.message);
        if let Some(help) = &finding.help {
            let _ = writeln!(out, "  {FAINT}help{FAINT:#}: {help}");
        }
    }
    out
}

/// The parts of a GPU's memory, in the order in which it is filled.
const PARTS: [(&str, char); 3] = [("weights", '█'), ("overhead", '▒'), ("KV cache", '░')];
/// The length of a bar in characters.
const WIDTH: u64 = 40;

fn memory(out: &mut String, document: &MemoryDocument, basis: Option<&Basis>) {
    let memory = &document.budget;
    let known = |of: fn(&Basis) -> Option<Known>| {
        basis.and_then(of).map_or_else(String::new, |known| format!(" ({known})"))
    };
    row(out, "tensor parallel", &memory.tensor_parallel_size.to_string());
    let one = memory.gpus() == 1;
    if memory.pipeline_parallel_size > 1 {
        row(out, "pipeline parallel", &memory.pipeline_parallel_size.to_string());
    }
    if let Some(gpu) = memory.gpu {
        let each = if one { "GPU" } else { "each GPU" };
        row(out, &format!("{each}: vLLM may use"), &gpu.to_string());
        let sizes = [memory.weights, memory.overhead, memory.kv_cache];
        let how =
            [known(|basis| basis.weights), known(|basis| basis.overhead), known(|basis| basis.kv_cache)];
        for (((name, _), size), how) in PARTS.iter().zip(sizes).zip(how) {
            let size = size.map_or_else(|| "not modelled".to_owned(), |size| format!("{size}{how}"));
            row(out, &format!("  {name}"), &size);
        }
        let filled = PARTS.iter().zip(sizes).map(|((_, sign), size)| (*sign, size.unwrap_or_default()));
        row(out, "", &bar(filled, gpu));
        if let Some(ShownMemory { generation, profile, at, computed, seen, .. }) = &memory.shown_by {
            let text = format!(
                "generation {generation} ({profile}) took {seen} of overhead on {}, where {computed} were computed",
                at.strftime("%F")
            );
            row(out, "  measured here", &text);
        }
        let uncounted = memory.uncounted.unwrap_or_default();
        row(out, "  beside its share", &format!("{uncounted}{}", known(|basis| basis.uncounted)));
        if let Some(tokens) = memory.kv_cache_tokens {
            row(out, "  KV cache holds", &format!("{tokens} tokens"));
        }
        if let (Some(context), Some(batch)) = (memory.longest_context, memory.largest_batch) {
            let text = format!("a context of {context} tokens, or {batch} sequences as they are");
            row(out, "  at most would fit", &text);
        }
    }
    row(out, "offloaded per rank", &memory.offloaded.to_string());
    row(out, "RAM in all", &format!("{}{}", memory.ram, known(|basis| Some(basis.ram))));
}

/// A bar of [`WIDTH`] characters that stands for all of `whole`.
fn bar(parts: impl Iterator<Item = (char, ByteSize)>, whole: ByteSize) -> String {
    let cell = (whole.0 / WIDTH).max(1);
    let mut drawn = String::from("│");
    let (mut end, mut cells) = (0, 0);
    for (sign, size) in parts {
        end += size.0;
        while cells < WIDTH && (cells + 1) * cell <= end + cell / 2 {
            drawn.push(sign);
            cells += 1;
        }
    }
    let plain = TextStyle::Plain;
    let _ = write!(drawn, "{plain}{:width$}│", "", width = usize::try_from(WIDTH - cells).unwrap_or(0));
    drawn
}

//! The parts of the documents that are made from the program, between `<!-- made: WHAT -->` and `<!-- end -->`.

use super::{at_root, command, commands, page, printed, settle};
use awqdeploy::domain::profile::{
    Device, KEYS, Offload, Parallel, Profile, Python, VerifyAtStart,
    document::{Key, Presence},
};
use std::{fmt::Write, path::Path};

const BEGIN: &str = "<!-- made: ";
const END: &str = "<!-- end -->";

#[test]
fn the_profile_page_is_current() {
    let made = remade("docs/profile.md");
    let tables = KEYS
        .iter()
        .filter(|key| !is_table(key))
        .map(|key| key.path.split_once('.').map_or("", |(table, _)| table));
    let missing: Vec<_> =
        tables.filter(|table| !made.contains(&block_of(&format!("keys {table}")))).collect();
    assert!(missing.is_empty(), "docs/profile.md says nothing of {missing:?}");
}

#[test]
fn the_page_on_a_first_model_is_current() {
    assert!(remade("docs/first-model.md").contains("served-name = "));
}

#[test]
fn the_command_page_is_current() {
    let made = remade("docs/cli.md");
    let missing: Vec<_> = commands()
        .into_iter()
        .filter(|name| name != "help" && !made.contains(&block_of(&format!("help {name}"))))
        .collect();
    assert!(missing.is_empty(), "docs/cli.md says nothing of {missing:?}");
}

#[test]
fn the_page_on_validation_is_current() {
    let made = remade("docs/validation.md");
    let blocks = ["simulation", "errors", "watch", "checks", "quality"];
    assert!(blocks.iter().all(|what| made.contains(&block_of(what))));
}

#[test]
fn the_page_on_planning_is_current() {
    let made = remade("docs/planning.md");
    assert!(["flags", "published", "runs"].iter().all(|what| made.contains(&block_of(what))));
}

fn block_of(what: &str) -> String {
    format!("{BEGIN}{} -->", what.trim())
}

/// The page with all its parts made anew, which is what it should be.
fn remade(name: &str) -> String {
    let is = page(name);
    let mut should = String::new();
    let mut rest = is.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (what, after) = after.split_once(" -->").expect("a made part begins with what it is");
        let (_, after) = after.split_once(END).expect("a made part ends");
        let _ = write!(should, "{before}{BEGIN}{what} -->\n{}\n{END}", made(what).trim_end());
        rest = after;
    }
    should.push_str(rest);
    settle(name, &is, &should);
    should
}

fn made(what: &str) -> String {
    match what.split_once(' ').unwrap_or((what, "")) {
        ("keys", table) => keys(table),
        ("help", command) => help(command),
        ("everywhere", _) => fenced(&everywhere(&printed(&["help", "status"]))),
        ("simulation", _) => crate::validation::sequential::table(),
        ("quality", _) => crate::validation::expectations::table(),
        ("comparison", _) => crate::validation::sequential::comparison_table(),
        ("errors", _) => crate::validation::simulation::table(),
        ("watch", _) => crate::validation::simulation::watch_table(),
        ("flags", _) => crate::vllm::effects::table(),
        ("runs", _) => crate::planning::page::runs(),
        ("published", _) => crate::planning::cases::table(),
        ("checks", _) => crate::validation::validate::checks(),
        ("init", arguments) => proposed(arguments),
        ("faults", _) => fenced(&printed(&["rehearse", "--list-faults"])),
        _ => panic!("nobody makes `{what}`"),
    }
}

/// The profile that `init` would write, on a host that knows no hub and no cache.
fn proposed(arguments: &str) -> String {
    let own = |word: &str| match at_root(word) {
        file if file.is_file() => file.display().to_string(),
        _ => word.to_owned(),
    };
    let mut words = vec!["init".to_owned(), "--json".to_owned()];
    words.extend(arguments.split(' ').map(own));
    let mut command = command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let output = command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nonexistent").output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = document["text"].as_str().unwrap_or_else(|| panic!("{document:#}"));
    format!("```toml\n{text}```")
}

fn fenced(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```", lines.join("\n"))
}

/// A command's long help without what every command takes.
fn help(command: &str) -> String {
    let mut arguments = vec!["help"];
    arguments.extend((!command.is_empty()).then_some(command));
    let text = printed(&arguments);
    let text = text.replace(&everywhere(&text), "");
    let blank = |line: &&str| !line.trim().is_empty();
    // Lines that only ask for this help or the version say nothing here.
    let mut kept: Vec<&str> = vec![];
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("-h, --help") || line.trim_start().starts_with("-V, --version") {
            while lines.next_if(blank).is_some() {}
            lines.next();
        } else if !(line.trim().is_empty() && kept.last().is_none_or(|last| last.trim().is_empty())) {
            kept.push(line.trim_end());
        }
    }
    fenced(kept.join("\n").replace("\nOptions:\n\n", "\n").trim_end_matches("Options:").trim_end())
}

/// The part of a help on what every command takes.
fn everywhere(help: &str) -> String {
    let part = help.split_once("Everywhere:\n").expect("every command takes something").1;
    let end =
        ["\nExamples:", "\nExit status"].iter().filter_map(|end| part.find(end)).min().unwrap_or(part.len());
    format!("Everywhere:\n{}", &part[..end])
}

fn is_table(key: &Key) -> bool {
    key.example.starts_with('[')
}

/// The keys of a table of profiles; of the top for an empty name.
fn keys(table: &str) -> String {
    let defaults = Profile::parse("least", Path::new("least.toml"), LEAST).unwrap();
    let mut out = "| key | takes | default | for example |\n|---|---|---|---|\n".to_owned();
    for key in KEYS.iter().filter(|key| !is_table(key)) {
        let (of, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if of != table {
            continue;
        }
        let default = match key.presence {
            Presence::Optional => default_of(key.path, &defaults),
            Presence::Required if name.contains('.') => "required in its table".to_owned(),
            Presence::Required => "required".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | `{}` |",
            name.replace('*', "NAME"),
            key.takes,
            key.example
        );
    }
    assert!(out.lines().count() > 2, "there is no table `{table}`");
    out
}

const LEAST: &str =
    "service = 'vllm'\n[model]\nrepo = 'owner/name'\nserved-name = 'name'\n[runtime]\nvllm = '0.26.0'\n";

/// Whether a baseline is required where the profile names one, and says no more of it.
fn required(least: &str) -> bool {
    let text = format!("{least}[validation.baseline]\nprofile = 'gptq'\nmin-ratio = 0.85\n");
    let profile = Profile::parse("least", Path::new("least.toml"), &text).unwrap();
    profile.gates().baseline.as_ref().unwrap().required
}

/// The default of a key.
fn default_of(path: &str, least: &Profile) -> String {
    let (limits, gates, timeouts) = (least.limits(), least.gates(), least.timeouts());
    let minutes = |time: std::time::Duration| format!("`\"{}min\"`", time.as_secs() / 60);
    match path {
        "model.revision" => format!("`\"{}\"`", least.model().revision),
        "model.path" if least.model().path.is_none() => "none".to_owned(),
        "model.signed-by" if least.model().signed_by.is_none() => "none".to_owned(),
        "runtime.device" if least.runtime().device == Device::Cuda => "`\"cuda\"`".to_owned(),
        "runtime.python" if least.runtime().python == Python::Locked => "none".to_owned(),
        "model.alternatives" if least.model().alternatives.is_empty() => "none".to_owned(),
        "model.verify-at-start" if least.model().verify_at_start == VerifyAtStart::Memo => {
            "`\"memo\"`".to_owned()
        }
        "listen.host" => format!("`\"{}\"`", least.listen().host),
        "listen.port" => format!("`{}`", least.listen().port),
        "parallelism.tensor-parallel-size" if least.tensor_parallel() == Parallel::Auto => {
            "`\"auto\"`".to_owned()
        }
        "parallelism.pipeline-parallel-size" if least.pipeline_parallel() == Parallel::Auto => {
            "`\"auto\"`".to_owned()
        }
        "parallelism.gpus" if least.gpus().is_empty() => "those that serve best".to_owned(),
        "watch.minutes" => format!("`{}`", least.watch().minutes),
        "watch.max-ttft" if least.watch().max_ttft.is_none() => "none".to_owned(),
        "watch.every" => format!("`\"{}s\"`", least.watch().every.as_secs()),
        "memory.gpu" if least.memory().gpu.is_none() => "what each GPU has".to_owned(),
        "memory.ram" if least.memory().ram.is_none() => "what the host has; no limit".to_owned(),
        "memory.gpu-memory-utilization" => format!("`{}`", least.memory().gpu_memory_utilization),
        "memory.offload" if least.memory().offload == Offload::Auto => "`\"auto\"`".to_owned(),
        "limits.max-model-len" => format!("`{}`", limits.max_model_len),
        "limits.max-num-seqs" => format!("`{}`", limits.max_num_seqs),
        "limits.max-num-batched-tokens" => format!("`{}`", limits.max_num_batched_tokens),
        "vllm.arguments" if least.arguments().words().is_empty() => "none".to_owned(),
        "vllm.environment.*" if least.environment().is_empty() => "none".to_owned(),
        "secrets.api-key-file" | "secrets.hub-token-file" if least.secrets().is_empty() => "none".to_owned(),
        "timeouts.start" => minutes(timeouts.start),
        "timeouts.request" => minutes(timeouts.request),
        "validation.min-decode-tokens-per-second" => format!("`{:?}`", gates.min_decode_tokens_per_second),
        "validation.output-tokens" => format!("`{}`", gates.output_tokens),
        "validation.repetitions" => format!("`{}`", gates.repetitions),
        "validation.warmups" => format!("`{}`", gates.warmups),
        "validation.baseline.required" => format!("`{}`", required(LEAST)),
        "validation.quality.max-perplexity-ratio" if gates.max_perplexity_ratio.is_none() => {
            "none".to_owned()
        }
        "validation.quality.max-cut-answers" => format!("`{:?}`", gates.quality.max_cut_answers),
        "validation.quality.max-divergence" if gates.quality.max_divergence.is_none() => "none".to_owned(),
        "validation.quality.max-divergence-same-weights" => {
            format!("`{:?}`", gates.quality.max_divergence_same_weights)
        }
        "validation.quality.required" => format!("`{}`", gates.quality.required),
        "validation.sweep.prompt-tokens" => format!("`{:?}`", gates.sweep.prompt_tokens),
        "validation.sweep.concurrency" => format!("`{:?}`", gates.sweep.concurrency),
        "validation.sweep.time" => minutes(gates.sweep.time),
        "validation.arrivals.time" => "`\"1min\"`".to_owned(),
        path if path.starts_with("validation.arrivals.") && gates.arrivals.is_none() => "none".to_owned(),
        "tolerances.weights" => format!("`{}`", least.tolerances().weights),
        "tolerances.offload" => format!("`{}`", least.tolerances().offload),
        "tolerances.kv-cache" => format!("`{}`", least.tolerances().kv_cache),
        "tolerances.vram" => format!("`{}`", least.tolerances().vram),
        "tolerances.ram" => format!("`{}`", least.tolerances().ram),
        path => panic!("what is the default of `{path}`?"),
    }
}

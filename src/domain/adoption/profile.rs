//! Writes the profile of an adopted server, as a text for people to read and go on with.

use super::command_line::Reading;
use crate::domain::{
    profile::{Device, QualityLimits},
    size::ByteSize,
    spelling::toml_string,
};
use std::{
    fmt::{Display, Write as _},
    path::Path,
};

/// The first words of the text. A profile that begins otherwise is a person's own.
const HEAD: &str = "# Written by `awqdeploy adopt`";

/// Whether an adoption wrote this profile, and may write it again.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// The values of a profile that the command line does not have.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The unit or process of the server, for people.
    pub found: &'a str,
    /// The systemd unit's name without suffix.
    pub service: &'a str,
    /// `owner/name`.
    pub repo: &'a str,
    /// The folder of the files.
    pub folder: &'a Path,
    /// vLLM's version.
    pub vllm: &'a str,
    /// The device that it computes on.
    pub device: Device,
    /// The interpreter.
    pub python: &'a Path,
    /// The context that the running server says it has.
    pub max_model_len: Option<u32>,
    /// The floor of the decode rate, tokens/s.
    pub floor: f64,
    /// The least share of the known answers, where questions are asked.
    pub known_answers: Option<f64>,
    /// The share of answers that the limit of their tokens cut off, where questions are asked.
    pub cut_answers: Option<f64>,
}

/// The text of the profile.
pub fn write(reading: &Reading, terms: &Terms<'_>) -> String {
    let mut out = format!(
        "{HEAD} from {found}. Generation 1 runs that command line word for word;\n\
         # a deployment of this profile runs what the plan makes of these values.\n\
         # `awqdeploy diff 1 PROFILE` shows where the two differ.\n\n\
         service = {service}\n\n[model]\nrepo = {repo}\n",
        found = terms.found,
        service = toml_string(terms.service),
        repo = toml_string(terms.repo)
    );
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(out, "{key} = {value}");
    };
    if let Some(revision) = &reading.revision {
        line("revision", &toml_string(revision));
    }
    line("path", &toml_string(&terms.folder.display().to_string()));
    line("served-name", &toml_string(reading.served_names.first().map_or("", String::as_str)));
    line("\n[runtime]\nvllm", &toml_string(terms.vllm));
    line("device", &toml_string(if terms.device == Device::Cuda { "cuda" } else { "cpu" }));
    line(
        "# Nobody keeps this one as it is. Without this line, the lock in `runtimes/` decides.\npython",
        &toml_string(&terms.python.display().to_string()),
    );
    line("\n[listen]\nhost", &toml_string(&reading.listen.host.to_string()));
    line("port", &reading.listen.port);
    line("\n[parallelism]\ntensor-parallel-size", &reading.tensor_parallel_size);
    if reading.pipeline_parallel_size > 1 {
        line("pipeline-parallel-size", &reading.pipeline_parallel_size);
    }
    line("\n[memory]\noffload", &toml_string(&offload(reading.offload)));
    if let Some(share) = reading.gpu_memory_utilization {
        line("gpu-memory-utilization", &format_args!("{share:?}"));
    }
    limits(&mut out, reading, terms);
    let others: Vec<String> = reading.others.iter().map(|word| toml_string(word)).collect();
    let _ = writeln!(out, "\n[vllm]\narguments = [{}]", others.join(", "));
    out.push_str("\n[vllm.environment]\n");
    for (name, value) in &reading.environment {
        let _ = writeln!(out, "{name} = {}", toml_string(value));
    }
    let _ = writeln!(
        out,
        "\n# What it showed when it was adopted, less a margin.\n[validation]\nmin-decode-tokens-per-second = {:?}",
        terms.floor
    );
    if let Some(share) = terms.known_answers {
        let _ = writeln!(out, "\n[validation.quality]\nmin-known-answers = {share:?}");
        if terms.cut_answers.is_some_and(|cut| cut > QualityLimits::default().max_cut_answers) {
            out.push_str("# It answers at length, or thinks first.\nmax-cut-answers = 1.0\n");
        }
    }
    out
}

fn limits(out: &mut String, reading: &Reading, terms: &Terms<'_>) {
    out.push_str("\n[limits]\n");
    let mut limit = |key: &str, value: Option<u32>| match value {
        Some(value) => {
            let _ = writeln!(out, "{key} = {value}");
        }
        None => {
            let _ = writeln!(out, "# The command line does not say `{key}`: the profile's default applies.");
        }
    };
    limit("max-model-len", reading.max_model_len.or(terms.max_model_len));
    limit("max-num-seqs", reading.max_num_seqs);
    limit("max-num-batched-tokens", reading.max_num_batched_tokens);
}

fn offload(size: ByteSize) -> String {
    match size.0 >> 20 {
        0 => "none".to_owned(),
        mebibytes => format!("{mebibytes}MiB"),
    }
}

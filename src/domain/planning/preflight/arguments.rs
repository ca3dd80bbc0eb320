//! Checks the flags of a profile: what the pinned vLLM knows, what the checkpoint says itself, and what every server must
//! answer.

use crate::domain::{
    checkpoint::{Checkpoint, config},
    findings::refusal::Refusal,
    vllm::{
        flags::{self, Argument, Knowledge},
        version::Version,
    },
};

/// Refuses flags with which a server does not answer what a validation asks.
pub(crate) fn answers(argument: &Argument) -> Result<(), Refusal> {
    let Some(value) = argument.value.as_deref() else { return Ok(()) };
    let why = match (argument.name.as_str(), value) {
        ("--max-logprobs", "0") => "it then answers no probabilities of tokens",
        ("--runner", "pooling" | "draft") => "it then answers no text",
        ("--task", task) if !["auto", "generate"].contains(&task) => "it then answers no text",
        _ => return Ok(()),
    };
    Err(Refusal::new(
        "answers-not-validated",
        format!("`{} {value}`: {why}, and validation asks for it", argument.written),
        "remove it from `vllm.arguments`",
    ))
}

/// vLLM looks for the files of the first tools only where it is told what is in them.
pub(crate) fn named_in_old_file(arguments: &[Argument], checkpoint: &Checkpoint) -> Result<(), Refusal> {
    let Some(stored) = &checkpoint.quantization else { return Ok(()) };
    let Some(file) = stored.file.as_ref().filter(|file| config::OLD.contains(&file.as_str())) else {
        return Ok(());
    };
    if arguments.iter().any(|argument| argument.name == "--quantization") {
        return Ok(());
    }
    Err(Refusal::new(
        "quantization-not-named",
        format!("only `{file}` says that the checkpoint is quantised, and vLLM does not read it by itself"),
        format!("add `--quantization` `{}` to `vllm.arguments`", stored.method),
    ))
}

pub(crate) fn known(argument: &Argument, version: Version) -> Result<(), Refusal> {
    if !flags::covers(version) {
        return Ok(());
    }
    let written = &argument.written;
    let (message, help) = match flags::knowledge(argument, version) {
        Knowledge::Known => return Ok(()),
        Knowledge::Gone { since, instead } => (
            format!("vLLM `{version}` does not know `{written}`: it is gone since {since}"),
            instead.unwrap_or("remove it from `vllm.arguments`").to_owned(),
        ),
        Knowledge::NotYet { since } => (
            format!("vLLM `{version}` does not know `{written}`: it came with {since}"),
            format!("remove it from `vllm.arguments`, or pin `runtime.vllm` to {since} or later"),
        ),
        Knowledge::Unknown { like } => (
            format!("vLLM `{version}` does not know `{written}`"),
            like.map_or_else(
                || "remove it from `vllm.arguments`".to_owned(),
                |like| format!("did you mean `{like}`?"),
            ),
        ),
    };
    Err(Refusal::new("unknown-vllm-flag", message, help))
}

/// Refuses a `--quantization` that differs from what `config.json` names, as vLLM does.
pub(crate) fn quantization(argument: &Argument, checkpoint: &Checkpoint) -> Result<(), Refusal> {
    let (Some(stored), Some(wanted)) = (&checkpoint.quantization, &argument.value) else {
        return Ok(());
    };
    if argument.name != "--quantization" {
        return Ok(());
    }
    let spelled = wanted.to_lowercase().replace('_', "-");
    let method = stored.method.as_str();
    let same = spelled == method
        || match method {
            "awq" => ["awq-marlin", "auto-awq", "moe-wna16"].contains(&spelled.as_str()),
            "gptq" => ["gptq-marlin", "auto-gptq", "moe-wna16"].contains(&spelled.as_str()),
            "auto-round" | "inc" => ["auto-round", "inc"].contains(&spelled.as_str()),
            _ if method.starts_with("modelopt") => spelled.starts_with("modelopt"),
            _ => false,
        };
    if same {
        return Ok(());
    }
    Err(Refusal::new(
        "quantization-argument",
        format!("the checkpoint is stored as `{method}`, and vLLM refuses `--quantization {wanted}` for it"),
        "remove `--quantization` from `vllm.arguments`: vLLM reads the method from `config.json`",
    ))
}

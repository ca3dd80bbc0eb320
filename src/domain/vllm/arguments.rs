//! An argument list of `vllm serve`, read once: everything that asks about it asks this.

use super::{
    flags::{self, Argument},
    overrides,
    settings::EngineSettings,
};
use std::collections::BTreeMap;

/// The words of an argument list, and what they say.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    words: Vec<String>,
    flags: Vec<Argument>,
    settings: EngineSettings,
    overrides: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads these words. None is refused here: a profile's rules and the checks before a deployment do that.
    pub fn of(words: &[String]) -> Self {
        let flags = flags::arguments(words);
        Self {
            settings: EngineSettings::of(&flags),
            overrides: overrides::of(&flags),
            words: words.to_vec(),
            flags,
        }
    }

    /// The words as they were written.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The flags in their order.
    pub fn flags(&self) -> &[Argument] {
        &self.flags
    }

    /// The memory settings.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The changes to `config.json`, in JSON, by key.
    pub fn overrides(&self) -> &BTreeMap<String, String> {
        &self.overrides
    }

    /// The value of this flag. Of a flag that comes twice the last one counts, as for vLLM.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rfind(|argument| argument.name == name)?.value.as_deref()
    }

    /// Whether this switch is on: `--x`, or off: `--no-x`. Absent where neither is written.
    pub fn switch(&self, name: &str) -> Option<bool> {
        let this = |argument: &&Argument| {
            let positive = argument.name.strip_prefix("--no-").or_else(|| argument.name.strip_prefix("--"));
            positive.is_some_and(|positive| positive == name)
        };
        self.flags.iter().rfind(this).map(|argument| !argument.name.starts_with("--no-"))
    }

    /// The argument, as it was written, with which vLLM uses no CUDA graphs.
    pub fn without_graphs(&self) -> Option<&str> {
        let eager = |argument: &&Argument| match (argument.name.as_str(), argument.value.as_deref()) {
            ("--enforce-eager", value) => value.is_none_or(|value| !value.eq_ignore_ascii_case("false")),
            ("-O", value) => argument.written == "-O0" || value == Some("0"),
            ("--optimization-level", value) => value == Some("0"),
            _ => false,
        };
        self.flags.iter().find(eager).map(|argument| argument.written.as_str())
    }
}

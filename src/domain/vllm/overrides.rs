//! Reads what a command line changes of a model's `config.json`.

use super::{fields, flags::Argument};
use std::collections::BTreeMap;

/// The flag whose value is an object of changes, or whose name leads to one of them: `--hf-overrides.vocab_size 5`.
const OVERRIDES: &str = "--hf-overrides";
/// Older flags for one key each.
const OF_ONE_KEY: [(&str, &str); 2] = [("--rope-scaling", "rope_scaling"), ("--rope-theta", "rope_theta")];

/// The changes, in JSON, by key. What cannot be understood changes nothing here; vLLM refuses it.
pub(super) fn of(arguments: &[Argument]) -> BTreeMap<String, String> {
    let mut changes = fields::object(arguments, &[OVERRIDES]).unwrap_or_default();
    for (flag, key) in OF_ONE_KEY {
        let last = || arguments.iter().rfind(|argument| argument.name == flag)?.value.as_deref();
        let whole = fields::object(arguments, &[flag]).map(Into::into);
        if let Some(value) = whole.or_else(|| last().map(fields::read)) {
            changes.insert(key.to_owned(), value);
        }
    }
    changes.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

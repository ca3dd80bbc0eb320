//! Reads what a command line changes of a model's `config.json`.

use super::flags::Argument;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The flag whose value is an object of changes, or whose name leads to one of them: `--hf-overrides.vocab_size 5`.
const OVERRIDES: &str = "--hf-overrides";
/// Older flags for one key each.
const OF_ONE_KEY: [(&str, &str); 2] = [("--rope-scaling", "rope_scaling"), ("--rope-theta", "rope_theta")];

/// The changes, in JSON, by key. What cannot be understood changes nothing here; vLLM refuses it.
pub(super) fn of(arguments: &[Argument]) -> BTreeMap<String, String> {
    let mut changes = Map::new();
    for argument in arguments {
        let Some(value) = argument.value.as_deref() else { continue };
        let value = || serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        if let Some((_, key)) = OF_ONE_KEY.iter().find(|(flag, _)| *flag == argument.name) {
            changes.insert((*key).to_owned(), value());
        } else if argument.name == OVERRIDES {
            match argument.written.split_once('.') {
                Some((_, path)) => put(&mut changes, path, value()),
                None => changes.extend(value().as_object().cloned().unwrap_or_default()),
            }
        }
    }
    changes.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// Puts a value at `a.b.c`.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

//! Makes the object of a flag with a JSON value: `--x '{"a": 1}'`, or field by field, `--x.a 1 --x.b.c+ 2`.

use super::{flags::Argument, numbers};
use serde_json::{Map, Value, map::Entry};

/// The object that vLLM makes of the flag with one of these names: its fields where some are named alone, else the last
/// whole one. Absent where there is neither, or what is there cannot be understood.
pub(super) fn object(arguments: &[Argument], names: &[&str]) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    let mut whole = None;
    for argument in arguments.iter().filter(|argument| names.contains(&argument.name.as_str())) {
        let Some(value) = argument.value.as_deref() else { continue };
        match argument.written.split_once('.') {
            Some((_, path)) => match path.strip_suffix('+') {
                Some(path) => put(&mut fields, path, value.split(',').map(Value::from).collect()),
                None => put(&mut fields, path, read(value)),
            },
            None => whole = serde_json::from_str(value).ok(),
        }
    }
    Some(fields).filter(|fields| !fields.is_empty()).or(whole)
}

/// JSON, a number such as `80g`, or else text.
pub(super) fn read(value: &str) -> Value {
    let number = || numbers::number(value).map(Value::from);
    serde_json::from_str(value).ok().or_else(number).unwrap_or_else(|| value.into())
}

/// Puts a value at `a.b.c`. Lists grow; whatever else is there gives way.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        match (object.entry(path), value) {
            (Entry::Occupied(mut there), Value::Array(more)) if there.get().is_array() => {
                there.get_mut().as_array_mut().into_iter().for_each(|list| list.extend(more.iter().cloned()));
            }
            (Entry::Occupied(mut there), value) => drop(there.insert(value)),
            (Entry::Vacant(free), value) => drop(free.insert(value)),
        }
        return;
    };
    let inner = object.entry(first).or_insert(Value::Null);
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Some(inner) = inner.as_object_mut() {
        put(inner, rest, value);
    }
}

//! The shape of answers: the fields and their types, without the contents. A client that worked yesterday
//! works today if no field went and none changed its type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fields whose own fields are data: tokens, by their text or number.
const MAPS: [&str; 2] = ["top_logprobs", "prompt_logprobs"];

/// The type of a value, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Type {
    /// `null`: there is none now.
    Null,
    /// `true` or `false`.
    Bool,
    /// Any number.
    Number,
    /// A text.
    String,
    /// A list.
    Array,
    /// Named fields.
    Object,
}

/// The types that each field was seen with, by its path: `choices[].message.content`.
pub(crate) type ResponseShape = BTreeMap<String, BTreeSet<Type>>;

/// The shape of each kind of answer, by the name of its check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "Shapes")]
pub struct ResponseShapes(pub(crate) BTreeMap<String, ResponseShape>);

/// The differences between two shapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What breaks clients: fields that are gone, or of another type.
    pub breaking: Vec<String>,
    /// Fields that are new.
    pub added: Vec<String>,
}

impl ResponseShapes {
    /// Records the fields of an answer of this kind. Several answers make one shape.
    pub fn see(&mut self, kind: &str, answer: &Value) {
        note(answer, "", self.0.entry(kind.to_owned()).or_default());
    }

    /// The differences from `before`, in the kinds of answers that both have.
    pub fn changes_from(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for (kind, old) in &before.0 {
            let Some(new) = self.0.get(kind) else { continue };
            for (path, types) in old {
                let is_set = types.iter().any(|of| *of != Type::Null);
                match new.get(path) {
                    // A field that was never set cannot be missed.
                    None if is_set && !below_another(path, old, new) => {
                        changes.breaking.push(format!("`{path}` is gone from `{kind}`"));
                    }
                    Some(now) if is_set && retyped(types, now) => changes.breaking.push(format!(
                        "`{path}` of `{kind}` is {} where it was {}",
                        list(now),
                        list(types)
                    )),
                    _ => {}
                }
            }
            let added = new.keys().filter(|path| !old.contains_key(*path));
            changes.added.extend(added.map(|path| format!("`{path}` in `{kind}`")));
        }
        changes
    }
}

/// Whether a field is gone only because its parent is empty now: the parent's own check sees to that.
fn below_another(path: &str, old: &ResponseShape, new: &ResponseShape) -> bool {
    let parents = path.match_indices(['.', '[']).map(|(end, _)| &path[..end]);
    parents.into_iter().any(|parent| {
        let empty = |types: &BTreeSet<Type>| types.contains(&Type::Null) || types.contains(&Type::Array);
        !parent.is_empty()
            && old.contains_key(parent)
            && new
                .get(parent)
                .is_some_and(|types| empty(types) && !new.keys().any(|other| is_below(other, parent)))
    })
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Whether the types have nothing in common. No types at all have everything in common.
fn retyped(before: &BTreeSet<Type>, now: &BTreeSet<Type>) -> bool {
    let set = |types: &BTreeSet<Type>| types.iter().copied().filter(|of| *of != Type::Null).collect();
    let (before, now): (BTreeSet<Type>, BTreeSet<Type>) = (set(before), set(now));
    !now.is_empty() && before.is_disjoint(&now)
}

fn list(types: &BTreeSet<Type>) -> String {
    types.iter().map(|of| format!("{of:?}").to_lowercase()).collect::<Vec<_>>().join(" or ")
}

fn note(value: &Value, path: &str, shape: &mut ResponseShape) {
    let of = match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(_) => Type::Number,
        Value::String(_) => Type::String,
        Value::Array(_) => Type::Array,
        Value::Object(_) => Type::Object,
    };
    if !path.is_empty() {
        shape.entry(path.to_owned()).or_default().insert(of);
    }
    if MAPS.iter().any(|map| path.ends_with(map)) {
        return;
    }
    match value {
        Value::Array(values) => {
            for value in values {
                note(value, &format!("{path}[]"), shape);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                note(value, &format!("{path}{dot}{field}"), shape);
            }
        }
        _ => {}
    }
}

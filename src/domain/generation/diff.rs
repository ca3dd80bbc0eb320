//! Compares two deployments, part by part.

use crate::domain::{digest::Sha256Digest, lockfile::LockedFile, planning::plan::Plan, size::ByteSize};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use std::{collections::BTreeMap, path::PathBuf};

/// Unchanged lines that are shown around changed ones.
const CONTEXT: usize = 1;

/// One of two deployments that are compared.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// The plan.
    pub(crate) plan: Plan,
    /// The files of the model, by path. Absent where they are not locked.
    pub(crate) files: Option<BTreeMap<PathBuf, (ByteSize, Sha256Digest)>>,
    /// The packages of the runtime with their versions. Absent where they are not known.
    pub(crate) packages: Option<BTreeMap<String, String>>,
}

/// A part in which the two differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Section {
    /// `command`, `environment`, `model`, `files`, `runtime`, `memory`, `gates` or `unit`.
    pub part: &'static str,
    /// The lines in the order of the text, without those far from any change.
    pub lines: Vec<Line>,
}

/// A line of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// `removed`, `added` or `same`.
    pub is: Change,
    /// The line.
    pub text: String,
}

/// Which of the two deployments has a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Is")]
pub enum Change {
    /// Only the first.
    Removed,
    /// Only the second.
    Added,
    /// Both.
    Same,
}

impl Side {
    /// The files that a lock lists, by path.
    pub(crate) fn files_of(files: &[LockedFile]) -> BTreeMap<PathBuf, (ByteSize, Sha256Digest)> {
        files.iter().map(|file| (file.path.clone(), (file.size, file.sha256))).collect()
    }

    fn parts(&self) -> [(&'static str, String); 8] {
        let plan = &self.plan;
        let files = self.files.as_ref().map_or_else(
            || "not locked\n".to_owned(),
            |files| {
                lines(
                    files.iter().map(|(path, (size, sha256))| format!("{} {size} {sha256}", path.display())),
                )
            },
        );
        let packages = self.packages.as_ref().map_or_else(
            || "packages not known\n".to_owned(),
            |packages| lines(packages.iter().map(|(name, version)| format!("{name} {version}"))),
        );
        let model = &plan.model;
        let gates = serde_json::to_value((&plan.gates, plan.timeouts)).unwrap_or_default();
        [
            ("command", lines(options(&plan.serve.argv))),
            ("environment", lines(plan.serve.env.iter().map(|(name, value)| format!("{name}={value}")))),
            (
                "model",
                lines([
                    format!("repo {}", model.repo),
                    format!("revision {}", model.revision),
                    format!("served as {}", model.served_name),
                ]),
            ),
            ("files", files),
            ("runtime", format!("vLLM {}\n{packages}", plan.runtime.vllm)),
            ("memory", flat(&sized(serde_json::to_value(&plan.memory).unwrap_or_default()))),
            ("gates", flat(&gates)),
            ("unit", plan.unit.clone()),
        ]
    }
}

/// The parts in which two deployments differ.
pub(crate) fn between(one: &Side, other: &Side) -> Vec<Section> {
    let pairs = one.parts().into_iter().zip(other.parts());
    pairs
        .filter(|((_, one), (_, other))| one != other)
        .map(|((part, one), (_, other))| section(part, &one, &other))
        .collect()
}

fn section(part: &'static str, one: &str, other: &str) -> Section {
    let diff = TextDiff::from_lines(one, other);
    let groups = diff.grouped_ops(CONTEXT);
    let changes = groups.iter().flatten().flat_map(|op| diff.iter_changes(op));
    let line = |change: similar::Change<&str>| Line {
        is: match change.tag() {
            ChangeTag::Delete => Change::Removed,
            ChangeTag::Insert => Change::Added,
            ChangeTag::Equal => Change::Same,
        },
        text: change.value().trim_end_matches('\n').to_owned(),
    };
    Section { part, lines: changes.map(line).collect() }
}

/// The program with what leads to its flags, then a flag with its values a line.
fn options(argv: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in argv {
        match lines.last_mut() {
            Some(line) if !crate::domain::vllm::flags::is_flag(word) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

/// Writes sizes as people read them. What is counted in tokens or GPUs is no size.
fn sized(value: Value) -> Value {
    const COUNTED: [&str; 4] = ["tokens", "size", "context", "batch"];
    let Value::Object(fields) = value else { return value };
    let sized = |(name, value): (String, Value)| {
        let counted = COUNTED.iter().any(|word| name.ends_with(word));
        let bytes = value.as_u64().filter(|bytes| !counted && *bytes >= 1 << 20);
        let shown = bytes.map_or(value, |bytes| Value::String(ByteSize(bytes).to_string()));
        (name, shown)
    };
    Value::Object(fields.into_iter().map(sized).collect())
}

/// A value as lines `path = value`.
fn flat(value: &Value) -> String {
    fn walk(path: &str, value: &Value, out: &mut Vec<String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&below(name), value, out)),
            // The parts of a pair need no number: their fields have names.
            Value::Array(values) => values.iter().for_each(|value| walk(path, value, out)),
            Value::String(text) => out.push(format!("{path} = {text}")),
            value => out.push(format!("{path} = {value}")),
        }
    }
    let mut out = Vec::new();
    walk("", value, &mut out);
    lines(out)
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

//! The file of `vllm serve --config FILE`, as the words that vLLM makes of it.

use crate::domain::{
    problem::{Kind, Problem},
    vllm::{flags::has_negation, version::Version},
};
use serde_json::Value;

const CONFIG: &str = "--config";
const MODEL: &str = "--model";
const HELP: &str = "start it with its flags on the command line, and adopt it then";

/// The first version that puts a switch off for `false`. Before it the key counted for nothing.
const FALSE_COUNTS: Version = Version::new(0, 28, 0);

/// The file that these words name, if they name one. vLLM takes `--config=FILE` and does not read it.
pub fn named(argv: &[String]) -> Option<&str> {
    let at = argv.iter().position(|word| word == CONFIG)?;
    argv.get(at + 1).map(String::as_str)
}

/// The command line with the words of the file in place of its name: before all other flags, so that what
/// stands on the command line counts, as for vLLM of this `version`.
///
/// # Errors
/// [`Kind::Refused`] for what is no flat list of keys and values.
pub fn expanded(argv: &[String], text: &str, version: Option<Version>) -> Result<Vec<String>, Problem> {
    let mut words: Vec<String> = Vec::new();
    let mut skip = false;
    for word in argv {
        match word.as_str() {
            _ if std::mem::take(&mut skip) => {}
            CONFIG => skip = true,
            word => words.push(word.to_owned()),
        }
    }
    // After `serve`, or the old module, and after the model where it stands first.
    let start = super::command_line::arguments_at(&words).unwrap_or(words.len());
    let first = words.get(start).is_some_and(|word| !word.starts_with('-'));
    let names = |word: &String| word == MODEL || word.starts_with("--model=");
    let model = if first || words.iter().any(names) { Model::OnTheCommandLine } else { Model::InTheFile };
    let start = start + usize::from(first);
    let more = flags(text, version, model)?;
    words.splice(start..start, more);
    Ok(words)
}

/// Where a model is named that counts before the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    OnTheCommandLine,
    InTheFile,
}

/// The words of the file: `true` is the flag alone, `false` its negation, a list several values, an object JSON.
fn flags(text: &str, version: Option<Version>, model: Model) -> Result<Vec<String>, Problem> {
    let unusable = |why: String| {
        Problem::new(Kind::Refused, "the file that `--config` names cannot be read").because(why).help(HELP)
    };
    let read: Value = serde_yaml_ng::from_str(&as_yaml_1_1(text)).map_err(|e| unusable(e.to_string()))?;
    let keys = match read {
        Value::Object(keys) => keys,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(unusable("it is no list of keys with values".to_owned())),
    };
    let mut words = Vec::new();
    for (key, value) in keys {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            Value::Null => {}
            _ if flag == MODEL && model == Model::OnTheCommandLine => {}
            Value::Bool(true) => words.push(flag),
            Value::Bool(false) if version.is_some_and(|version| version < FALSE_COUNTS) => {}
            Value::Bool(false) if !has_negation(&flag) => {}
            Value::Bool(false) => words.push(flag.replacen("--", "--no-", 1)),
            Value::Array(values) if values.is_empty() => {}
            Value::Array(values) => {
                words.push(flag);
                words.extend(values.into_iter().map(word));
            }
            value => words.extend([flag, word(value)]),
        }
    }
    Ok(words)
}

/// The words that YAML 1.1 takes for `true` and `false`, as Python's `yaml` reads them and YAML 1.2 does not.
const TRUE: [&str; 6] = ["yes", "Yes", "YES", "on", "On", "ON"];
const FALSE: [&str; 6] = ["no", "No", "NO", "off", "Off", "OFF"];

/// The text with the booleans of YAML 1.1 as those of YAML 1.2: where they stand alone and unquoted, as the value of a
/// key or of a list. Text in blocks stays as it is.
fn as_yaml_1_1(text: &str) -> String {
    let mut block: Option<usize> = None;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if block.is_some_and(|of| indent > of || line.trim().is_empty()) {
            lines.push(line.to_owned());
            continue;
        }
        block = None;
        let bare = line.find(" #").map_or(line, |comment| &line[..comment]).trim_end();
        let at = bare.rfind(": ").map(|at| at + 2).or_else(|| bare.rfind("- ").map(|at| at + 2));
        let value = at.map_or("", |at| bare[at..].trim());
        if value.starts_with(['|', '>']) {
            block = Some(indent);
        }
        let boolean = if TRUE.contains(&value) {
            "true"
        } else if FALSE.contains(&value) {
            "false"
        } else {
            lines.push(line.to_owned());
            continue;
        };
        lines.push(format!("{}{boolean}", &bare[..bare.len() - value.len()]));
    }
    lines.join("\n")
}

fn word(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

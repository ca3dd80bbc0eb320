//! The files that a command line names: below which folder they are meant, and which a service cannot see.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Flags whose value is a file or folder.
const PATHS: [&str; 11] = [
    "--tool-parser-plugin",
    "--reasoning-parser-plugin",
    "--hf-config-path",
    "--log-config-file",
    "--logging-config",
    "--ssl-keyfile",
    "--ssl-certfile",
    "--ssl-ca-certs",
    "--mm-encoder-fp8-scale-path",
    "--fault-tolerance-config",
    "--watchdog-config",
];
/// Flags whose value may be a file, or something else.
const PERHAPS: [&str; 3] = ["--chat-template", "--tokenizer", "--generation-config"];
/// Flags whose values are `NAME=PATH`, or JSON with a `path`.
const NAMED: [&str; 2] = ["--lora-modules", "--default-mm-loras"];
/// Flags whose value is JSON with a `model`.
const DRAFTS: [&str; 2] = ["--speculative-config", "-sc"];
/// The flag whose value is a draft model itself.
const DRAFT: &str = "--spec-model";

/// One value of a flag, with the path in it made absolute, and that path. Nothing where it names none. `there` tells
/// whether a path exists.
pub(super) fn absolute(
    flag: &str,
    field: Option<&str>,
    value: &str,
    directory: &Path,
    there: &dyn Fn(&Path) -> bool,
) -> Option<(String, PathBuf)> {
    let at = |path: &str| directory.join(path.strip_prefix("./").unwrap_or(path));
    let whole = |path: &str| {
        let path = at(path);
        Some((path.display().to_string(), path))
    };
    let is_path = |text: &str| {
        !text.contains(['{', '\n'])
            && (Path::new(text).is_absolute() || text.starts_with('.') || there(&at(text)))
    };
    match flag {
        _ if PATHS.contains(&flag) && !value.starts_with('{') => whole(value),
        _ if PERHAPS.contains(&flag)
            && (is_path(value) || Path::new(value).extension().is_some_and(|kind| kind == "jinja")) =>
        {
            whole(value)
        }
        _ if is_draft(flag, field) => is_path(value).then(|| whole(value))?,
        _ if DRAFTS.contains(&flag) => in_json(value, "model", &is_path, &at),
        _ if NAMED.contains(&flag) => in_json(value, "path", &is_path, &at).or_else(|| {
            let (name, path) = value.split_once('=').filter(|(_, path)| is_path(path))?;
            let path = at(path);
            Some((format!("{name}={}", path.display()), path))
        }),
        _ => None,
    }
}

/// Whether a flag's value is a draft model: `--spec-model X`, or one field of a configuration.
fn is_draft(flag: &str, field: Option<&str>) -> bool {
    flag == DRAFT || DRAFTS.contains(&flag) && field == Some("model")
}

/// The repository of an adapter or a draft model that a value names in place of a folder, `OWNER/NAME`: it is read from a
/// cache. A value in which a path was found names none.
pub(super) fn repository(flag: &str, field: Option<&str>, value: &str) -> Option<String> {
    let of = |key: &str| {
        let json: Value = serde_json::from_str(value).ok()?;
        json.get(key)?.as_str().map(str::to_owned)
    };
    let named = match flag {
        _ if is_draft(flag, field) => Some(value.to_owned()),
        _ if DRAFTS.contains(&flag) => of("model"),
        _ if NAMED.contains(&flag) => {
            of("path").or_else(|| value.split_once('=').map(|(_, place)| place.to_owned()))
        }
        _ => None,
    }?;
    let is_name = |part: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    named.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name)).then_some(named)
}

fn in_json(
    value: &str,
    key: &str,
    is_path: &dyn Fn(&str) -> bool,
    at: &dyn Fn(&str) -> PathBuf,
) -> Option<(String, PathBuf)> {
    let mut json: Value = serde_json::from_str(value).ok()?;
    let path = at(json.get(key)?.as_str().filter(|path| is_path(path))?);
    json[key] = Value::String(path.display().to_string());
    Some((json.to_string(), path))
}

/// A folder that the model may have been loaded from.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// The files, behind links.
    pub files: Vec<PathBuf>,
    /// Whether it holds a whole model.
    pub whole: bool,
}

/// Which of these the server has loaded: the one whose files it has open; where none of them is open, the first that holds
/// a whole model. A folder without weights is never a model.
pub fn loaded<'a>(candidates: &'a [Candidate], open: &[PathBuf]) -> Option<&'a Candidate> {
    let is_open =
        |candidate: &&Candidate| candidate.whole && candidate.files.iter().any(|file| open.contains(file));
    candidates.iter().find(is_open).or_else(|| candidates.iter().find(|candidate| candidate.whole))
}

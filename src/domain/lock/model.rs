//! Reading `lock.toml`.

use super::{Lock, LockedFile, LockedModel, VERSION};
use crate::domain::{
    document::{Document, Fault, Key},
    problem::{Kind, Problem},
    profile::rules,
    size::Bytes,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use toml::Spanned;

pub(super) const REMEDY: &str = "undo the last edit: locks are made by the program, not by hand";

static KEYS: &[Key] = &[
    Key::required("version", "the version of this format", "version = 1"),
    Key::optional("models", "a table of locked models", "[models]"),
    Key::optional("models.*", "a locked model", "[models.awq]"),
    Key::required(
        "models.*.repo",
        "a repository as `owner/name`",
        r#"repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit""#,
    ),
    Key::required("models.*.revision", "a branch, tag or commit", r#"revision = "main""#),
    Key::required("models.*.files", "an array of files", "files = [{ path = …, size = …, sha256 = … }]"),
    Key::required("models.*.files.path", "a path below the model's folder", r#"path = "config.json""#),
    Key::required("models.*.files.size", "a number of bytes", "size = 1234"),
    Key::required("models.*.files.sha256", "64 hexadecimal digits", r#"sha256 = "e3b0…""#),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    models: BTreeMap<Spanned<String>, RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    repo: Spanned<String>,
    revision: Spanned<String>,
    files: Spanned<Vec<RawFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: Spanned<String>,
    size: Spanned<i64>,
    sha256: Spanned<String>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Lock, Problem> {
    let document = Document::parse(path, text, KEYS)?;
    known_version(&document, text)?;
    let raw: RawLock = document.read()?;
    let mut models = BTreeMap::new();
    for (name, raw) in raw.models {
        let name = check(&document, name, |name| {
            let what = format!("`{name}` cannot be the name of a profile");
            rules::name(name).map_err(|fault| fault.what(what).help(REMEDY))
        })?;
        models.insert(name, model(&document, raw)?);
    }
    Ok(Lock { models })
}

fn model(document: &Document<'_>, raw: RawModel) -> Result<LockedModel, Problem> {
    let repo = check(document, raw.repo, rules::repo)?;
    let revision = check(document, raw.revision, rules::revision)?;
    let span = raw.files.span();
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for file in raw.files.into_inner() {
        let path = check(document, file.path, |path| unseen(plain_path(path)?, &mut seen))?;
        files.push(LockedFile {
            path: PathBuf::from(path),
            size: check(document, file.size, size)?,
            sha256: check(document, file.sha256, |text| {
                text.parse().map_err(|_| Fault::new("not a SHA-256 digest").help(REMEDY))
            })?,
        });
    }
    tidy(repo, revision, files).map_err(|fault| document.fault(span, fault))
}

/// A model that was not read from a file.
pub(super) fn checked(
    repo: String,
    revision: String,
    files: Vec<LockedFile>,
) -> Result<LockedModel, Problem> {
    let at = |key: &str| {
        let path = format!("models.*.{key}");
        move |fault: Fault| fault.unplaced(KEYS, &path)
    };
    let repo = rules::repo(repo).map_err(at("repo"))?;
    let revision = rules::revision(revision).map_err(at("revision"))?;
    let mut seen = BTreeSet::new();
    for file in &files {
        let path = file.path.to_str().ok_or_else(|| {
            Problem::new(Kind::Usage, format!("`{}` is not a name in UTF-8", file.path.display()))
                .help("rename the file")
        })?;
        plain_path(path.to_owned()).and_then(|path| unseen(path, &mut seen)).map_err(|fault| {
            let what = format!("`{}` cannot be a file of a model", path.escape_debug());
            at("files.path")(fault.what(what))
        })?;
    }
    tidy(repo, revision, files).map_err(at("files"))
}

/// Sorts the files, and refuses what cannot be laid out in a folder.
fn tidy(repo: String, revision: String, mut files: Vec<LockedFile>) -> Result<LockedModel, Fault> {
    if files.is_empty() {
        return Err(Fault::new("a model has files").help("make it anew: `awqdeploy lock PROFILE`"));
    }
    let paths: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let folder = paths.iter().find_map(|path| path.ancestors().skip(1).find(|parent| paths.contains(parent)));
    if let Some(folder) = folder {
        return Err(
            Fault::new(format!("`{}` is a file here, and a folder there", folder.display())).help(REMEDY)
        );
    }
    files.sort_by(|one, other| {
        let bytes = |file: &LockedFile| file.path.as_os_str().as_encoded_bytes().to_vec();
        bytes(one).cmp(&bytes(other))
    });
    Ok(LockedModel { repo, revision, files })
}

/// A lock by a newer program may mean something else by every key: its version is looked at first.
pub(super) fn known_version(document: &Document<'_>, text: &str) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Versioned {
        version: Spanned<i64>,
    }
    // No version, or one of another type: the reading of all keys will say so.
    let Ok(Versioned { version }) = toml::from_str(text) else {
        return Ok(());
    };
    if *version.get_ref() == VERSION {
        return Ok(());
    }
    let fault = Fault::new(format!("this program knows version {VERSION}"))
        .what(format!("the lock is of the unknown version {}", version.get_ref()))
        .help("use the awqdeploy that made it, or make it anew with this one");
    Err(document.fault(version.span(), fault))
}

pub(super) fn check<R, T>(
    document: &Document<'_>,
    raw: Spanned<R>,
    rule: impl FnOnce(R) -> Result<T, Fault>,
) -> Result<T, Problem> {
    let span = raw.span();
    rule(raw.into_inner()).map_err(|fault| document.fault(span, fault))
}

pub(super) fn size(size: i64) -> Result<Bytes, Fault> {
    u64::try_from(size).map(Bytes).map_err(|_| Fault::new("must be at least 0").help(REMEDY))
}

pub(super) fn unseen(text: String, seen: &mut BTreeSet<String>) -> Result<String, Fault> {
    if !seen.insert(text.clone()) {
        return Err(Fault::new("stands twice")
            .what(format!("`{text}` stands twice"))
            .help("keep one of the two"));
    }
    Ok(text)
}

/// Relative, below its folder, and the same text on every system.
fn plain_path(text: String) -> Result<String, Fault> {
    let why = if text.is_empty() {
        "empty"
    } else if text.starts_with('/') {
        "an absolute path"
    } else if text.contains('\\') || text.contains(char::is_control) {
        "contains a character that is no part of a file's name"
    } else if text.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        "has an empty part, `.` or `..`"
    } else {
        return Ok(text);
    };
    Err(Fault::new(why).help(REMEDY))
}

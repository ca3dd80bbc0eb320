//! Compares the `RECORD`s of wheels with each other, and with what was installed.
//!
//! An installer unpacks wheels side by side, in any order: of two that bring the same file with different content one
//! wins by chance. Such a lock is not one environment, and is refused.

use crate::domain::{
    digest::Sha256Digest,
    problem::{Kind, Problem},
    size::ByteSize,
    store::manifest::Entry,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

/// Files that several wheels bring by mistake, and that nothing imports, a name a line. The Nix build reads
/// the same list.
const HARMLESS: &str = include_str!("harmless.txt");
/// The folder of Python's byte code. Each installer makes its own.
const BYTE_CODE: &str = "__pycache__";

/// The entry of a wheel's `RECORD` for one of its files. The `RECORD` itself has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The content.
    pub sha256: Sha256Digest,
    /// The length.
    pub size: ByteSize,
}

/// A file that two wheels bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The path of the file.
    pub path: PathBuf,
    /// The two wheels: `NAME VERSION`.
    pub(crate) wheels: [String; 2],
}

/// Finds the files that two wheels bring with different content. `brought` is the path, the wheel, and
/// whatever tells contents apart. The harmless ones are returned second.
pub fn clashes<T: PartialEq>(
    brought: impl IntoIterator<Item = (PathBuf, String, T)>,
) -> (Vec<Clash>, Vec<PathBuf>) {
    let mut first: BTreeMap<PathBuf, (String, T)> = BTreeMap::new();
    let (mut clashes, mut harmless): (Vec<Clash>, BTreeSet<PathBuf>) = Default::default();
    for (path, wheel, content) in brought {
        match first.get(&path) {
            None => drop(first.insert(path, (wheel, content))),
            Some((_, known)) if *known == content => {}
            Some(_) if is_byte_code(&path) => {}
            Some(_) if is_harmless(&path) => drop(harmless.insert(path)),
            Some((other, _)) => clashes.push(Clash { path, wheels: [other.clone(), wheel] }),
        }
    }
    (clashes, harmless.into_iter().collect())
}

/// Refuses a lock for the first of these, with the remedy.
pub fn refuse(clashes: &[Clash]) -> Result<(), Problem> {
    let Some(Clash { path, wheels: [one, other] }) = clashes.first() else { return Ok(()) };
    let others = match clashes.len() {
        1 => String::new(),
        all => format!(" (and {} more files)", all - 1),
    };
    let name = other.split(' ').next().unwrap_or(other);
    let what =
        format!("`{one}` and `{other}` both bring `{}`, with different content{others}", path.display());
    Err(Problem::new(Kind::Unverified, what).help(format!(
        "which of them would be installed is left to chance; lock versions that go together, for example \
         `--with \"{name}>=VERSION\"`"
    )))
}

/// The path to which an installer unpacks a file of a wheel, from the environment on. Nothing for folders,
/// and for headers, which lie apart for each wheel. `site` is the folder of modules, as
/// `lib/python3.12/site-packages`.
pub fn place(site: &Path, path: &str) -> Option<PathBuf> {
    if path.ends_with('/') {
        return None;
    }
    let data =
        path.split_once('/').filter(|(first, _)| Path::new(first).extension() == Some("data".as_ref()));
    let Some((kind, rest)) = data.and_then(|(_, rest)| rest.split_once('/')) else {
        return plain(&site.join(path));
    };
    match kind {
        "purelib" | "platlib" => plain(&site.join(rest)),
        "scripts" => plain(&Path::new("bin").join(rest)),
        "data" => plain(Path::new(rest)),
        _ => None,
    }
}

/// Reads an installed `RECORD`: paths from the environment on, each with what is said of it. `site` is where the wheel's
/// files are, as `lib/python3.12/site-packages`.
///
/// # Errors
/// [`Kind::Unverified`] where a line is none, or leads out of the environment.
pub fn read(wheel: &str, site: &Path, text: &str) -> Result<BTreeMap<PathBuf, Option<Claim>>, Problem> {
    let wrong = |line: &str| {
        let what =
            format!("the `RECORD` of `{wheel}` has a line that says nothing: `{}`", line.escape_debug());
        Problem::new(Kind::Unverified, what).help("the wheel is broken; lock another version of it")
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| claim(site, line).ok_or_else(|| wrong(line))).collect()
}

fn claim(site: &Path, line: &str) -> Option<(PathBuf, Option<Claim>)> {
    // `PATH,sha256=BASE64,SIZE`; a path with a comma or a quote is quoted, its quotes doubled.
    let (path, rest) = if let Some(quoted) = line.strip_prefix('"') {
        let (path, rest) = quoted.rsplit_once("\",")?;
        (path.replace("\"\"", "\""), rest)
    } else {
        let (path, rest) = line.split_once(',')?;
        (path.to_owned(), rest)
    };
    let path = plain(&site.join(path))?;
    let (hash, length) = rest.split_once(',')?;
    if hash.is_empty() {
        return Some((path, None));
    }
    let bytes: [u8; 32] = BASE64.decode(hash.strip_prefix("sha256=")?).ok()?.try_into().ok()?;
    let sha256 = hex::encode(bytes).parse().ok()?;
    Some((path, Some(Claim { sha256, size: ByteSize(length.trim().parse().ok()?) })))
}

/// The path without `..`; nothing where that leads out.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// Checks an environment against the `RECORD`s of all its wheels: every file is there as recorded, and there
/// is no other but byte code and what `uv venv` makes. Returns the files with another content than their
/// wheel says: there are wheels that were changed after their `RECORD` was written.
///
/// # Errors
/// [`Kind::Unverified`] that names the first file which is missing, of another kind, or nobody's.
pub fn hold(
    site: &Path,
    claims: &BTreeMap<PathBuf, Option<Claim>>,
    there: &BTreeMap<PathBuf, Entry>,
) -> Result<Vec<PathBuf>, Problem> {
    let mut others = Vec::new();
    for (path, claim) in claims {
        match (there.get(path), claim) {
            (None, _) => return Err(differs(path, "was not installed, though its wheel brings it")),
            (Some(Entry::Link { .. }), _) => {
                return Err(differs(path, "is a link where its wheel has a file"));
            }
            // Byte code is compiled anew.
            (Some(Entry::File { .. }), Some(_)) if is_byte_code(path) => {}
            (Some(Entry::File { sha256, size, .. }), Some(claim)) => {
                if (*sha256, *size) != (claim.sha256, claim.size) {
                    others.push(path.clone());
                }
            }
            (Some(Entry::File { .. }), None) => {}
        }
    }
    let stranger = |path: &Path, entry: &Entry| !claims.contains_key(path) && !is_ours(site, path, entry);
    match there.iter().find(|(path, entry)| stranger(path, entry)) {
        None => Ok(others),
        Some((path, _)) => Err(differs(path, "was installed by no wheel")),
    }
}

/// The problem with a file that is not what it should be.
pub(crate) fn differs(path: &Path, how: &str) -> Problem {
    let what = format!("`{}` {how}", path.display());
    Problem::new(Kind::Unverified, what).help(
        "nothing was changed; what was unpacked is thrown away: deploy again, and mind the disk and the memory of this \
         host",
    )
}

fn is_byte_code(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(BYTE_CODE))
        && path.extension().is_some_and(|extension| extension == "pyc")
}

fn is_harmless(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| HARMLESS.lines().any(|harmless| harmless == name))
}

/// Byte code of a module that is there, and what `uv venv` makes (0.13: `uv-virtualenv/src/virtualenv.rs`).
fn is_ours(site: &Path, path: &Path, entry: &Entry) -> bool {
    let is_link = matches!(entry, Entry::Link { .. });
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match path.parent() {
        Some(folder) if folder == Path::new("") => match name {
            "lib64" => is_link,
            "pyvenv.cfg" | ".gitignore" | "CACHEDIR.TAG" | ".lock" => !is_link,
            _ => false,
        },
        Some(folder) if folder == Path::new("bin") => {
            if name.starts_with("python") {
                // Never a program of its own: it leads to the interpreter.
                return is_link;
            }
            let script = ["activate", "activate_this.", "deactivate.", "pydoc."];
            !is_link && script.iter().any(|known| name.starts_with(known))
        }
        Some(folder) if folder == site => ["_virtualenv.py", "_virtualenv.pth"].contains(&name) && !is_link,
        Some(_) => is_byte_code(path) && !is_link,
        None => false,
    }
}

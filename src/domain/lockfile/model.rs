//! Reads `locks/PROFILE.toml`.

use super::text::{VERSION, quoted, sorted};
use crate::domain::{
    digest::{GitHash, Sha256Digest},
    problem::{Kind, Problem},
    profile::{
        document::{Document, DocumentError, Key, UnknownKeys},
        rules,
    },
    size::ByteSize,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::Spanned;

pub(super) const REMEDY: &str = "undo the last edit: locks are made by the program, not by hand";

/// The revision of the format. A later one only says more: what it adds may be passed over.
pub(super) const REVISION: i64 = 1;
/// The revision of a lock that has nothing which came later: it stays as it was, byte for byte.
const FIRST_REVISION: i64 = 0;

static KEYS: &[Key] = &[
    Key::required("version", "the version of this format", "version = 1"),
    Key::required("revision", "the revision of this format", "revision = 0"),
    Key::required("checksum", "the SHA-256 of all lines below it", r#"checksum = "e3b0…""#),
    Key::required("model", "what is locked", "[model]"),
    Key::required(
        "model.repo",
        "a repository as `owner/name`",
        r#"repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit""#,
    ),
    Key::required("model.revision", "a branch, tag or commit", r#"revision = "main""#),
    Key::optional("model.commit", "40 hexadecimal digits", r#"commit = "da39…""#),
    Key::optional("model.from", "an absolute folder", r#"from = "/srv/models/awq""#),
    Key::required("file", "the model's files", "[[file]]"),
    Key::required("file.path", "a path below the model's folder", r#"path = "config.json""#),
    Key::required("file.size", "a number of bytes", "size = 1234"),
    Key::required("file.sha256", "64 hexadecimal digits", r#"sha256 = "e3b0…""#),
    Key::optional("file.git-sha1", "40 hexadecimal digits", r#"git-sha1 = "da39…""#),
    Key::optional("file.pieces", "the SHA-256 of each piece", r#"pieces = ["e3b0…", "cd37…"]"#),
];

#[derive(Deserialize)]
struct RawLock {
    revision: Spanned<i64>,
    checksum: Spanned<String>,
    model: RawModel,
    file: Spanned<Vec<RawFile>>,
}

#[derive(Deserialize)]
struct RawModel {
    repo: Spanned<String>,
    revision: Spanned<String>,
    commit: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawFile {
    path: Spanned<String>,
    size: Spanned<i64>,
    sha256: Spanned<String>,
    git_sha1: Option<Spanned<String>>,
    pieces: Option<Spanned<Vec<Spanned<String>>>>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<LockedModel, Problem> {
    let document = Document::parse(path, text, KEYS)?;
    known_version(&document)?;
    let raw: RawLock = document.read(strangers(&document))?;
    check(&document, raw.revision, |revision| match revision {
        0.. => Ok(revision),
        _ => Err(DocumentError::new("must be at least 0").help(REMEDY)),
    })?;
    let repo = check(&document, raw.model.repo, rules::repo)?;
    let revision = check(&document, raw.model.revision, rules::revision)?;
    let commit = raw.model.commit.map(|hash| check(&document, hash, git_hash)).transpose()?;
    let from = raw.model.from.map(|path| check(&document, path, rules::whole_path)).transpose()?;
    let span = raw.file.span();
    let mut seen = BTreeSet::new();
    let files: Result<Vec<_>, _> =
        raw.file.into_inner().into_iter().map(|raw| file(&document, raw, &mut seen)).collect();
    let files = tidy(files?).map_err(|fault| document.fault(span, fault))?;
    // Last: a mistake in a value is better explained by that value.
    untouched(&document, text, raw.checksum)?;
    Ok(LockedModel { repo, revision, commit, from, files })
}

fn file(document: &Document<'_>, raw: RawFile, seen: &mut BTreeSet<String>) -> Result<LockedFile, Problem> {
    let path = check(document, raw.path, |path| unseen(plain_path(path)?, seen))?;
    let size = check(document, raw.size, size)?;
    let sha256 = check(document, raw.sha256, digest)?;
    let git_sha1 = raw.git_sha1.map(|hash| check(document, hash, git_hash)).transpose()?;
    let mut locked = LockedFile { git_sha1, ..LockedFile::new(PathBuf::from(path), size, sha256) };
    if let Some(pieces) = raw.pieces {
        let span = pieces.span();
        let pieces: Result<Vec<_>, _> =
            pieces.into_inner().into_iter().map(|piece| check(document, piece, digest)).collect();
        locked.pieces = Some(pieces?);
        right_pieces(&locked).map_err(|fault| document.fault(span, fault))?;
    }
    Ok(locked)
}

/// Checks a model that was not read from a file.
pub(super) fn checked(
    repo: String,
    revision: String,
    commit: Option<GitHash>,
    files: Vec<LockedFile>,
) -> Result<LockedModel, Problem> {
    let at = |key: &'static str| move |fault: DocumentError| fault.unplaced(KEYS, key);
    let repo = rules::repo(repo).map_err(at("model.repo"))?;
    let revision = rules::revision(revision).map_err(at("model.revision"))?;
    let mut seen = BTreeSet::new();
    for file in &files {
        let path = file.path.to_str().ok_or_else(|| {
            Problem::new(Kind::Usage, format!("`{}` is not a name in UTF-8", file.path.display()))
                .help("rename the file")
        })?;
        plain_path(path.to_owned()).and_then(|path| unseen(path, &mut seen)).map_err(|fault| {
            let what = format!("`{}` cannot be a file of a model", path.escape_debug());
            at("file.path")(fault.what(what))
        })?;
        size(file.size.0.try_into().unwrap_or(i64::MAX)).map_err(at("file.size"))?;
        right_pieces(file).map_err(at("file.pieces"))?;
    }
    let files = tidy(files).map_err(at("file"))?;
    Ok(LockedModel { repo, revision, commit, from: None, files })
}

/// Sorts the files, and refuses paths that cannot be laid out in a folder.
fn tidy(mut files: Vec<LockedFile>) -> Result<Vec<LockedFile>, DocumentError> {
    if files.is_empty() {
        return Err(DocumentError::new("a model has files").help("make it anew: `awqdeploy lock PROFILE`"));
    }
    let paths: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let folder = paths.iter().find_map(|path| path.ancestors().skip(1).find(|parent| paths.contains(parent)));
    if let Some(folder) = folder {
        return Err(DocumentError::new(format!("`{}` is a file here, and a folder there", folder.display()))
            .help(REMEDY));
    }
    files.sort_by(|one, other| {
        let bytes = |file: &LockedFile| file.path.as_os_str().as_encoded_bytes().to_vec();
        bytes(one).cmp(&bytes(other))
    });
    Ok(files)
}

/// Checks that the pieces cover the file exactly.
fn right_pieces(file: &LockedFile) -> Result<(), DocumentError> {
    let Some(pieces) = &file.pieces else {
        return Ok(());
    };
    match (pieces.len(), file.piece_count()) {
        (_, 0) => {
            Err(DocumentError::new(format!("a file of {} bytes is one piece", file.size.0)).help(REMEDY))
        }
        (there, due) if there as u64 == due => Ok(()),
        (there, due) => {
            let label =
                format!("{there} pieces of {} MiB for {} bytes: it has {due}", PIECE.0 >> 20, file.size.0);
            Err(DocumentError::new(label).help(REMEDY))
        }
    }
}

/// Checks that the lines below the checksum are those that it was made of. Line ends may be those of another
/// system: git is known to change them.
fn untouched(document: &Document<'_>, text: &str, checksum: Spanned<String>) -> Result<(), Problem> {
    let Range { end, .. } = checksum.span();
    let lines = text[end..].split_once('\n').map_or("", |(_, lines)| lines).replace("\r\n", "\n");
    check(document, checksum, |text| {
        if digest(text)? == Sha256Digest::of(lines) {
            return Ok(());
        }
        Err(DocumentError::new("not the checksum of the lines below")
            .what("the lock was changed after it was made")
            .help("undo the change, or make it anew: `awqdeploy lock PROFILE`"))
    })
}

/// Decides about unknown keys: those of a later revision may be ignored.
fn strangers(document: &Document<'_>) -> UnknownKeys {
    match document.integer("revision") {
        Some(revision) if *revision.get_ref() > REVISION => UnknownKeys::Ignored,
        _ => UnknownKeys::Refused,
    }
}

#[allow(clippy::needless_pass_by_value)] // A rule takes what was read, as all rules do.
fn digest(text: String) -> Result<Sha256Digest, DocumentError> {
    text.parse().map_err(|_| DocumentError::new("not a SHA-256 digest").help(REMEDY))
}

#[allow(clippy::needless_pass_by_value)]
fn git_hash(text: String) -> Result<GitHash, DocumentError> {
    text.parse().map_err(|_| DocumentError::new("not a hash of git").help(REMEDY))
}

/// Looks at the version first: a newer program may mean something else by every key.
pub(super) fn known_version(document: &Document<'_>) -> Result<(), Problem> {
    // A missing version, or one of another type, is reported with the other keys.
    let Some(version) = document.integer("version") else {
        return Ok(());
    };
    if *version.get_ref() == VERSION {
        return Ok(());
    }
    let fault = DocumentError::new(format!("this program knows version {VERSION}"))
        .what(format!("the lock is of the unknown version {}", version.get_ref()))
        .help("use the awqdeploy that made it, or make it anew with this one");
    Err(document.fault(version.span(), fault))
}

pub(super) fn check<R, T>(
    document: &Document<'_>,
    raw: Spanned<R>,
    rule: impl FnOnce(R) -> Result<T, DocumentError>,
) -> Result<T, Problem> {
    let span = raw.span();
    rule(raw.into_inner()).map_err(|fault| document.fault(span, fault))
}

pub(super) fn size(size: i64) -> Result<ByteSize, DocumentError> {
    match u64::try_from(size).map(ByteSize) {
        Err(_) => Err(DocumentError::new("must be at least 0").help(REMEDY)),
        Ok(size) if size > LONGEST_FILE => {
            Err(DocumentError::new("more than any file has: the most is 1 TiB").help(REMEDY))
        }
        Ok(size) => Ok(size),
    }
}

pub(super) fn unseen(text: String, seen: &mut BTreeSet<String>) -> Result<String, DocumentError> {
    if !seen.insert(text.clone()) {
        return Err(DocumentError::new("stands twice")
            .what(format!("`{text}` stands twice"))
            .help("keep one of the two"));
    }
    Ok(text)
}

fn plain_path(text: String) -> Result<String, DocumentError> {
    match why_not_plain(&text) {
        Some(why) => Err(DocumentError::new(why).help(REMEDY)),
        None => Ok(text),
    }
}

/// Why a path is not relative, below its folder, and the same text on every system.
pub(in crate::domain) fn why_not_plain(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("empty")
    } else if path.starts_with('/') {
        Some("an absolute path")
    } else if path.contains('\\') || path.contains(char::is_control) {
        Some("contains a character that is no part of a file's name")
    } else if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        Some("has an empty part, `.` or `..`")
    } else if path.split('/').any(|part| part.len() > LONGEST_NAME) {
        Some("has a name of more than 255 bytes, which file systems refuse")
    } else if path.len() > LONGEST_PATH {
        Some("is longer than 2048 bytes")
    } else {
        None
    }
}

/// Bytes of the longest name of a file (Linux's `NAME_MAX`).
const LONGEST_NAME: usize = 255;
/// Bytes of the longest path in a model: with the store's own folders it stays below Linux's `PATH_MAX`.
const LONGEST_PATH: usize = 2048;
/// The longest file that is believed: 1 TiB. The Hugging Face hub allows 500 GB.
pub(in crate::domain) const LONGEST_FILE: ByteSize = ByteSize::gib(1 << 10);

/// The length of a piece. The last one of a file is as long as what is left.
///
/// A flipped byte costs one piece to fetch again; a model of 45 GB has 5,400 of them, 400 KB of lock.
pub const PIECE: ByteSize = ByteSize::mib(8);

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedFile {
    /// Relative to the model's folder.
    pub path: PathBuf,
    /// The length.
    pub size: ByteSize,
    /// The content.
    pub sha256: Sha256Digest,
    /// The name of its content in git, by which hubs list small files. Of a folder's files all get it that are no
    /// longer than a piece, of a hub's those that it keeps in git.
    pub git_sha1: Option<GitHash>,
    /// The content of each [`PIECE`], in order. Only for a file longer than one; absent where nobody has
    /// read it yet, since hubs do not tell.
    pub pieces: Option<Vec<Sha256Digest>>,
}

impl LockedFile {
    /// A file of which only its name is known, with its length and content.
    pub fn new(path: impl Into<PathBuf>, size: ByteSize, sha256: Sha256Digest) -> Self {
        Self { path: path.into(), size, sha256, git_sha1: None, pieces: None }
    }

    /// The number of pieces: none for a file no longer than one.
    pub fn piece_count(&self) -> u64 {
        if self.size > PIECE { self.size.0.div_ceil(PIECE.0) } else { 0 }
    }
}

/// `locks/PROFILE.toml`: one model, file by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedModel {
    /// `owner/name` on the hub.
    pub repo: String,
    /// The revision that was locked: a branch, tag or commit.
    pub revision: String,
    /// The commit that the revision was then. Absent where the files came from a folder that does not say.
    pub commit: Option<GitHash>,
    /// The folder that it was locked from, where a person named one: the files are sought there, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Sorted by path; relative, without `..`.
    pub files: Vec<LockedFile>,
}

impl LockedModel {
    /// Checks a model of these files, in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) where a file's path is not relative and plain, or
    /// stands twice, or where a file has another number of pieces than its length asks for.
    pub fn of(
        repo: String,
        revision: String,
        commit: Option<GitHash>,
        files: Vec<LockedFile>,
    ) -> Result<Self, Problem> {
        checked(repo, revision, commit, files)
    }

    /// Adds the folder that the lock was made from. A path that cannot stand in a lock is left out.
    #[must_use]
    pub fn taken_from(mut self, folder: &Path) -> Self {
        self.from = folder.to_str().and_then(|path| rules::whole_path(path.to_owned()).ok());
        self
    }

    /// Reads a model's lock. Files may stand in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of what is wrong: a newer version, a
    /// value that cannot be, or lines that are not those that the program wrote.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        parse(path, text)
    }

    /// The canonical text: sorted, one fact a line, so that diffs stay small.
    pub fn to_toml(&self) -> String {
        let lines = self.lines();
        let checksum = Sha256Digest::of(&lines);
        format!(
            "# Every file of one model, by its hash; a piece is {} MiB. Made by `awqdeploy lock`, not by hand.\n\
             version = {VERSION}\nrevision = {}\n# Of all lines below.\nchecksum = \"{checksum}\"\n{lines}",
            PIECE.0 >> 20,
            if self.from.is_some() { REVISION } else { FIRST_REVISION },
        )
    }

    /// The name of this model in the store: it depends on the files alone.
    ///
    /// It is the SHA-256 of a heading and a line `HASH SIZE PATH` a file, sorted by path. A path has no
    /// line break, so no two models have one listing.
    pub fn digest(&self) -> Sha256Digest {
        let mut listing = "awqdeploy model 1\n".to_owned();
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let LockedFile { path, size, sha256, .. } = file;
            // Writing to a string does not fail.
            let _ = writeln!(listing, "{sha256} {} {}", size.0, path.display());
        }
        Sha256Digest::of(listing)
    }

    /// Bytes of all files.
    pub fn size(&self) -> ByteSize {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Each content once, by the first file that has it.
    pub fn contents(&self) -> Vec<&LockedFile> {
        let mut seen = BTreeSet::new();
        self.files.iter().filter(|file| seen.insert(file.sha256)).collect()
    }

    /// The part of the canonical text that the checksum covers.
    fn lines(&self) -> String {
        let (repo, revision) = (quoted(&self.repo), quoted(&self.revision));
        let mut text = format!("\n[model]\nrepo = {repo}\nrevision = {revision}\n");
        if let Some(commit) = self.commit {
            let _ = writeln!(text, "commit = \"{commit}\"");
        }
        if let Some(from) = &self.from {
            let _ = writeln!(text, "from = {}", quoted(&from.to_string_lossy()));
        }
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let path = quoted(&file.path.to_string_lossy());
            let (size, sha256) = (file.size.0, file.sha256);
            let _ = write!(text, "\n[[file]]\npath = {path}\nsize = {size}\nsha256 = \"{sha256}\"\n");
            if let Some(hash) = file.git_sha1 {
                let _ = writeln!(text, "git-sha1 = \"{hash}\"");
            }
            if let Some(pieces) = &file.pieces {
                text.push_str("pieces = [\n");
                for piece in pieces {
                    let _ = writeln!(text, "  \"{piece}\",");
                }
                text.push_str("]\n");
            }
        }
        text
    }
}

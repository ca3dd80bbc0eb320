//! A folder with a model's files that is not ours: plain, or a hub's cache with its links.

use crate::{
    domain::{
        digest::GitHash,
        hub::cache_folder,
        lockfile::LockedFile,
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        os::{
            fs,
            parallel::{self, Progress},
            signals::Interrupt,
        },
        store::hashing,
    },
};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A folder to take files from. None of its links is followed to elsewhere.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// The folders that its links may lead to.
    within: Vec<PathBuf>,
    commit: Option<GitHash>,
}

/// The thing in the place of a file.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file: its real path, and its length.
    File(PathBuf, ByteSize),
    /// A link to this, outside of the folder.
    Outside(PathBuf),
    /// A folder, a pipe, a device.
    NoFile,
    /// Something that cannot be looked at.
    Unreadable(Problem),
}

impl Folder {
    /// Opens the folder at this path. It may be the model's folder itself, or what `huggingface_hub` keeps:
    /// the snapshot of a commit, a repository (`models--OWNER--NAME`), or its whole cache.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where there is no such folder, or it is a cache without this revision.
    pub fn open(path: &Path, repo: &str, revision: &str) -> Result<Self, Problem> {
        let cached = path.join(cache_folder(repo));
        let path = if cached.is_dir() { &cached } else { path };
        // Where links are not to be had, a cache has no `blobs`.
        let has = |name: &str| path.join(name).is_dir();
        let is_cache = has("snapshots") && (has("blobs") || has("refs"));
        let path = if is_cache { snapshot(path, revision)? } else { path.to_owned() };
        if !path.is_dir() {
            return Err(Problem::new(Kind::Unverified, format!("there is no folder `{}`", path.display()))
                .help("name the folder with the model's files"));
        }
        let real = std::fs::canonicalize(&path).map_err(|e| fs::failed("find", &path, e))?;
        let snapshots =
            real.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"));
        let blobs = snapshots.and_then(|parent| std::fs::canonicalize(parent.with_file_name("blobs")).ok());
        let commit = blobs.as_ref().and_then(|_| real.file_name()?.to_str()?.parse().ok());
        Ok(Self { within: std::iter::once(real.clone()).chain(blobs).collect(), path: real, commit })
    }

    /// The folder that the files are in.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The commit of the files, where the folder tells it.
    pub fn commit(&self) -> Option<GitHash> {
        self.commit
    }

    /// Looks for a file, behind links that stay inside.
    pub fn look(&self, file: &Path) -> Found {
        let path = self.path.join(file);
        let real = match std::fs::canonicalize(&path) {
            Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => {
                return Found::Nothing;
            }
            Err(e) => return Found::Unreadable(fs::failed("find", &path, e)),
            Ok(real) => real,
        };
        if !self.within.iter().any(|folder| real.starts_with(folder)) {
            return Found::Outside(real);
        }
        match std::fs::metadata(&real) {
            Err(e) => Found::Unreadable(fs::failed("look at", &real, e)),
            Ok(found) if found.is_file() => Found::File(real, ByteSize(found.len())),
            Ok(_) => Found::NoFile,
        }
    }

    /// The real path of a file, behind links that stay inside. Nothing where there is no such file.
    ///
    /// # Errors
    /// [`Kind::Unverified`] for what leads outside, or is no file.
    pub(crate) fn find(&self, file: &Path) -> Result<Option<PathBuf>, Problem> {
        let path = self.path.join(file);
        match self.look(file) {
            Found::Nothing => Ok(None),
            Found::File(real, _) => Ok(Some(real)),
            Found::Unreadable(problem) => Err(problem),
            Found::Outside(real) => {
                let what =
                    format!("`{}` is a link to `{}`, outside of its folder", path.display(), real.display());
                Err(Problem::new(Kind::Unverified, what)
                    .help("put the file itself there: what is outside may change unseen"))
            }
            Found::NoFile => {
                Err(Problem::new(Kind::Unverified, format!("`{}` is not a file", path.display()))
                    .help("take it away, or name another folder"))
            }
        }
    }

    /// Lists and hashes every file, as a lock records them. Hidden files are left out: they are notes of hubs
    /// and git.
    pub fn survey(&self, interrupt: &Interrupt, progress: Progress<'_>) -> Result<Vec<LockedFile>, Problem> {
        let mut files = self.list()?;
        // The largest first, so that no core ends up alone with it.
        files.sort_by_key(|(_, _, size)| std::cmp::Reverse(*size));
        let mut files = parallel::each(&files, interrupt, progress, |(name, path, size), worker| {
            hashing::locked(path, name.clone(), *size, worker)
        })?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Bytes of all files that a survey reads.
    pub(crate) fn size(&self) -> Result<ByteSize, Problem> {
        Ok(self.list()?.into_iter().map(|(_, _, size)| size).sum())
    }

    /// Every file: its name, its real path, its length.
    fn list(&self) -> Result<Vec<(PathBuf, PathBuf, ByteSize)>, Problem> {
        let mut files = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let names = fs::entries(&self.path.join(&directory))?.into_iter();
            for name in names.filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
                let name = directory.join(name);
                let path = self.path.join(&name);
                let metadata =
                    std::fs::symlink_metadata(&path).map_err(|e| fs::failed("look at", &path, e))?;
                if metadata.is_dir() {
                    directories.push(name);
                } else if let Some(real) = self.find(&name)? {
                    let size = std::fs::metadata(&real).map_err(|e| fs::failed("look at", &real, e))?.len();
                    files.push((name, real, ByteSize(size)));
                } else {
                    let what = format!("`{}` is a link to nothing", path.display());
                    return Err(Problem::new(Kind::Unverified, what).help("fetch the file again"));
                }
            }
        }
        Ok(files)
    }
}

/// The snapshot of a revision in a hub's cache.
fn snapshot(repository: &Path, revision: &str) -> Result<PathBuf, Problem> {
    let named = fs::read(&repository.join("refs").join(revision))?;
    let commit = named.as_deref().map_or(revision, str::trim);
    let snapshots = repository.join("snapshots");
    let path = snapshots.join(commit);
    // A name of one part, so that it cannot lead elsewhere.
    if Path::new(commit).components().count() == 1 && path.is_dir() {
        return Ok(path);
    }
    let there = fs::names(&snapshots)?;
    Err(Problem::new(Kind::Unverified, format!("`{}` has no revision `{revision}`", repository.display()))
        .help(format!("name one of the folders in `snapshots`: {}", there.join(", "))))
}

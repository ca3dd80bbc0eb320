//! Models in the store: taken in file by file, each proven to be what was locked.

use super::{fs, signals::Interrupt, store::Locked};
use crate::domain::{
    digest::Digest,
    lock::{LockedFile, LockedModel},
    problem::{Kind, Problem},
    size::Bytes,
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes read at once: larger than this falls out of the L2 cache, smaller pays for more calls.
const CHUNK: usize = 256 << 10;
/// Permission of everybody to read: the service runs as a user of its own.
const WORLD_READABLE: u32 = 0o004;

/// How one file differs from its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such file.
    Missing,
    /// It has another length.
    Size(Bytes),
    /// It has the right length and another content.
    Content(Digest),
}

/// Called with the bytes checked so far.
pub type Progress<'a> = &'a mut dyn FnMut(Bytes);

/// Takes a model into the store from `source`, unless it is there already; every file is hashed
/// either way. Returns its folder.
pub fn take_in(
    locked: &Locked<'_>,
    model: &LockedModel,
    source: Option<&Path>,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<PathBuf, Problem> {
    let path = locked.store().layout().model(model.digest());
    if path.is_dir() {
        return match verify(&path, model, interrupt, progress)? {
            differences if differences.is_empty() => Ok(path),
            differences => Err(differ(&path, &differences)
                .help(format!("remove `{}` and deploy again: it is then taken in anew", path.display()))),
        };
    }
    let source = source.ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("the files of `{}` are not in the store", model.repo))
            .help("name their folder as `path` in the profile's `[model]`")
    })?;
    if !source.is_dir() {
        return Err(Problem::new(
            Kind::Unverified,
            format!("there is no model folder `{}`", source.display()),
        )
        .help("correct `path` in the profile's `[model]`"));
    }
    let staged = locked.stage(&format!("model-{}", model.digest().short()))?;
    for file in &model.files {
        bring(&source.join(&file.path), &staged.join(&file.path))?;
    }
    // Hashed where they will be read from, so that a bad copy cannot pass.
    let differences = verify(&staged, model, interrupt, progress)?;
    if !differences.is_empty() {
        fs::remove_tree(&staged)?;
        return Err(differ(source, &differences).help(
            "fetch these files again; or, if they are meant to be so, lock them anew with `awqdeploy lock PROFILE`",
        ));
    }
    fs::sync_file_system(&staged)?;
    fs::make_directory(path.parent().unwrap_or(&path))?;
    fs::publish(&staged, &path)?;
    Ok(path)
}

/// Hashes every file of a model. Nothing is returned for a file that is what was locked.
pub fn verify(
    folder: &Path,
    model: &LockedModel,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Vec<(PathBuf, Difference)>, Problem> {
    let mut differences = Vec::new();
    let mut before = Bytes(0);
    for file in &model.files {
        interrupt.check()?;
        let found = difference(folder, file, &mut |bytes| progress(before + bytes))?;
        differences.extend(found.map(|difference| (file.path.clone(), difference)));
        before = before + file.size;
        progress(before);
    }
    Ok(differences)
}

/// Lists and hashes every file below a folder, as a lock records them. Hidden files are left out:
/// hubs keep their own notes there.
pub fn survey(folder: &Path, interrupt: &Interrupt) -> Result<Vec<LockedFile>, Problem> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for name in fs::names(&folder.join(&directory))? {
            if name.starts_with('.') {
                continue;
            }
            interrupt.check()?;
            let relative = directory.join(&name);
            let path = folder.join(&relative);
            if path.is_dir() {
                directories.push(relative);
                continue;
            }
            let (size, sha256) = hash(&path, &mut |_| ())?;
            files.push(LockedFile::new(relative, size, sha256));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What is wrong with a model, file by file.
pub fn differ(folder: &Path, differences: &[(PathBuf, Difference)]) -> Problem {
    let lines: Vec<String> = differences
        .iter()
        .map(|(path, difference)| match difference {
            Difference::Missing => format!("`{}` is missing", path.display()),
            Difference::Size(size) => {
                format!("`{}` has {} bytes: truncated or replaced", path.display(), size.0)
            }
            Difference::Content(digest) => format!("`{}` has sha256 {digest}", path.display()),
        })
        .collect();
    let count = differences.len();
    let files = if count == 1 { "1 file is" } else { &format!("{count} files are") };
    Problem::new(Kind::Unverified, format!("{files} not what was locked in `{}`", folder.display()))
        .because(lines.join("\n"))
}

fn difference(
    folder: &Path,
    file: &LockedFile,
    progress: Progress<'_>,
) -> Result<Option<Difference>, Problem> {
    let path = folder.join(&file.path);
    let size = match std::fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Some(Difference::Missing)),
        found => Bytes(found.map_err(|e| fs::failed("look at", &path, e))?.len()),
    };
    if size != file.size {
        return Ok(Some(Difference::Size(size)));
    }
    let (_, sha256) = hash(&path, progress)?;
    Ok((sha256 != file.sha256).then_some(Difference::Content(sha256)))
}

fn hash(path: &Path, progress: Progress<'_>) -> Result<(Bytes, Digest), Problem> {
    let mut file = File::open(path).map_err(|e| fs::failed("open", path, e))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk).map_err(|e| fs::failed("read", path, e))?;
        if read == 0 {
            return Ok((Bytes(size), Digest::finish(hasher)));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
        progress(Bytes(size));
    }
}

/// Gives a file of the source a name in the store: a second name for the same bytes where that
/// works and the service may read them, else a copy. A missing one is left to the verification.
fn bring(from: &Path, to: &Path) -> Result<(), Problem> {
    // A hub's cache is full of links to its blobs.
    let from = match std::fs::canonicalize(from) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| fs::failed("find", from, e))?,
    };
    fs::make_directory(to.parent().unwrap_or(to))?;
    let mode = std::fs::metadata(&from).map_err(|e| fs::failed("look at", &from, e))?.mode();
    if mode & WORLD_READABLE == 0 {
        return fs::copy(&from, to);
    }
    fs::link_or_copy(&from, to)
}

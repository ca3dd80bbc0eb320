//! Compares a model's folder with its lock: every file, every piece, and that there is nothing else.

use super::source_folder::Folder;
use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, LockedModel, PIECE},
        problem::{Kind, Problem},
        size::ByteSize,
        spelling::lines,
    },
    host::{
        os::{
            fs,
            parallel::{self, Progress},
            signals::Interrupt,
        },
        store::{
            hash_cache::{HashCache, Stamp},
            hashing,
        },
    },
};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{FileType, Metadata},
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// How one file differs from its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file is missing.
    Missing,
    /// The file has this length instead.
    Size(ByteSize),
    /// The file has the right length and another content.
    Content,
    /// The file is a link, which may lead elsewhere tomorrow.
    Link,
    /// A pipe, device or folder is in its place.
    Special,
    /// The file is not in the lock.
    Added,
    /// The file can be run and should not, or the other way round.
    Mode,
    /// The file cannot be read.
    Unreadable,
}

/// A file that is not as it was locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Relative to the model's folder.
    pub path: PathBuf,
    /// The difference.
    pub difference: Difference,
    /// The wrong pieces, counted from 0.
    pub pieces: Vec<u64>,
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct VerifyResult {
    /// The files that differ from their lock, by path. Empty: the model is whole.
    pub damaged: Vec<Damage>,
    /// The contents that were proven, and the stamps by which their files can be recognised.
    pub noted: Vec<(Sha256Digest, Stamp)>,
    /// Bytes that had to be read.
    pub read: ByteSize,
}

/// A piece of a file, or a whole one that has no pieces.
struct Job<'a> {
    file: usize,
    path: &'a Path,
    piece: u64,
    range: Range<u64>,
    ahead: Option<Range<u64>>,
    expected: Sha256Digest,
}

/// A locked file, and the file in its place.
struct Candidate<'a> {
    locked: &'a LockedFile,
    path: PathBuf,
    stamp: Stamp,
    size: ByteSize,
}

impl Difference {
    /// The name in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size(_) => "size",
            Self::Content => "content",
            Self::Link => "link",
            Self::Special => "special",
            Self::Added => "added",
            Self::Mode => "mode",
            Self::Unreadable => "unreadable",
        }
    }
}

impl VerifyResult {
    /// The contents of the locked files that are damaged.
    pub(crate) fn damaged_contents<'a>(
        &'a self,
        model: &'a LockedModel,
    ) -> impl Iterator<Item = Sha256Digest> + 'a {
        let by_path: BTreeMap<&Path, Sha256Digest> = if self.damaged.is_empty() {
            BTreeMap::new()
        } else {
            model.files.iter().map(|file| (&*file.path, file.sha256)).collect()
        };
        self.damaged.iter().filter_map(move |damage| by_path.get(&*damage.path).copied())
    }
}

impl Damage {
    /// The damage of a file none of whose pieces is known to be right.
    pub(crate) fn of(file: &LockedFile, difference: Difference) -> Self {
        Self { path: file.path.clone(), difference, pieces: (0..file.piece_count().max(1)).collect() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.difference {
            Difference::Missing => write!(f, "`{path}` is missing"),
            Difference::Size(size) => write!(f, "`{path}` has {} bytes: truncated or replaced", size.0),
            Difference::Content => write!(f, "`{path}` has another content"),
            Difference::Link => write!(f, "`{path}` is a link"),
            Difference::Special => write!(f, "`{path}` is not a file"),
            Difference::Added => write!(f, "`{path}` was added"),
            Difference::Mode => write!(f, "`{path}` has another mode"),
            Difference::Unreadable => write!(f, "`{path}` cannot be read"),
        }
    }
}

/// Checks a model in the store. Files in the hash cache are not read again.
pub fn stored(
    folder: &Path,
    model: &LockedModel,
    cache: &HashCache,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<VerifyResult, Problem> {
    let mut there = walk(folder)?;
    let mut checked = VerifyResult::default();
    let mut candidates = Vec::new();
    for file in &model.files {
        match there.remove(&file.path) {
            None => checked.damaged.push(Damage::of(file, Difference::Missing)),
            Some(metadata) => match not_a_file(metadata.file_type()) {
                Some(difference) => checked.damaged.push(Damage::of(file, difference)),
                None => candidates.push(Candidate::new(file, folder.join(&file.path), &metadata)),
            },
        }
    }
    for (path, metadata) in there {
        let difference = if metadata.is_symlink() { Difference::Link } else { Difference::Added };
        checked.damaged.push(Damage { path, difference, pieces: Vec::new() });
    }
    compare(candidates, cache, checked, interrupt, progress)
}

/// Checks a model in a folder of somebody else's, who may keep other files there.
pub(crate) fn given(
    folder: &Folder,
    model: &LockedModel,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<VerifyResult, Problem> {
    let mut checked = VerifyResult::default();
    let mut candidates = Vec::new();
    for file in &model.files {
        match folder.find(&file.path)? {
            None => checked.damaged.push(Damage::of(file, Difference::Missing)),
            Some(path) => {
                let metadata = std::fs::metadata(&path).map_err(|e| fs::failed("look at", &path, e))?;
                candidates.push(Candidate::new(file, path, &metadata));
            }
        }
    }
    compare(candidates, &HashCache::default(), checked, interrupt, progress)
}

/// The stamp of a file; nothing where there is none.
pub fn stamp(path: &Path) -> Result<Option<Stamp>, Problem> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        found => found
            .map(|found| found.is_file().then(|| Stamp::of(&found)))
            .map_err(|e| fs::failed("look at", path, e)),
    }
}

/// Everything below a folder but folders. Links are not followed.
pub(crate) fn walk(folder: &Path) -> Result<BTreeMap<PathBuf, Metadata>, Problem> {
    let mut there = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for name in fs::entries(&folder.join(&directory))? {
            let name = directory.join(name);
            let path = folder.join(&name);
            let metadata = std::fs::symlink_metadata(&path).map_err(|e| fs::failed("look at", &path, e))?;
            if metadata.is_dir() {
                directories.push(name);
            } else {
                there.insert(name, metadata);
            }
        }
    }
    Ok(there)
}

fn not_a_file(kind: FileType) -> Option<Difference> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_symlink() => Some(Difference::Link),
        _ => Some(Difference::Special),
    }
}

impl<'a> Candidate<'a> {
    fn new(locked: &'a LockedFile, path: PathBuf, metadata: &Metadata) -> Self {
        Self { locked, path, stamp: Stamp::of(metadata), size: ByteSize(metadata.len()) }
    }

    /// The jobs of hashing: one for each locked piece, so that many cores share one file, and damage is found
    /// to the piece; else one for the whole file. The disk is told of pieces so far `ahead`.
    fn jobs(&self, file: usize, ahead: u64) -> Vec<Job<'_>> {
        let end = self.locked.size.0;
        let job = |piece: u64, range: Range<u64>, expected| Job {
            file,
            path: &self.path,
            piece,
            ahead: self.locked.pieces.as_ref().and_then(|_| range_of(piece + ahead, end)),
            range,
            expected,
        };
        match &self.locked.pieces {
            Some(pieces) => (0..)
                .zip(pieces)
                .filter_map(|(piece, expected)| Some(job(piece, range_of(piece, end)?, *expected)))
                .collect(),
            None => vec![job(0, 0..end, self.locked.sha256)],
        }
    }

    /// A problem if the whole file is the locked one although these of its pieces are not: then the lock is
    /// wrong, and no repair could ever succeed.
    fn not_contradicted(&self, wrong: &[u64], interrupt: &Interrupt) -> Result<(), Problem> {
        let Self { locked, path, size, .. } = self;
        if wrong.is_empty() || *size != locked.size || locked.pieces.is_none() {
            return Ok(());
        }
        let whole =
            parallel::each(&[path], interrupt, &mut |_| (), |path, worker| hashing::whole(path, worker))?;
        if whole != [(locked.size, locked.sha256)] {
            return Ok(());
        }
        let what = format!("the lock contradicts itself about `{}`", locked.path.display());
        Err(Problem::new(Kind::Unverified, what)
            .because(format!("the file has the locked sha256, and piece {} is another", wrong[0]))
            .help("make it anew: `awqdeploy lock PROFILE`"))
    }

    /// The damage of the file, if these pieces are wrong.
    fn damage(&self, wrong: Vec<u64>) -> Option<Damage> {
        let locked = self.locked;
        let difference = match self.size == locked.size {
            true if wrong.is_empty() => return None,
            true => Difference::Content,
            false => Difference::Size(self.size),
        };
        match locked.pieces {
            Some(_) => Some(Damage { path: locked.path.clone(), difference, pieces: wrong }),
            None => Some(Damage::of(locked, difference)),
        }
    }
}

/// The bytes of a piece; nothing beyond the end of its file.
pub(crate) fn range_of(piece: u64, size: u64) -> Option<Range<u64>> {
    let start = piece.checked_mul(PIECE.0)?;
    (start < size).then(|| start..size.min(start + PIECE.0))
}

fn compare(
    candidates: Vec<Candidate<'_>>,
    cache: &HashCache,
    mut checked: VerifyResult,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<VerifyResult, Problem> {
    let began = SystemTime::now();
    let (known, candidates): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| {
        candidate.size == candidate.locked.size && cache.knows(&candidate.locked.sha256, &candidate.stamp)
    });
    drop(known);
    // The disk is to have the next piece by the time a thread is done with its own.
    let ahead = parallel::threads() as u64;
    let mut jobs: Vec<Job<'_>> =
        candidates.iter().enumerate().flat_map(|(index, candidate)| candidate.jobs(index, ahead)).collect();
    // The longest first, so that no core ends up alone with it; pieces stay in the order of the disk.
    jobs.sort_by_key(|job| std::cmp::Reverse((job.range.end - job.range.start).saturating_sub(PIECE.0)));
    let right = parallel::each(&jobs, interrupt, progress, |job, worker| {
        let found = hashing::part(job.path, job.range.clone(), job.ahead.clone(), worker)?;
        Ok(found == Some(job.expected))
    })?;
    let mut wrong: Vec<Vec<u64>> = candidates.iter().map(|_| Vec::new()).collect();
    for (job, right) in jobs.iter().zip(right) {
        checked.read = checked.read + ByteSize(job.range.end - job.range.start);
        if !right {
            wrong[job.file].push(job.piece);
        }
    }
    for (candidate, mut wrong) in candidates.iter().zip(wrong) {
        wrong.sort_unstable();
        candidate.not_contradicted(&wrong, interrupt)?;
        if let Some(damage) = candidate.damage(wrong) {
            checked.damaged.push(damage);
        } else if candidate.stamp.is_quiet(began) && stamp(&candidate.path)? == Some(candidate.stamp) {
            checked.noted.push((candidate.locked.sha256, candidate.stamp));
        }
    }
    checked.damaged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(checked)
}

/// The problem with a damaged model, file by file.
pub(crate) fn differ(folder: &Path, damaged: &[Damage]) -> Problem {
    let count = damaged.len();
    let files = if count == 1 { "1 file is" } else { &format!("{count} files are") };
    Problem::new(Kind::Unverified, format!("{files} not what was locked in `{}`", folder.display()))
        .because(lines(damaged.iter().map(ToString::to_string)))
}

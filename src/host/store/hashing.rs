//! Hashes the content of files: as a whole, by pieces, or both in one go.

use crate::{
    domain::{
        digest::{GitName, Sha256Digest},
        lockfile::{LockedFile, PIECE},
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        os::{fs, parallel::Worker},
        store::hash_cache::Stamp,
    },
};
use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};
use std::{
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Reads a file into its entry of a lock.
pub(crate) fn locked(
    path: &Path,
    name: PathBuf,
    size: ByteSize,
    worker: &mut Worker<'_>,
) -> Result<LockedFile, Problem> {
    let mut whole = Sha256::new();
    let mut piece = Sha256::new();
    // Hubs keep small files in git. A third hash of all others would cost as much again, and say nothing.
    let mut git = (size <= PIECE).then(|| GitName::new(size));
    let (mut pieces, mut room) = (Vec::new(), PIECE.0);
    let before = stamp(path)?;
    let read = read(path, worker, &mut |mut bytes| {
        whole.update(bytes);
        if let Some(git) = &mut git {
            git.update(bytes);
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            piece.update(now);
            room -= now.len() as u64;
            if room == 0 {
                pieces.push(Sha256Digest::finish(std::mem::take(&mut piece)));
                room = PIECE.0;
            }
            bytes = later;
        }
    })?;
    if read != size || stamp(path)? != before {
        let what = format!("`{}` changed while it was read", path.display());
        return Err(Problem::new(Kind::Unverified, what).help("wait until its download is done"));
    }
    if room < PIECE.0 {
        pieces.push(Sha256Digest::finish(piece));
    }
    let file = LockedFile::new(name, size, Sha256Digest::finish(whole));
    let pieces = (file.piece_count() > 0).then_some(pieces);
    Ok(LockedFile { git_sha1: git.map(GitName::finish), pieces, ..file })
}

fn stamp(path: &Path) -> Result<Stamp, Problem> {
    std::fs::metadata(path).map(|found| Stamp::of(&found)).map_err(|e| fs::failed("look at", path, e))
}

/// The length and digest of a file.
pub(crate) fn whole(path: &Path, worker: &mut Worker<'_>) -> Result<(ByteSize, Sha256Digest), Problem> {
    let mut hasher = Sha256::new();
    let size = read(path, worker, &mut |bytes| hasher.update(bytes))?;
    Ok((size, Sha256Digest::finish(hasher)))
}

/// The digest of these bytes of a file; nothing if it ends before them. The disk is told of the bytes `ahead`
/// meanwhile.
pub(crate) fn part(
    path: &Path,
    range: Range<u64>,
    ahead: Option<Range<u64>>,
    worker: &mut Worker<'_>,
) -> Result<Option<Sha256Digest>, Problem> {
    let file = fs::open_file(path).map_err(|e| fs::failed("open", path, e))?;
    if let Some(ahead) = ahead {
        // Only a hint: without it the disk is waited for.
        let _unheard =
            fadvise(&file, ahead.start, NonZeroU64::new(ahead.end - ahead.start), Advice::WillNeed);
    }
    let mut hasher = Sha256::new();
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(worker.chunk.len());
        let read = file.read_at(&mut worker.chunk[..want], at).map_err(|e| fs::failed("read", path, e))?;
        if read == 0 {
            return Ok(None);
        }
        hasher.update(&worker.chunk[..read]);
        at += read as u64;
        worker.count(read)?;
    }
    Ok(Some(Sha256Digest::finish(hasher)))
}

/// Reads a file in order. Returns the number of its bytes.
fn read(path: &Path, worker: &mut Worker<'_>, see: &mut dyn FnMut(&[u8])) -> Result<ByteSize, Problem> {
    let file = fs::open_file(path).map_err(|e| fs::failed("open", path, e))?;
    let _unheard = fadvise(&file, 0, None, Advice::Sequential);
    let mut size = 0;
    loop {
        let read = file.read_at(&mut worker.chunk, size).map_err(|e| fs::failed("read", path, e))?;
        if read == 0 {
            return Ok(ByteSize(size));
        }
        see(&worker.chunk[..read]);
        size += read as u64;
        worker.count(read)?;
    }
}

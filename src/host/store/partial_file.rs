//! A file that is being fetched: its bytes, and which of its pieces are there.
//!
//! Two files beside each other, named by the content that they are to have: `DIGEST.part`, of the final
//! length from the start, and `DIGEST.marks`, a byte a piece. A piece is marked after it is written, so
//! that a kill at any moment loses only the pieces in flight. After a power cut a mark may be ahead of its
//! piece: marks are a hint, and the whole file is proven before it is used.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, PIECE},
        problem::Problem,
    },
    host::os::fs,
};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, Permissions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const PART: &str = "part";
const MARKS: &str = "marks";
/// The mark of a piece that is there.
const THERE: u8 = b'x';
/// The mark of a piece that was found wrong.
const MISSING: u8 = b'-';
/// The mode of a partial file: only its owner reads it. The store sets the mode of the whole file.
const MODE: u32 = 0o600;

/// The staging file of one content. It is opened when it is first written to or read, and closed when it is whole: a
/// model may have more files than a process may open.
#[derive(Debug)]
pub(crate) struct PartialFile {
    path: PathBuf,
    marks: Option<PathBuf>,
    size: u64,
    open: Mutex<Option<Arc<Opened>>>,
}

#[derive(Debug)]
struct Opened {
    bytes: File,
    /// A file of one piece has none: it is there, or it is not.
    marks: Option<File>,
}

impl PartialFile {
    /// The part of a file in `folder`, begun or not. Tells which pieces are marked as there.
    pub(crate) fn open(folder: &Path, file: &LockedFile) -> Result<(Self, Vec<bool>), Problem> {
        let path = path_of(folder, file, PART);
        let count = usize::try_from(file.size.0.div_ceil(PIECE.0)).unwrap_or(usize::MAX);
        let marks = (count > 1).then(|| path_of(folder, file, MARKS));
        let part = Self { path, marks, size: file.size.0, open: Mutex::default() };
        if count > 1 {
            let there = part.marked(count)?;
            // The room is reserved now, so that a full disk shows now and not after an hour.
            part.close();
            return Ok((part, there));
        }
        Ok((part, vec![false; count]))
    }

    fn marked(&self, count: usize) -> Result<Vec<bool>, Problem> {
        let mut there = vec![0; count];
        if let (Some(marks), Some(path)) = (&self.opened()?.marks, &self.marks) {
            let read = marks.read_at(&mut there, 0).map_err(|e| fs::failed("read", path, e))?;
            there[read..].fill(0);
        }
        Ok(there.into_iter().map(|mark| mark == THERE).collect())
    }

    /// The path of the bytes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the file is there.
    pub(crate) fn begin(&self) -> Result<(), Problem> {
        self.opened().map(drop)
    }

    /// Gives back what an open file takes. It is opened again when it is needed.
    pub(crate) fn close(&self) {
        self.slot().take();
    }

    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> Result<(), Problem> {
        self.opened()?.bytes.write_all_at(bytes, at).map_err(|e| fs::failed("write", &self.path, e))
    }

    pub(crate) fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), Problem> {
        self.opened()?.bytes.read_exact_at(bytes, at).map_err(|e| fs::failed("read", &self.path, e))
    }

    pub(crate) fn mark(&self, piece: usize) -> Result<(), Problem> {
        self.set(piece, THERE).map_err(|e| fs::failed("mark", &self.path, e))
    }

    pub(crate) fn unmark(&self, pieces: impl IntoIterator<Item = usize>) -> Result<(), Problem> {
        let mut pieces = pieces.into_iter();
        pieces.try_for_each(|piece| self.set(piece, MISSING)).map_err(|e| fs::failed("unmark", &self.path, e))
    }

    fn set(&self, piece: usize, mark: u8) -> std::io::Result<()> {
        let opened = self.opened().map_err(std::io::Error::other)?;
        opened.marks.as_ref().map_or(Ok(()), |marks| marks.write_all_at(&[mark], piece as u64))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Opened>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> Result<Arc<Opened>, Problem> {
        let mut slot = self.slot();
        if let Some(opened) = &*slot {
            return Ok(Arc::clone(opened));
        }
        let path = &self.path;
        let opened =
            Opened { bytes: open(path)?, marks: self.marks.as_ref().map(|path| open(path)).transpose()? };
        let length = opened.bytes.metadata().map_err(|e| fs::failed("look at", path, e))?.len();
        if length != self.size {
            // Of an earlier format, or cut by somebody: nothing in it can be told.
            if let Some(marks) = &opened.marks {
                marks.set_len(0).map_err(|e| fs::failed("empty", path, e))?;
            }
            allocate(&opened.bytes, self.size).map_err(|e| fs::failed("make room for", path, e))?;
        }
        Ok(Arc::clone(slot.insert(Arc::new(opened))))
    }
}

fn open(path: &Path) -> Result<File, Problem> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    let opened = options.open(path).or_else(|error| match error.kind() {
        // The file was whole, and a kill came before it got its name in the store: nobody but root can write to it.
        ErrorKind::PermissionDenied => {
            std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
            options.open(path)
        }
        _ => Err(error),
    });
    opened.map_err(|e| fs::failed("open", path, e))
}

/// Bytes that parts in a folder already have on the disk, of those that these files need.
pub(crate) fn allocated<'a>(folder: &Path, files: impl IntoIterator<Item = &'a LockedFile>) -> u64 {
    let blocks = |file: &LockedFile| {
        let found = std::fs::metadata(path_of(folder, file, PART)).ok()?;
        // POSIX counts blocks of 512 bytes, whatever the file system's are.
        Some((found.blocks() * 512).min(file.size.0))
    };
    files.into_iter().filter_map(blocks).sum()
}

/// The contents that have partial files in a folder.
pub(crate) fn there(folder: &Path) -> Result<BTreeSet<Sha256Digest>, Problem> {
    Ok(fs::names(folder)?.iter().filter_map(|name| content_of(name)).collect())
}

/// Removes the partial file of a content, whose bytes may have another name already.
pub(crate) fn discard(folder: &Path, file: &LockedFile) -> Result<(), Problem> {
    fs::remove(&path_of(folder, file, PART))?;
    fs::remove(&path_of(folder, file, MARKS))
}

/// Removes everything in the folder that belongs to none of these files: the remains of models that nobody
/// wants any more.
pub(crate) fn discard_others<'a>(
    folder: &Path,
    wanted: impl IntoIterator<Item = &'a LockedFile>,
) -> Result<(), Problem> {
    let wanted = wanted.into_iter().map(|file| file.sha256).collect();
    for path in others(folder, &wanted)? {
        fs::remove(&path)?;
    }
    Ok(())
}

/// Everything in the folder that belongs to none of these contents.
pub(crate) fn others(folder: &Path, wanted: &BTreeSet<Sha256Digest>) -> Result<Vec<PathBuf>, Problem> {
    let other = |name: &String| content_of(name).is_none_or(|content| !wanted.contains(&content));
    Ok(fs::names(folder)?.into_iter().filter(other).map(|name| folder.join(name)).collect())
}

fn content_of(name: &str) -> Option<Sha256Digest> {
    name.split('.').next()?.parse().ok()
}

fn path_of(folder: &Path, file: &LockedFile, suffix: &str) -> PathBuf {
    folder.join(format!("{}.{suffix}", file.sha256))
}

/// Reserves the room, so that a full disk shows now and not after an hour.
fn allocate(file: &File, length: u64) -> std::io::Result<()> {
    file.set_len(0)?;
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(length),
        reserved => Ok(reserved?),
    }
}

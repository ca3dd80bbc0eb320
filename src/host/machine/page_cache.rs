//! Reads files into the page cache, and drops them from it.

use crate::{
    domain::{problem::Problem, size::ByteSize},
    host::os::{fs, signals::Interrupt},
};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::File,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes read at once; a signal is noticed between two pieces.
const PIECE: usize = 8 << 20;
/// Bytes that the disk is told of before they are read.
const AHEAD: u64 = 64 << 20;

/// The regular files below a folder with their lengths, in the order of their names: that of the shards, in which
/// vLLM loads them. Links are followed, as vLLM does.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, ByteSize)>, Problem> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for name in fs::names(&folder)? {
            let path = folder.join(name);
            let metadata = std::fs::metadata(&path).map_err(|e| fs::failed("look at", &path, e))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                found.push((path, ByteSize(metadata.len())));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads files, in their order and to at most `most` bytes in all. Tells how much was read so far.
///
/// # Errors
/// [`Kind::Interrupted`](crate::domain::problem::Kind::Interrupted) when a signal came; else what the disk says.
pub fn read(
    files: &[(PathBuf, ByteSize)],
    most: ByteSize,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(ByteSize),
) -> Result<ByteSize, Problem> {
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    for (path, length) in files {
        if done >= most.0 {
            break;
        }
        let file = File::open(path).map_err(|e| fs::failed("open", path, e))?;
        let length = length.0.min(most.0 - done);
        let mut at = 0;
        while at < length {
            interrupt.check()?;
            // Only advice: a file system that takes none is read all the same.
            let _taken = fadvise(&file, at, NonZeroU64::new(AHEAD), Advice::WillNeed);
            let wanted = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
            let read = file.read_at(&mut piece[..wanted], at).map_err(|e| fs::failed("read", path, e))?;
            if read == 0 {
                break;
            }
            at += read as u64;
            done += read as u64;
            progress(ByteSize(done));
        }
    }
    Ok(ByteSize(done))
}

/// Lets the kernel drop files from the cache. It keeps what is mapped or not written yet.
pub(crate) fn let_go(files: &[(PathBuf, ByteSize)]) {
    for (path, _) in files {
        if let Ok(file) = File::open(path) {
            let _taken = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

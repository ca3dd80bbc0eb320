//! Writes files that are whole or not there: the only place that renames and syncs.

pub(crate) use super::reading::entries;
pub use super::reading::{failed, names};
use super::{sync_hook, trust};
use crate::domain::{problem::Problem, size::ByteSize};
use rustix::{
    fs::{CWD, Mode, RenameFlags},
    io::Errno,
};
use serde::de::DeserializeOwned;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};
use tempfile::TempPath;

/// The mode of files: readable by the service's own user, writable by nobody else.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
/// The mode of programs: executable by the service's own user.
const PROGRAM_MODE: u32 = 0o755;
/// The mode of unfinished files: nobody else may read them.
const UNFINISHED_MODE: u32 = 0o600;
/// Permission of the owner to execute.
const EXECUTABLE: u32 = 0o100;
/// All permissions, with those that lend the owner's identity.
const ALL_BITS: u32 = 0o7777;
/// The mode of finished files: nobody may write to them.
const FROZEN_MODE: u32 = 0o444;
/// The longest file that is read into memory. The largest are manifests and models' tokenizers, of some MB.
const LONGEST: u64 = 256 << 20;
/// Between two looks at whether somebody wants it to stop.
const COPIED_AT_ONCE: u64 = 32 << 20;
/// Permission of everybody to read: the service runs as a user of its own.
const WORLD_READABLE: u32 = 0o004;

/// Sets the permissions of what this process and those that it starts write without saying whose it is: as [`FILE_MODE`]
/// and [`DIRECTORY_MODE`], whatever the caller's umask. The service's own user reads it, and nobody else writes to it.
pub(crate) fn ignore_callers_umask() {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Makes `path` and its missing parents, readable by all, each durable.
pub fn make_directory(path: &Path) -> Result<(), Problem> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.map_err(|e| failed("make the directory", path, e))?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE))
        .map_err(|e| failed("set the mode of", path, e))?;
    sync_parent(path)
}

/// Lets everybody read a directory and what is below it, and nobody else write to any of it, whatever the programs that
/// made it thought of others. A program keeps its permission to run, and lends nobody's identity.
pub(crate) fn let_nobody_else_write(directory: &Path) -> Result<(), Problem> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        open_to_all(&directory)?;
        for name in entries(&directory)? {
            let path = directory.join(name);
            let found = fs::symlink_metadata(&path).map_err(|e| failed("look at", &path, e))?;
            let wanted = if found.mode() & EXECUTABLE == 0 { FILE_MODE } else { PROGRAM_MODE };
            if found.is_dir() {
                directories.push(path);
            } else if found.is_file() && found.mode() & ALL_BITS != wanted {
                fs::set_permissions(&path, fs::Permissions::from_mode(wanted))
                    .map_err(|e| failed("set the mode of", &path, e))?;
            }
        }
    }
    Ok(())
}

/// Lets everybody read a directory, and nobody else write to it.
pub(crate) fn open_to_all(path: &Path) -> Result<(), Problem> {
    fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE))
        .map_err(|e| failed("set the mode of", path, e))
}

/// Puts `bytes` at `path` in one step: after a power cut it holds the old content or the new.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Problem> {
    write_as(path, FILE_MODE, bytes)
}

/// Writes `bytes` at `path` in one step with these permissions, whatever an older file of that name has.
pub(crate) fn write_as(path: &Path, mode: u32, bytes: impl AsRef<[u8]>) -> Result<(), Problem> {
    let staged = staged_name(path);
    write_synced(&staged, mode, bytes.as_ref()).map_err(|e| failed("write", path, e))?;
    rename(&staged, path)
}

/// Writes `bytes` at `path` in one step outside of the root, where no lock keeps others from writing at the
/// same time: the last wins.
pub(crate) fn write_unlocked(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Problem> {
    let staged = staged_unlocked(path, bytes.as_ref())?;
    rename(&staged, path)?;
    // The temporary name is gone with the rename.
    let _gone = staged.keep();
    Ok(())
}

/// Writes `bytes` at `path` outside of the root, where no file of that name may exist yet. One that appears
/// meanwhile stays, and is a problem.
pub(crate) fn write_unlocked_new(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Problem> {
    let staged = staged_unlocked(path, bytes.as_ref())?;
    staged.persist_noclobber(path).map_err(|e| failed("rename to", path, e.error))?;
    sync_parent(path)
}

/// `bytes` beside `path`, synced, under a name that nobody else has. Dropped, it is gone.
fn staged_unlocked(path: &Path, bytes: &[u8]) -> Result<TempPath, Problem> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staged = tempfile::Builder::new().prefix(".awqdeploy-").tempfile_in(parent);
    let staged = staged.map_err(|e| failed("write", path, e))?.into_temp_path();
    write_synced(&staged, FILE_MODE, bytes).map_err(|e| failed("write", path, e))?;
    Ok(staged)
}

/// Writes a file that nobody looks for yet, synced.
pub(crate) fn write_new(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Problem> {
    write_synced(path, FILE_MODE, bytes.as_ref()).map_err(|e| failed("write", path, e))
}

/// Makes `link` point at `target` in one step.
pub(crate) fn point(link: &Path, target: &Path) -> Result<(), Problem> {
    let staged = staged_name(link);
    remove(&staged)?;
    symlink(target, &staged).map_err(|e| failed("make the link", link, e))?;
    rename(&staged, link)
}

/// Removes a file or link, durably. One that is not there is no error: whoever removed it may have died before that
/// was on the disk.
pub(crate) fn remove(path: &Path) -> Result<(), Problem> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound && !path.parent().is_some_and(Path::is_dir) => Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => sync_parent(path),
    }
}

/// Removes a directory and all below it. One that is not there is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|e| failed("remove", path, e)),
    }
}

/// Removes whatever is there, and all below it.
pub(crate) fn remove_entry(path: &Path) -> Result<(), Problem> {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_directory { remove_tree(path) } else { remove(path) }
}

/// Gives a finished directory its final name, which must not be taken. Its files must be synced already.
pub(crate) fn publish(staged: &Path, path: &Path) -> Result<(), Problem> {
    sync(staged)?;
    match rustix::fs::renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE) {
        // A directory takes the place of an empty one only: nothing is lost where the file system cannot promise more.
        Err(e) if is_unable(e) && staged.is_dir() => return rename(staged, path),
        renamed => renamed.map_err(|e| failed("rename to", path, e.into()))?,
    }
    sync_parent(path)
}

/// Whether this is the answer of a file system that does not know a kind of rename: NFS, 9p, older ZFS.
fn is_unable(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].contains(&error)
}

/// Gives a finished directory its final name, in place of what may be there, which is then in `staged`.
pub(crate) fn publish_over(staged: &Path, path: &Path) -> Result<(), Problem> {
    if !path.is_dir() {
        return publish(staged, path);
    }
    sync(staged)?;
    match rustix::fs::renameat_with(CWD, staged, CWD, path, RenameFlags::EXCHANGE) {
        Err(e) if is_unable(e) => {
            let aside = staged_name(staged);
            rename(path, &aside)?;
            rename(staged, path)?;
            return rename(&aside, staged);
        }
        renamed => renamed.map_err(|e| failed("rename to", path, e.into()))?,
    }
    sync_parent(path)
}

/// Makes sure that everything on the file system of `path` is on the disk: for whole trees.
pub(crate) fn sync_file_system(path: &Path) -> Result<(), Problem> {
    let file = File::open(path).map_err(|e| failed("open", path, e))?;
    rustix::fs::syncfs(&file).map_err(|e| failed("sync the file system of", path, e.into()))
}

/// Whether two files hold the same bytes. One that is not there holds none.
pub(crate) fn same_content(one: &Path, other: &Path) -> Result<bool, Problem> {
    let open = |path: &Path| match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(|file| Some(BufReader::new(file))).map_err(|e| failed("open", path, e)),
    };
    let (Some(mut one_file), Some(mut other_file)) = (open(one)?, open(other)?) else {
        return Ok(false);
    };
    loop {
        let (left, right) = (
            one_file.fill_buf().map_err(|e| failed("read", one, e))?,
            other_file.fill_buf().map_err(|e| failed("read", other, e))?,
        );
        let length = left.len().min(right.len());
        if left[..length] != right[..length] || (length == 0 && left.len() != right.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        one_file.consume(length);
        other_file.consume(length);
    }
}

/// Gives a finished file its final name, in place of what has it.
pub(crate) fn replace(staged: &Path, path: &Path) -> Result<(), Problem> {
    rename(staged, path)
}

/// Called with the bytes that were copied since the last call. A problem ends the copy.
pub(crate) type Tick<'a> = &'a dyn Fn(usize) -> Result<(), Problem>;

/// Copies a file to where there is none, by reference where the file system can; synced, readable by all, and
/// executable by all if it is by its owner. No other permission is copied: the copy has another owner, whose
/// identity it must not lend.
pub fn copy(from: &Path, to: &Path) -> Result<(), Problem> {
    copy_part(from, to, u64::MAX, &|_| Ok(()))
}

/// Copies only the first bytes of a file, as [`copy`] does. A copy that fails is removed.
pub(crate) fn copy_part(from: &Path, to: &Path, most: u64, tick: Tick<'_>) -> Result<(), Problem> {
    let source = open_file(from).map_err(|e| failed("open", from, e))?;
    let mode = source.metadata().map_err(|e| failed("look at", from, e))?.mode();
    let mode = if mode & EXECUTABLE == 0 { FILE_MODE } else { PROGRAM_MODE };
    let mut new = OpenOptions::new();
    let target = new.write(true).create_new(true).mode(UNFINISHED_MODE).open(to);
    let mut target = target.map_err(|e| failed("write", to, e))?;
    let copied = pour(&source, &mut target, most, tick).and_then(|copied| {
        copied
            .and_then(|()| target.set_permissions(fs::Permissions::from_mode(mode)))
            .and_then(|()| target.sync_all())
            .map_err(|e| failed("copy to", to, e))
    });
    if copied.is_err() {
        // The copy may have filled the disk.
        let _left = fs::remove_file(to);
    }
    copied
}

/// Copies bytes. Returns the error of the file system, or the problem of the caller that ended it.
fn pour(source: &File, target: &mut File, most: u64, tick: Tick<'_>) -> Result<io::Result<()>, Problem> {
    let mut left = most;
    while left > 0 {
        match io::copy(&mut source.take(left.min(COPIED_AT_ONCE)), target) {
            Ok(0) => break,
            Ok(copied) => {
                left -= copied;
                tick(usize::try_from(copied).unwrap_or(usize::MAX))?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// Opens a regular file that may be somebody else's. Opening a pipe would wait for its writer.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"))
}

/// How [`reflink_or_copy`] put a content in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// A new file that shares the other's blocks until one of them is written to.
    Cloned,
    /// A hard link to the same file.
    Linked,
    /// A new file with blocks of its own.
    Copied,
}

/// Puts the content of `from` at `to`, which must not exist, at the least cost: by sharing blocks, else by a
/// hard link, else by a copy. Synced. Only a file that everybody may read and nobody but us can change is
/// linked, and only in a folder of ours: whoever owns one of its names owns all.
pub fn reflink_or_copy(from: &Path, to: &Path) -> Result<Transfer, Problem> {
    transfer(from, to, &|_| Ok(()))
}

/// Puts a content in place as [`reflink_or_copy`] does, and calls `tick` while it copies.
pub(crate) fn transfer(from: &Path, to: &Path, tick: Tick<'_>) -> Result<Transfer, Problem> {
    if clone(from, to)? {
        return Ok(Transfer::Cloned);
    }
    let mode = fs::metadata(from).map_err(|e| failed("look at", from, e))?.mode();
    let folder = to.parent().unwrap_or(to);
    let linked = mode & WORLD_READABLE != 0
        && trust::is_ours(from)
        && trust::is_ours(folder)
        && fs::hard_link(from, to).is_ok();
    if linked {
        return sync(to).map(|()| Transfer::Linked);
    }
    copy_part(from, to, u64::MAX, tick).map(|()| Transfer::Copied)
}

/// Puts a content in place as [`transfer`] does, but never as a hard link.
pub(crate) fn transfer_own(from: &Path, to: &Path, tick: Tick<'_>) -> Result<Transfer, Problem> {
    if clone(from, to)? {
        return Ok(Transfer::Cloned);
    }
    copy_part(from, to, u64::MAX, tick).map(|()| Transfer::Copied)
}

/// Makes a writable copy in place of what is at `to`.
pub(crate) fn duplicate(from: &Path, to: &Path) -> Result<(), Problem> {
    remove(to)?;
    if !clone(from, to)? {
        copy(from, to)?;
    }
    make_writable(to)
}

/// Makes a writable copy of only the first bytes in place of what is at `to`: a damaged file may be of any
/// length.
pub(crate) fn duplicate_part(from: &Path, to: &Path, most: u64) -> Result<(), Problem> {
    remove(to)?;
    copy_part(from, to, most, &|_| Ok(()))?;
    make_writable(to)
}

fn make_writable(path: &Path) -> Result<(), Problem> {
    fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))
        .map_err(|e| failed("set the mode of", path, e))
}

/// Copies a file by sharing its blocks. `false` where the file system cannot.
pub(crate) fn clone(from: &Path, to: &Path) -> Result<bool, Problem> {
    let source = open_file(from).map_err(|e| failed("open", from, e))?;
    let mut new = OpenOptions::new();
    let target =
        new.write(true).create_new(true).mode(FILE_MODE).open(to).map_err(|e| failed("write", to, e))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        remove(to)?;
        return Ok(false);
    }
    flush(&target, to).map_err(|e| failed("sync", to, e))?;
    Ok(true)
}

/// Gives `from`, which is on the same file system, a second name `to`, durable with `to`'s directory.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), Problem> {
    fs::hard_link(from, to).map_err(|e| failed("link to", to, e))
}

/// Marks a file as finished: nobody may write to it, and its time of change is the same for ever, so
/// that any later write shows.
pub(crate) fn make_immutable(path: &Path) -> Result<(), Problem> {
    let file = File::open(path).map_err(|e| failed("open", path, e))?;
    file.set_permissions(fs::Permissions::from_mode(FROZEN_MODE))
        .and_then(|()| file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)))
        .and_then(|()| flush(&file, path))
        .map_err(|e| failed("finish", path, e))
}

/// Bytes that may still be written to the file system of `path`.
pub(crate) fn available(path: &Path) -> Result<ByteSize, Problem> {
    let found =
        rustix::fs::statvfs(path).map_err(|e| failed("look at the file system of", path, e.into()))?;
    Ok(ByteSize(found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Gives a program of ours a second name `to` where both lie on one file system; copies any other.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), Problem> {
    let mode = fs::metadata(from).map_err(|e| failed("look at", from, e))?.mode() & ALL_BITS;
    if mode == PROGRAM_MODE && trust::is_ours(from) && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to)
}

/// Makes sure that everything written to `path` is on the disk.
pub(crate) fn sync(path: &Path) -> Result<(), Problem> {
    File::open(path).and_then(|file| flush(&file, path)).map_err(|e| failed("sync", path, e))
}

/// Syncs an open file. Every sync goes through here.
pub(crate) fn flush(file: &File, path: &Path) -> io::Result<()> {
    sync_hook::before_sync(path).unwrap_or_else(|| file.sync_all())
}

/// The text of a file, or nothing where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Problem> {
    let text = read_bytes(path)?.map(String::from_utf8).transpose();
    text.map_err(|e| failed("read", path, io::Error::new(ErrorKind::InvalidData, e.utf8_error())))
}

/// The bytes of a file, or nothing where there is none. It may be somebody else's: a pipe is not waited for, and one
/// without end is not read to it. It may be damaged: then it is no text.
pub(crate) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let bytes = open_file(path).and_then(|file| {
        let mut bytes = Vec::new();
        match file.take(LONGEST + 1).read_to_end(&mut bytes)? {
            length if length as u64 > LONGEST => Err(ErrorKind::FileTooLarge.into()),
            _ => Ok(bytes),
        }
    });
    match bytes {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some).map_err(|e| failed("read", path, e)),
    }
}

/// A record of ours in JSON. Nothing where there is none, or it is damaged.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Problem> {
    Ok(read_bytes(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The text of a file that may be damaged: a byte that is no text costs no more than itself. Nothing where there is none.
pub(crate) fn read_damaged(path: &Path) -> Result<Option<String>, Problem> {
    Ok(read_bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn write_synced(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        // A link in its place could lead root to write elsewhere.
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    flush(&file, path)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that renames")]
fn rename(from: &Path, to: &Path) -> Result<(), Problem> {
    fs::rename(from, to).map_err(|e| failed("rename to", to, e))?;
    sync_parent(to)
}

fn sync_parent(path: &Path) -> Result<(), Problem> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => Ok(()),
    }
}

/// A name beside the final one, so that the rename stays within one file system. Only the holder of the
/// root's lock writes below the root, so one name is enough.
fn staged_name(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

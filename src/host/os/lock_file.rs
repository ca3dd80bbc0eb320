//! Locks that one process of a host holds, with its name for others who want them.
//!
//! Whoever can open a file can lock it, even for reading. So only we may open ours. The file of an older
//! version, which anybody could open, is replaced, whoever holds it.

use super::{fs, trust, watchdog};
use crate::domain::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

/// How often a held lock is tried again.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// The mode of a lock's file: only its owner opens it.
const LOCK_MODE: u32 = 0o600;
/// The mode of the folder of a host's locks: only its owner enters it.
const FOLDER_MODE: u32 = 0o700;
/// Permissions of others than the owner, and those that change the identity of a program.
const OTHERS: u32 = 0o7077;

/// The holder of a lock; the lock file's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    command: String,
    since: jiff::Timestamp,
}

/// A lock that is held until this is dropped. Closing its file would not do: a child that another thread forks has the file
/// open, too, until it runs its program.
#[derive(Debug)]
pub struct HeldLock(File);

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Where unlocking fails, the file is closed all the same.
        let _closed = self.0.unlock();
    }
}

/// The users who may open a lock's file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Openers {
    We,
    Anybody,
}

/// Takes the lock of a file, waiting for at most `wait`. `command` is shown to processes that wait for it.
///
/// # Errors
/// [`Kind::Busy`] with the holder's name. A stranger is never waited for.
pub fn hold(path: &Path, wait: Duration, command: &str) -> Result<HeldLock, Problem> {
    let began = Instant::now();
    let mut file = loop {
        let (file, openers) = open(path)?;
        match (file.try_lock(), openers) {
            (Ok(()), Openers::We) if is_at(&file, path)? => break file,
            // The name was given to another file meanwhile.
            (Ok(()), Openers::We) => {}
            (Ok(()), Openers::Anybody) => replace(path)?,
            (Err(TryLockError::WouldBlock), Openers::Anybody) if !held_by_us(&file) => replace(path)?,
            (Err(TryLockError::WouldBlock), _) if began.elapsed() < wait => watchdog::pause(TRY_EVERY),
            (Err(TryLockError::WouldBlock), _) => return Err(busy(file)),
            (Err(TryLockError::Error(e)), _) => return Err(fs::failed("lock", path, e)),
        }
    };
    let holder =
        Holder { pid: std::process::id(), command: command.to_owned(), since: jiff::Timestamp::now() };
    // For people who find the lock held. It need not survive a power cut, and a full disk must not prevent a
    // rollback.
    let _unnamed = file
        .set_len(0)
        .and_then(|()| serde_json::to_vec(&holder).map_err(Into::into))
        .and_then(|text| file.write_all(&text));
    Ok(HeldLock(file))
}

/// Makes a folder that only we can enter. An older version's folder is closed.
pub(crate) fn enter_alone(folder: &Path) -> Result<(), Problem> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|e| fs::failed("make the directory", folder, e))?;
    let found = std::fs::symlink_metadata(folder).map_err(|e| fs::failed("look at", folder, e))?;
    if found.is_dir() && found.uid() == us() && found.mode() & OTHERS != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))
            .map_err(|e| fs::failed("set the mode of", folder, e))?;
    }
    Ok(())
}

/// Makes the lock's file of another program one that only we can open, unless it is. Whoever has the old one open keeps
/// that.
pub(crate) fn close(path: &Path) -> Result<(), Problem> {
    match open(path)? {
        (_, Openers::We) => Ok(()),
        (_, Openers::Anybody) => fs::write_as(path, LOCK_MODE, []),
    }
}

/// A problem with directories that somebody else could change or replace, by their own permissions or by those of a
/// folder above: a link there would lead what root writes elsewhere, and what they put there would be run.
///
/// # Errors
/// [`Kind::Refused`] that names what is not ours.
pub(crate) fn only_ours(directories: &[&Path]) -> Result<(), Problem> {
    let ours = trust::ours();
    directories.iter().try_for_each(|path| trust::believe(path, &ours).map(drop))
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Opens a lock's file, which is made if it is not there.
fn open(path: &Path) -> Result<(File, Openers), Problem> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|e| fs::failed("open", path, e))?;
    let found = file.metadata().map_err(|e| fs::failed("look at", path, e))?;
    let ours = found.uid() == us() && found.mode() & OTHERS == 0;
    Ok((file, if ours { Openers::We } else { Openers::Anybody }))
}

/// Gives the name to a new file that only we can open. Whoever has the old one open keeps that.
fn replace(path: &Path) -> Result<(), Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let turn = path.with_file_name(format!(".{name}.turn"));
    // One process at a time: a file that was replaced twice would be held twice. No older version makes this
    // one.
    let (turn, _) = open(&turn)?;
    turn.lock().map_err(|e| fs::failed("lock", path, e))?;
    close(path)
}

/// Whether this is still the file of that name.
fn is_at(file: &File, path: &Path) -> Result<bool, Problem> {
    let failed = |e| fs::failed("look at", path, e);
    let held = file.metadata().map_err(failed)?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// Whether root or we hold the lock of a file that anybody can open: then an older version is at work. An
/// unknown holder counts as one: two at once would be worse than to wait.
fn held_by_us(file: &File) -> bool {
    let ours = |pid: u32| {
        let owner = std::fs::metadata(format!("/proc/{pid}")).map(|found| found.uid());
        owner.map_or(true, |owner| owner == 0 || owner == us())
    };
    holder_of(file).map_or_else(
        // Whoever took it has left it to somebody else.
        || {
            let openers = openers(file);
            openers.is_empty() || openers.into_iter().any(ours)
        },
        ours,
    )
}

/// The process that holds the lock of this file, by the kernel. Nothing where that cannot be told, as in
/// another namespace.
fn holder_of(file: &File) -> Option<u32> {
    let ours = file.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let candidates = locks.lines().filter_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF`; one who waits has a `->` before it, and holds nothing.
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid) = (words.next()?, words.nth(2)?.parse::<u32>().ok()?);
        let inode = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (kind == "FLOCK" && inode == ours.ino() && pid != 0).then_some(pid)
    });
    // On some file systems the kernel's number of the device differs from the file's own.
    candidates.into_iter().find(|pid| times_open(*pid, (ours.dev(), ours.ino())) > 0)
}

/// Every process that has this file open, besides this call's own descriptor.
fn openers(file: &File) -> Vec<u32> {
    let Ok(ours) = file.metadata() else { return Vec::new() };
    let pids = std::fs::read_dir("/proc").into_iter().flatten();
    pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let looks = usize::from(*pid == std::process::id());
            times_open(*pid, (ours.dev(), ours.ino())) > looks
        })
        .collect()
}

/// How often a process has this file open.
fn times_open(pid: u32, file: (u64, u64)) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let open = open.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
    open.filter(|found| (found.dev(), found.ino()) == file).count()
}

/// The problem that names the holder. The file's text may be that of an older holder.
fn busy(mut file: File) -> Problem {
    let mut text = String::new();
    let told = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    let holds = holder_of(&file);
    let who = match (told, holds) {
        (Some(Holder { pid, command, since }), holds) if holds.is_none_or(|holds| holds == pid) => {
            format!("`{command}` (process {pid}) has been at work since {since:.0}")
        }
        (_, Some(pid)) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} (`{}`) holds the lock", name.trim())
        }
        (_, None) => "another awqdeploy is at work".to_owned(),
    };
    Problem::new(Kind::Busy, who).help("wait until it is done; `awqdeploy status` shows how far it is")
}

//! Proves a fetched file against its lock while it comes.
//!
//! The hash of the whole file decides, whatever else the lock says: it is what people compare with the hub, and
//! what names the content in the store. Pieces are hashed only where the whole is wrong, and then say where.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, PIECE},
        problem::Problem,
    },
    host::store::partial_file::PartialFile,
};
use sha2::{Digest as _, Sha256};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Bytes read at once where a part is read again; it comes from the page cache.
const CHUNK: usize = 256 << 10;

/// The comparison of a file with its lock, and its progress.
#[derive(Debug)]
pub(super) struct Proof {
    due: Sha256Digest,
    pieces: Option<Vec<Sha256Digest>>,
    there: Vec<AtomicBool>,
    /// The follower, absent while a connection hashes with it.
    follower: Mutex<Option<Follower>>,
}

/// The hash of a file from its start on.
#[derive(Debug, Default)]
pub(super) struct Follower {
    hasher: Sha256,
    /// The first piece that is not hashed yet.
    next: usize,
}

/// The result of the comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file is the locked one.
    Right,
    /// The file has this hash instead, since these pieces are wrong: all of them, where the lock has none.
    Wrong(Sha256Digest, Vec<usize>),
    /// The file has this hash instead, although each piece is the locked one: no file can be both.
    Contradicted(Sha256Digest),
}

impl Follower {
    /// Hashes bytes that come after all that were hashed.
    pub(super) fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }
}

impl Proof {
    pub(super) fn of(file: &LockedFile, pieces: usize) -> Self {
        Self {
            due: file.sha256,
            pieces: file.pieces.clone(),
            there: (0..pieces).map(|_| AtomicBool::new(false)).collect(),
            follower: Mutex::new(Some(Follower::default())),
        }
    }

    /// Hands out the follower if this piece is its next. The piece is then hashed as it comes, and need not
    /// be read again.
    pub(super) fn lead(&self, piece: usize) -> Option<Follower> {
        self.slot().take_if(|follower| follower.next == piece)
    }

    /// Takes back the follower with a finished piece, and hashes the pieces that follow. If another
    /// connection has the follower, that one, or the last, comes to this piece too.
    pub(super) fn follow(
        &self,
        part: &PartialFile,
        size: u64,
        piece: usize,
        led: Option<Follower>,
    ) -> Result<(), Problem> {
        self.there[piece].store(true, Ordering::Release);
        let led = led.map(|led| Follower { next: piece + 1, ..led });
        let Some(mut follower) = led.or_else(|| self.slot().take()) else { return Ok(()) };
        self.catch_up(&mut follower, part, size)?;
        *self.slot() = Some(follower);
        Ok(())
    }

    /// The result once all pieces are there.
    pub(super) fn conclude(&self, part: &PartialFile, size: u64) -> Result<Verdict, Problem> {
        // Each connection put the follower back before it counted its piece.
        let mut follower = self.slot().take().unwrap_or_default();
        self.catch_up(&mut follower, part, size)?;
        *self.slot() = Some(Follower::default());
        let found = Sha256Digest::finish(follower.hasher);
        if found == self.due {
            return Ok(Verdict::Right);
        }
        let mut wrong = Vec::new();
        for piece in 0..self.there.len() {
            let right = match &self.pieces {
                Some(pieces) => piece_on_disk(part, piece, size)? == pieces[piece],
                None => false,
            };
            if !right {
                self.there[piece].store(false, Ordering::Relaxed);
                wrong.push(piece);
            }
        }
        Ok(if wrong.is_empty() { Verdict::Contradicted(found) } else { Verdict::Wrong(found, wrong) })
    }

    fn catch_up(&self, follower: &mut Follower, part: &PartialFile, size: u64) -> Result<(), Problem> {
        let mut chunk = Vec::new();
        while self.there.get(follower.next).is_some_and(|there| there.load(Ordering::Acquire)) {
            chunk.resize(CHUNK, 0);
            feed(&mut follower.hasher, part, follower.next, size, &mut chunk)?;
            follower.next += 1;
        }
        Ok(())
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Follower>> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash of a piece on the disk.
fn piece_on_disk(part: &PartialFile, piece: usize, size: u64) -> Result<Sha256Digest, Problem> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, part, piece, size, &mut vec![0; CHUNK])?;
    Ok(Sha256Digest::finish(hasher))
}

fn feed(
    hasher: &mut Sha256,
    part: &PartialFile,
    piece: usize,
    size: u64,
    chunk: &mut [u8],
) -> Result<(), Problem> {
    let mut at = piece as u64 * PIECE.0;
    let end = size.min(at + PIECE.0);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK).min(chunk.len());
        part.read(&mut chunk[..length], at)?;
        hasher.update(&chunk[..length]);
        at += length as u64;
    }
    Ok(())
}

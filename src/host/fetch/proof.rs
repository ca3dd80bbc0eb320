//! How a fetched file is proven to be what was locked, while it comes.

use super::part::Part;
use crate::domain::{
    digest::Digest,
    lock::{LockedFile, PIECE},
    problem::Problem,
};
use sha2::{Digest as _, Sha256};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Bytes read at once where a part is read again; it comes from the page cache.
const CHUNK: usize = 256 << 10;

/// What a file is compared with.
#[derive(Debug)]
pub(super) enum Proof {
    /// Each piece has its own hash: a wrong byte costs a piece. The lock binds them to the file's.
    Pieces(Vec<Digest>),
    /// Only the whole file has one.
    Whole(Whole),
}

/// A file that is hashed in order, behind the connections that write its pieces.
#[derive(Debug)]
pub(super) struct Whole {
    due: Digest,
    there: Vec<AtomicBool>,
    follower: Mutex<Follower>,
}

/// What was hashed from the start of the file on, up to the first piece that is not there.
#[derive(Debug, Default)]
struct Follower {
    hasher: Sha256,
    next: usize,
}

impl Proof {
    pub(super) fn of(file: &LockedFile) -> Self {
        match &file.pieces {
            Some(pieces) => Self::Pieces(pieces.clone()),
            // It is its only piece.
            None if file.size <= PIECE => Self::Pieces(vec![file.sha256]),
            None => Self::Whole(Whole {
                due: file.sha256,
                there: (0..file.piece_count()).map(|_| AtomicBool::new(false)).collect(),
                follower: Mutex::default(),
            }),
        }
    }

    /// Whether pieces can be told right from wrong.
    pub(super) fn is_by_piece(&self) -> bool {
        matches!(self, Self::Pieces(_))
    }

    /// The hash of one piece, where it has one.
    pub(super) fn piece(&self, piece: usize) -> Option<Digest> {
        match self {
            Self::Pieces(pieces) => pieces.get(piece).copied(),
            Self::Whole(_) => None,
        }
    }

    /// A piece is there. Hashes what can be hashed, unless another connection is about it: that one, or
    /// the last, comes to this piece too.
    pub(super) fn follow(&self, part: &Part, size: u64, piece: usize) -> Result<(), Problem> {
        let Self::Whole(whole) = self else { return Ok(()) };
        whole.there[piece].store(true, Ordering::Release);
        match whole.follower.try_lock() {
            Ok(mut follower) => whole.catch_up(&mut follower, part, size),
            Err(_) => Ok(()),
        }
    }

    /// All pieces are there: what the whole file is instead of what was locked, if it is another.
    pub(super) fn conclude(&self, part: &Part, size: u64) -> Result<Option<Digest>, Problem> {
        let Self::Whole(whole) = self else { return Ok(None) };
        let mut follower = whole.follower.lock().unwrap_or_else(PoisonError::into_inner);
        whole.catch_up(&mut follower, part, size)?;
        let Follower { hasher, .. } = std::mem::take(&mut *follower);
        for there in &whole.there {
            there.store(false, Ordering::Relaxed);
        }
        let found = Digest::finish(hasher);
        Ok((found != whole.due).then_some(found))
    }
}

impl Whole {
    fn catch_up(&self, follower: &mut Follower, part: &Part, size: u64) -> Result<(), Problem> {
        let mut chunk = Vec::new();
        while self.there.get(follower.next).is_some_and(|there| there.load(Ordering::Acquire)) {
            chunk.resize(CHUNK, 0);
            feed(&mut follower.hasher, part, follower.next, size, &mut chunk)?;
            follower.next += 1;
        }
        Ok(())
    }
}

/// What a piece on the disk is.
pub(super) fn piece_on_disk(part: &Part, piece: usize, size: u64) -> Result<Digest, Problem> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, part, piece, size, &mut vec![0; CHUNK])?;
    Ok(Digest::finish(hasher))
}

fn feed(hasher: &mut Sha256, part: &Part, piece: usize, size: u64, chunk: &mut [u8]) -> Result<(), Problem> {
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

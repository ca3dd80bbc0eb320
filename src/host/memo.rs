//! What was hashed once and has not been touched since: it need not be hashed again.
//!
//! A file counts as untouched while device, inode, length, and the times of its last change of content
//! and of anything are the same. No program can set the latter. The memo is root's: it guards against
//! accidents, not against root.

use crate::domain::{digest::Digest, size::Bytes};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

/// A file written to within this time before it was hashed may be written to again without a later
/// time to show it: clocks of file systems are coarse (4 ms on Linux, 2 s on FAT).
const TOO_FRESH: Duration = Duration::from_secs(2);

/// By content, the one file that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo(BTreeMap<Digest, Stamp>);

/// What cannot stay the same when a file's content changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: Bytes,
    /// Seconds and nanoseconds of the last change of its content.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of anything, its links included.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: Bytes(metadata.len()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change of content after this moment is sure to show.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let limit =
            now.checked_sub(TOO_FRESH).and_then(|limit| limit.duration_since(SystemTime::UNIX_EPOCH).ok());
        let seconds = limit.and_then(|limit| i64::try_from(limit.as_secs()).ok());
        // A time in the future, after a clock was set back, is not settled either.
        seconds.is_some_and(|seconds| self.modified.0 < seconds)
    }

    /// Whether nothing but the file's links can have changed from the other stamp to this one.
    fn is_only_linked_since(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

impl Memo {
    /// Whether this file is known to hold this content.
    pub fn knows(&self, content: &Digest, stamp: &Stamp) -> bool {
        self.0.get(content) == Some(stamp)
    }

    /// Notes that this file holds this content.
    pub fn note(&mut self, content: Digest, stamp: Stamp) {
        self.0.insert(content, stamp);
    }

    /// Notes that a known file got or lost a link, which is a change of the file that shows as one.
    pub fn note_links(&mut self, content: &Digest, before: &Stamp, after: &Stamp) {
        if self.knows(content, before) && after.is_only_linked_since(before) {
            self.note(*content, *after);
        }
    }

    /// Forgets all contents but these.
    pub fn keep(&mut self, wanted: impl Fn(&Digest) -> bool) {
        self.0.retain(|content, _| wanted(content));
    }
}

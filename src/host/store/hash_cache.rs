//! The hash cache of files: a file that was hashed and has not been touched since need not be hashed again.
//!
//! A file counts as untouched while device, inode, length, and the times of its last change of content and of
//! anything are the same. No program can set the latter. The cache is root's: it guards against accidents,
//! not against root.
//!
//! The service may not write to the store, and has a cache of its own, in the directory that systemd gives
//! it. The engine runs as the same user and could forge that cache; but it cannot write to the store, and
//! needs no forgery to serve something else.

use crate::{
    domain::{digest::Sha256Digest, problem::Problem, size::ByteSize},
    host::os::fs,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file written to within this time before it was hashed may be written to again without a later
/// time to show it: clocks of file systems are coarse (4 ms on Linux, 2 s on FAT).
const TOO_FRESH: Duration = Duration::from_secs(2);

/// Times of any change, which no program can set, are those of the kernel's clock: it ticks every 10 ms or oftener.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// The service's own cache in its directory.
const OWN: &str = "memo.json";

/// The stamp of the one file that holds each content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashCache(BTreeMap<Sha256Digest, Stamp>);

/// The stamp of a file: it changes whenever the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: ByteSize,
    /// Seconds and nanoseconds of the last change of its content.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of anything, its links included.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: ByteSize(metadata.len()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change of content after this moment is sure to show.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        is_long_ago(self.modified, now)
    }

    /// Whether any change after this moment is sure to show, even one whose time of content was set back: the clock of
    /// the file system has ticked since the last.
    pub(crate) fn is_quiet(&self, now: SystemTime) -> bool {
        self.is_settled(now) && self.ticked_since(now)
    }

    /// Whether the clock of the file system has ticked since the last change of anything.
    pub(crate) fn ticked_since(&self, now: SystemTime) -> bool {
        let now = now.checked_sub(TICK).and_then(|now| now.duration_since(SystemTime::UNIX_EPOCH).ok());
        let now =
            now.and_then(|now| Some((i64::try_from(now.as_secs()).ok()?, i64::from(now.subsec_nanos()))));
        now.is_some_and(|now| self.changed < now)
    }

    /// Whether any change after this moment is sure to show, of the links and the mode too.
    pub(crate) fn is_at_rest(&self, now: SystemTime) -> bool {
        is_long_ago(self.changed, now)
    }

    /// Whether nothing but the file's links can have changed from the other stamp to this one.
    pub(crate) fn is_only_linked_since(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

fn is_long_ago(time: (i64, i64), now: SystemTime) -> bool {
    let limit =
        now.checked_sub(TOO_FRESH).and_then(|limit| limit.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = limit.and_then(|limit| i64::try_from(limit.as_secs()).ok());
    // A time in the future, after a clock was set back, is too fresh as well.
    seconds.is_some_and(|seconds| time.0 < seconds)
}

impl HashCache {
    /// Whether this file is known to hold this content.
    pub(crate) fn knows(&self, content: &Sha256Digest, stamp: &Stamp) -> bool {
        self.0.get(content) == Some(stamp)
    }

    /// Notes that this file holds this content.
    pub fn note(&mut self, content: Sha256Digest, stamp: Stamp) {
        self.0.insert(content, stamp);
    }

    /// Notes that a known file got or lost a link, which changes its stamp.
    pub(crate) fn note_links(&mut self, content: &Sha256Digest, before: &Stamp, after: &Stamp) {
        if self.knows(content, before) && after.is_only_linked_since(before) {
            self.note(*content, *after);
        }
    }

    /// Reads the cache of a file. A damaged file counts as an empty one: everything is hashed again.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        Ok(fs::read_record(path)?.unwrap_or_default())
    }

    /// The text of the cache's file.
    pub(crate) fn text(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(|e| Problem::doing("write down what was hashed", e))
    }

    /// Merges two caches; where both know a content, the newer stamp counts.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        for (content, stamp) in other.0 {
            if self.0.get(&content).is_none_or(|known| known.changed < stamp.changed) {
                self.note(content, stamp);
            }
        }
        self
    }

    /// Forgets this content.
    pub(crate) fn forget(&mut self, content: &Sha256Digest) {
        self.0.remove(content);
    }

    /// Forgets all contents but these.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&Sha256Digest) -> bool) {
        self.0.retain(|content, _| wanted(content));
    }
}

/// A file in the directory that systemd gives the service to write to (`StateDirectory=`).
pub(crate) fn of_service(name: &str) -> Option<PathBuf> {
    let directories = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let first = directories.split(':').next().filter(|first| !first.is_empty())?;
    Some(Path::new(first).join(name))
}

/// The service's own cache: none where systemd does not run this process.
#[derive(Clone, Debug)]
pub(crate) struct ServiceHashCache(Option<PathBuf>);

impl ServiceHashCache {
    /// The cache in the directory that systemd gives the service to write to (`StateDirectory=`).
    pub(crate) fn of_service() -> Self {
        Self(of_service(OWN))
    }

    /// Reads the cache.
    pub(crate) fn read(&self) -> HashCache {
        // The cache only saves time: without it the service hashes.
        self.0.as_deref().and_then(|path| HashCache::read(path).ok()).unwrap_or_default()
    }

    /// Adds what was proven now, and forgets what was found damaged.
    pub(crate) fn update(
        &self,
        noted: &[(Sha256Digest, Stamp)],
        damaged: impl IntoIterator<Item = Sha256Digest>,
    ) -> Result<(), Problem> {
        let Some(path) = self.0.as_deref() else { return Ok(()) };
        let before = self.read();
        let mut cache = before.clone();
        for (content, stamp) in noted {
            cache.note(*content, *stamp);
        }
        for content in damaged {
            cache.forget(&content);
        }
        if cache == before { Ok(()) } else { fs::write_unlocked(path, cache.text()?) }
    }
}

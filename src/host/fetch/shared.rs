//! The state that the connections of one fetch share.

use super::proof::Proof;
use crate::{
    domain::{
        digest::Sha256Digest,
        hub::{Quiet, Throttle, schedule::Schedule},
        lockfile::LockedFile,
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        hub::{Settings, Share, Source, Turns},
        os::signals::Interrupt,
        store::partial_file::PartialFile,
    },
};
use std::{
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// The state that the connections share.
pub(crate) struct Shared<'a> {
    pub(super) means: &'a FetchOptions<'a>,
    pub(super) files: Vec<Fetched<'a>>,
    pub(super) schedule: Mutex<Schedule>,
    /// Notified when there may be new work, or none any more.
    pub(super) changed: Condvar,
    pub(super) stop: AtomicBool,
    pub(super) bytes: AtomicU64,
    /// Whether the hub wants to be left alone, by any of the connections.
    pub(super) quiet: Mutex<Quiet>,
    /// The rate of all connections together, where one is set.
    throttle: Option<Mutex<Throttle>>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(wanted: &'a [WantedFile], means: &'a FetchOptions<'a>) -> Result<Self, Problem> {
        let files: Vec<Fetched<'a>> =
            wanted.iter().map(|wanted| Fetched::open(wanted, means.folder)).collect::<Result<_, _>>()?;
        // Pieces that an earlier run left are wanted too: the connection that comes to them checks them.
        let all = files.iter().map(|file| vec![true; file.left.len()]);
        let Share { rate, connections, .. } = means.settings.share;
        let schedule = Schedule::new(connections.into(), all);
        Ok(Self {
            means,
            files,
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            quiet: Mutex::default(),
            throttle: rate.map(|rate| Mutex::new(Throttle::new(rate))),
        })
    }

    /// Takes messages until all connections have ended.
    pub(super) fn listen(
        &self,
        messages: &mpsc::Receiver<Message>,
        tell: &mut dyn FnMut(FetchProgress<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for file in self.files.iter().filter(|file| file.left.is_empty()) {
            // An empty file has only one hash.
            if file.wanted.file.sha256 != Sha256Digest::of("") {
                let what = format!(
                    "`{}` is empty, and locked with the hash of something",
                    file.wanted.file.path.display()
                );
                return Err(
                    Problem::new(Kind::Unverified, what).help("lock it anew: `awqdeploy lock PROFILE`")
                );
            }
            file.part.begin()?;
            file.part.close();
            tell(FetchProgress::Whole(&file.wanted.file, file.part.path()))?;
        }
        loop {
            let message = messages.recv_timeout(TELL_EVERY);
            tell(FetchProgress::Progress(ByteSize(self.bytes.load(Ordering::Relaxed))))?;
            match message {
                Ok(Message::Whole(number)) => {
                    let file = &self.files[number];
                    tell(FetchProgress::Whole(&file.wanted.file, file.part.path()))?;
                }
                Ok(Message::Trouble(text)) => tell(FetchProgress::Trouble(text))?,
                Ok(Message::Failed(problem)) => return Err(problem),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stopped(),
            }
        }
    }

    /// Tells all connections to end.
    pub(super) fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// A problem if the connections are to end.
    pub(super) fn stopped(&self) -> Result<(), Problem> {
        if self.means.interrupt.came() || self.stop.load(Ordering::Relaxed) {
            return Err(Problem::new(Kind::Interrupted, "stopped; what was fetched is kept")
                .help("run it again: it goes on where it stopped"));
        }
        Ok(())
    }

    /// Counts bytes that came. Returns how long to wait before more are read.
    pub(super) fn take(&self, bytes: u64) -> Duration {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(throttle) = &self.throttle else { return Duration::ZERO };
        throttle.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, Instant::now())
    }

    pub(super) fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most sources of one file that are asked.
const MOST_SOURCES: usize = 64;

/// A file on its way.
pub(crate) struct Fetched<'a> {
    pub(super) wanted: &'a WantedFile,
    pub(super) part: PartialFile,
    pub(super) proof: Proof,
    /// Pieces that an earlier run left, until they are looked at.
    pub(super) left: Vec<AtomicBool>,
    pub(super) missing: AtomicUsize,
    /// The sources that were given up, a bit each.
    gone: AtomicU64,
    /// Whether its sources give no parts of it.
    pub(super) no_parts: AtomicBool,
    /// How often it was whole and not what was locked.
    pub(super) wrong: AtomicUsize,
}

impl<'a> Fetched<'a> {
    pub(super) fn open(wanted: &'a WantedFile, folder: &Path) -> Result<Self, Problem> {
        let (part, there) = PartialFile::open(folder, &wanted.file)?;
        let proof = Proof::of(&wanted.file, there.len());
        Ok(Self {
            wanted,
            part,
            proof,
            missing: AtomicUsize::new(there.len()),
            left: there.into_iter().map(AtomicBool::new).collect(),
            gone: AtomicU64::new(0),
            no_parts: AtomicBool::new(false),
            wrong: AtomicUsize::new(0),
        })
    }

    /// The source that a connection asks: the first that was not given up; or, where all are asked at once, one that
    /// not every connection asks. Nothing where all were given up.
    pub(super) fn source(&self, connection: usize, turns: Turns) -> Option<usize> {
        let gone = self.gone.load(Ordering::Relaxed);
        let left: Vec<usize> = (0..self.sources()).filter(|source| gone & (1 << source) == 0).collect();
        // Once the file was wrong nobody knows whose pieces were: one source after the other brings them again.
        let at_once = turns == Turns::AtOnce && self.wrong.load(Ordering::Relaxed) == 0;
        let turn = if at_once { connection % left.len().max(1) } else { 0 };
        left.get(turn).copied()
    }

    /// Gives up a source. Returns whether nobody had done so before.
    pub(super) fn give_up(&self, source: usize) -> bool {
        self.gone.fetch_or(1 << source, Ordering::Relaxed) & (1 << source) == 0
    }

    /// Gives up the first source, unless it is the last that is left.
    pub(super) fn turn_away(&self) {
        let gone = self.gone.load(Ordering::Relaxed).count_ones() as usize;
        if let Some(first) = self.source(0, Turns::InTurn).filter(|_| gone + 1 < self.sources()) {
            self.give_up(first);
        }
    }

    /// The number of sources: a bit is kept of each.
    fn sources(&self) -> usize {
        self.wanted.sources.len().min(MOST_SOURCES)
    }

    pub(super) fn size(&self) -> u64 {
        self.wanted.file.size.0
    }
}

/// A message from a connection to the caller's thread.
pub(crate) enum Message {
    Whole(usize),
    Trouble(String),
    Failed(Problem),
}

/// A file to fetch.
#[derive(Clone, Debug)]
pub(crate) struct WantedFile {
    /// The lock of the file.
    pub(crate) file: LockedFile,
    /// The sources, best first; at least one.
    pub(crate) sources: Vec<Source>,
}

/// The settings of a fetch.
#[derive(Clone, Debug)]
pub(crate) struct FetchOptions<'a> {
    /// The folder of partial files, on the file system of the store.
    pub(crate) folder: &'a Path,
    /// The settings of the hub.
    pub(crate) settings: &'a Settings,
    /// Whether a person wants it to stop.
    pub(crate) interrupt: &'a Interrupt,
}

/// The progress of a fetch.
#[derive(Debug)]
pub(crate) enum FetchProgress<'a> {
    /// Bytes that are there, those of earlier runs included.
    Progress(ByteSize),
    /// A fault, after which another way is tried.
    Trouble(String),
    /// A file is whole and proven; it is to be taken from its part.
    Whole(&'a LockedFile, &'a Path),
}

/// The time between two reports of progress.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(100);

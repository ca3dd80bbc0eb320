//! The state that the connections of one fetch share.

use super::proof::Proof;
use crate::{
    domain::{
        digest::Sha256Digest,
        hub::{Quiet, schedule::Schedule},
        lockfile::LockedFile,
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        hub::{Settings, Source},
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
    time::Duration,
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
}

impl<'a> Shared<'a> {
    pub(super) fn new(wanted: &'a [WantedFile], means: &'a FetchOptions<'a>) -> Result<Self, Problem> {
        let files: Vec<Fetched<'a>> =
            wanted.iter().map(|wanted| Fetched::open(wanted, means.folder)).collect::<Result<_, _>>()?;
        // Pieces that an earlier run left are wanted too: the connection that comes to them checks them.
        let all = files.iter().map(|file| vec![true; file.left.len()]);
        let schedule = Schedule::new(means.connections, all);
        Ok(Self {
            means,
            files,
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            quiet: Mutex::default(),
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

    pub(super) fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file on its way.
pub(crate) struct Fetched<'a> {
    pub(super) wanted: &'a WantedFile,
    pub(super) part: PartialFile,
    pub(super) proof: Proof,
    /// Pieces that an earlier run left, until they are looked at.
    pub(super) left: Vec<AtomicBool>,
    pub(super) missing: AtomicUsize,
    /// The index of the source that is asked.
    pub(super) source: AtomicUsize,
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
            source: AtomicUsize::new(0),
            no_parts: AtomicBool::new(false),
            wrong: AtomicUsize::new(0),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.wanted.file.size.0
    }
}

/// What a connection tells the caller's thread.
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
    /// The number of connections, at least 1.
    pub(crate) connections: usize,
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

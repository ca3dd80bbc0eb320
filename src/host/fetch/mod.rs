//! Fetches many files over several connections, hashed while they come.
//!
//! Each connection is a thread with an event loop of its own: it reads, hashes and writes one after the
//! other, so that nothing queues up between the three and memory stays small whatever the disk does. The
//! caller's own thread takes the finished files and shows how far it is.

mod connection;
pub mod part;
mod proof;

use super::{
    hub::{Settings, Source},
    signals::Interrupt,
};
use crate::domain::{
    digest::Digest,
    lock::LockedFile,
    problem::{Kind, Problem},
    schedule::Schedule,
    size::Bytes,
};
use part::Part;
use proof::Proof;
use std::{
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A file to fetch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it must be.
    pub file: LockedFile,
    /// Where it is, best first; at least one.
    pub sources: Vec<Source>,
}

/// What a fetch tells while it runs.
#[derive(Debug)]
pub enum News<'a> {
    /// So many bytes are there, those of earlier runs included.
    Progress(Bytes),
    /// Something went wrong, and is tried in another way.
    Trouble(String),
    /// A file is whole and proven; it is to be taken from its part.
    Whole(&'a LockedFile, &'a Path),
}

/// How to go about it.
#[derive(Clone, Debug)]
pub struct Means<'a> {
    /// Where parts are kept, on the file system of the store.
    pub folder: &'a Path,
    /// Which hub.
    pub settings: &'a Settings,
    /// How many connections at once, at least 1.
    pub connections: usize,
    /// Whether a person wants it to stop.
    pub interrupt: &'a Interrupt,
}

/// What the connections share.
struct Shared<'a> {
    means: &'a Means<'a>,
    files: Vec<Fetched<'a>>,
    schedule: Mutex<Schedule>,
    /// Told when there may be new work, or none any more.
    changed: Condvar,
    stop: AtomicBool,
    bytes: AtomicU64,
}

/// A file on its way.
struct Fetched<'a> {
    wanted: &'a Wanted,
    part: Part,
    proof: Proof,
    /// Pieces that an earlier run left, until they are looked at.
    left: Vec<AtomicBool>,
    missing: AtomicUsize,
    /// Which of its sources is asked.
    source: AtomicUsize,
    /// How often it was whole and not what was locked.
    wrong: AtomicUsize,
}

/// What a connection tells the caller's thread.
enum Message {
    Whole(usize),
    Trouble(String),
    Failed(Problem),
}

/// Fetches these files. Each is handed over as [`News::Whole`] once. What is there when it fails stays
/// for the next run.
///
/// # Errors
/// [`Kind::Unverified`] where a file cannot be had from any of its sources, [`Kind::Interrupted`], or what
/// `tell` says.
pub fn fetch(
    wanted: &[Wanted],
    means: &Means<'_>,
    tell: &mut dyn FnMut(News<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let shared = Shared::new(wanted, means)?;
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..means.connections.max(1) {
            let (shared, send) = (&shared, send.clone());
            scope.spawn(move || {
                if let Err(problem) = connection::run(shared, number, &send) {
                    let _over = send.send(Message::Failed(problem));
                    shared.halt();
                }
            });
        }
        drop(send);
        let ended = shared.listen(&receive, tell);
        shared.halt();
        ended
    })
}

impl<'a> Shared<'a> {
    fn new(wanted: &'a [Wanted], means: &'a Means<'a>) -> Result<Self, Problem> {
        let files: Vec<Fetched<'a>> =
            wanted.iter().map(|wanted| Fetched::open(wanted, means.folder)).collect::<Result<_, _>>()?;
        // Pieces that are left are wanted too: whoever comes to them looks whether they are right.
        let all = files.iter().map(|file| vec![true; file.left.len()]);
        let schedule = Schedule::new(means.connections, all);
        Ok(Self {
            means,
            files,
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
        })
    }

    /// Takes messages until all connections have ended.
    fn listen(
        &self,
        messages: &mpsc::Receiver<Message>,
        tell: &mut dyn FnMut(News<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for file in self.files.iter().filter(|file| file.left.is_empty()) {
            // Nothing has one hash only.
            if file.wanted.file.sha256 != Digest::of("") {
                let what = format!(
                    "`{}` is empty, and locked with the hash of something",
                    file.wanted.file.path.display()
                );
                return Err(
                    Problem::new(Kind::Unverified, what).help("lock it anew: `awqdeploy lock PROFILE`")
                );
            }
            tell(News::Whole(&file.wanted.file, file.part.path()))?;
        }
        loop {
            let message = messages.recv_timeout(TELL_EVERY);
            tell(News::Progress(Bytes(self.bytes.load(Ordering::Relaxed))))?;
            match message {
                Ok(Message::Whole(number)) => {
                    let file = &self.files[number];
                    tell(News::Whole(&file.wanted.file, file.part.path()))?;
                }
                Ok(Message::Trouble(text)) => tell(News::Trouble(text))?,
                Ok(Message::Failed(problem)) => return Err(problem),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stopped(),
            }
        }
    }

    /// Tells all connections to end.
    fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// A problem if the connections are to end.
    fn stopped(&self) -> Result<(), Problem> {
        if self.means.interrupt.came() || self.stop.load(Ordering::Relaxed) {
            return Err(Problem::new(Kind::Interrupted, "stopped; what was fetched is kept")
                .help("run it again: it goes on where it stopped"));
        }
        Ok(())
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Fetched<'a> {
    fn open(wanted: &'a Wanted, folder: &Path) -> Result<Self, Problem> {
        let (part, there) = Part::open(folder, &wanted.file)?;
        let proof = Proof::of(&wanted.file, there.len());
        Ok(Self {
            wanted,
            part,
            proof,
            missing: AtomicUsize::new(there.len()),
            left: there.into_iter().map(AtomicBool::new).collect(),
            source: AtomicUsize::new(0),
            wrong: AtomicUsize::new(0),
        })
    }

    fn size(&self) -> u64 {
        self.wanted.file.size.0
    }
}

//! Does the same work on many items, on all cores, while one thread reports the progress.

use super::signals::Interrupt;
use crate::domain::{
    problem::{Kind, Problem},
    size::ByteSize,
};
use std::{
    num::NonZero,
    sync::{
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread::{available_parallelism, scope},
    time::Duration,
};

/// Bytes read at once. Measured: 256 KiB and more cost a third more system time on busy machines, since they
/// fall out of the cache between the kernel's copy and the hashing.
const CHUNK: usize = 64 << 10;
/// The time between two reports of progress.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Called with the bytes done so far.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(ByteSize);

/// One of the working threads.
pub(crate) struct Worker<'a> {
    /// A buffer, always as long as is good to read at once.
    pub(crate) chunk: Vec<u8>,
    shared: &'a Shared<'a>,
}

struct Shared<'a> {
    next: AtomicUsize,
    done: AtomicU64,
    failed: AtomicBool,
    interrupt: &'a Interrupt,
}

impl Worker<'_> {
    /// Counts bytes as done, every few MiB. A problem if there is no use in going on.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), Problem> {
        self.shared.done.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.shared.failed.load(Ordering::Relaxed) {
            // Never seen: the other thread's problem is returned first.
            return Err(Problem::new(Kind::Interrupted, "stopped, since something else failed"));
        }
        self.shared.interrupt.check()
    }
}

/// The number of threads: as many as this process may use cores.
pub(crate) fn threads() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// Works on each item, on as many threads as this process may use cores. The results are in the order
/// of the items.
///
/// # Errors
/// The first problem that any of the work had; the other threads then stop at their next count.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    interrupt: &Interrupt,
    progress: Progress<'_>,
    work: impl Fn(&T, &mut Worker<'_>) -> Result<R, Problem> + Sync,
) -> Result<Vec<R>, Problem> {
    each_of(threads(), items, interrupt, progress, work)
}

/// Works on each item as [`each`] does, on so many threads: for work that waits for others.
pub(crate) fn each_of<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    interrupt: &Interrupt,
    progress: Progress<'_>,
    work: impl Fn(&T, &mut Worker<'_>) -> Result<R, Problem> + Sync,
) -> Result<Vec<R>, Problem> {
    let shared = Shared {
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        interrupt,
    };
    let threads = threads.min(items.len());
    let (sender, receiver) = channel();
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let mut problem = None;
    scope(|scope| {
        for _ in 0..threads {
            let (sender, shared, work) = (sender.clone(), &shared, &work);
            scope.spawn(move || {
                let mut worker = Worker { chunk: vec![0; CHUNK], shared };
                while let Some((index, item)) = shared.take(items) {
                    let result = worker.count(0).and_then(|()| work(item, &mut worker));
                    shared.failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    // The receiver lives as long as this scope.
                    let _unheard = sender.send((index, result));
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(TELL_EVERY) {
                Ok((index, Ok(result))) => results[index] = Some(result),
                Ok((_, Err(found))) => problem = problem.take().or(Some(found)),
                Err(RecvTimeoutError::Timeout) => progress(ByteSize(shared.done.load(Ordering::Relaxed))),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    progress(ByteSize(shared.done.into_inner()));
    match problem {
        Some(problem) => Err(problem),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

impl Shared<'_> {
    fn take<'i, T>(&self, items: &'i [T]) -> Option<(usize, &'i T)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        items.get(index).filter(|_| !self.failed.load(Ordering::Relaxed)).map(|item| (index, item))
    }
}

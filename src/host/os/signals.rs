//! Notes signals such as Ctrl-C. Nothing acts on them here.

use super::watchdog;
use crate::{
    domain::problem::{Kind, Problem},
    host::event_loop,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// How often a waiting thread checks for a signal.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether somebody asked this process to stop, and by which signal. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

/// The meaning of a signal to a process that only follows an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Ctrl-C: the activation shall stop.
    Stop,
    /// The terminal is gone, or this process alone is to end: the activation goes on.
    Leave,
}

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP. None of them ends the process any more.
    pub fn listen() -> Result<Self, Problem> {
        let noted = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&noted), number)
                .map_err(|e| Problem::doing("listen for signals", e))?;
        }
        Ok(Self(noted))
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        // Every wait asks this again and again.
        watchdog::beat();
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether the last signal asks this process alone to end: after the commit, Ctrl-C comes too late.
    pub(crate) fn is_to_leave(&self) -> bool {
        !matches!(i32::try_from(self.0.load(Ordering::Relaxed)), Ok(0 | SIGINT))
    }

    /// The meaning of the last signal to a follower; it counts once.
    pub(crate) fn wish(&self) -> Option<Wish> {
        match i32::try_from(self.0.swap(0, Ordering::Relaxed)) {
            Ok(0) => None,
            Ok(SIGINT) => Some(Wish::Stop),
            _ => Some(Wish::Leave),
        }
    }

    /// Drives `work` to its end on an event loop of its own, unless a signal comes first.
    pub(crate) fn drive<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        event_loop()?.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = self.arrival() => Err(Problem::new(Kind::Interrupted, "stopped by a signal")),
            }
        })
    }

    /// Waits until a signal comes.
    pub(crate) async fn arrival(&self) {
        while !self.came() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Notes a request to stop, as Ctrl-C would.
    pub fn raise(&self) {
        self.0.store(usize::try_from(SIGINT).unwrap_or(1), Ordering::Relaxed);
    }

    /// A problem if a signal came. It is called between stages before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.came() {
            return Err(Problem::new(Kind::Interrupted, "stopped before anything was changed"));
        }
        Ok(())
    }
}

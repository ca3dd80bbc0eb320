//! Fetches many files over several connections, hashed while they come.
//!
//! Each connection is a thread with an event loop of its own: it reads, hashes and writes one after the
//! other, so that nothing queues up between the three and memory stays small whatever the disk does. The
//! caller's own thread takes the finished files and shows the progress.

mod connection;
mod proof;
mod shared;

use crate::domain::problem::Problem;
pub(crate) use shared::{FetchOptions, FetchProgress, WantedFile};
use shared::{Message, Shared};
use std::{
    sync::mpsc::{self},
    thread,
};

/// Fetches these files. Each is handed over once, as [`FetchProgress::Whole`]. A failed run leaves its pieces
/// for the next.
///
/// # Errors
/// [`Kind::Unverified`] where a file cannot be had from any of its sources, [`Kind::Interrupted`], or what
/// `tell` says.
pub(crate) fn fetch(
    wanted: &[WantedFile],
    means: &FetchOptions<'_>,
    tell: &mut dyn FnMut(FetchProgress<'_>) -> Result<(), Problem>,
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

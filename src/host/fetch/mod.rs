//! Fetches many files over several connections, hashed while they come.
//!
//! Each connection is a thread with an event loop of its own: it reads, hashes and writes one after the
//! other, so that nothing queues up between the three and memory stays small whatever the disk does. The
//! caller's own thread takes the finished files and shows the progress.

mod connection;
mod proof;
mod shared;

use crate::domain::problem::Problem;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    raise_open_files();
    let shared = Shared::new(wanted, means)?;
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..usize::from(means.settings.share.connections.max(1)) {
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

/// Lets this process open as many files as the host allows it: many of a model's may be under way at once.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, the usual limit is enough for all that is open at once.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

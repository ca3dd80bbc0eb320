//! Effects: one file per outside thing. Nothing here decides, or prints.

pub mod checkpoint;
pub mod fetch;
pub(crate) mod gc;
pub mod hub;
pub mod machine;
pub mod models;
pub mod os;
pub mod process;
mod profile_files;
pub mod profiles;
pub mod rehearsal;
pub mod runtimes;
pub mod store;
pub mod systemd;
pub mod vllm;

use crate::domain::problem::Problem;

/// An event loop on this thread, for one story that waits for several things at once.
pub(crate) fn event_loop() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::doing("start the event loop", e))
}

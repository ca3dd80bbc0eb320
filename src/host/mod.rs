//! Effects: one file per outside thing. Nothing here decides, or prints.

mod byte_code;
pub mod check;
pub mod checkpoint;
pub mod collect;
mod connection;
pub mod content;
pub mod control_group;
mod damage;
pub mod enclosed;
pub mod engine;
pub mod engine_process;
pub mod engine_word;
pub mod exec;
pub mod fetch;
pub mod folder;
pub mod foreign;
pub mod fs;
pub mod gpu;
mod heard;
pub mod holding;
pub mod http;
pub mod hub;
pub mod installed;
pub mod interpreters;
pub mod journal;
pub mod journald;
pub mod leftovers;
pub mod link_probe;
pub mod machine;
pub mod memo;
pub mod models;
pub mod needs;
pub mod nix_store;
pub mod notify;
pub mod os;
pub mod page_cache;
pub mod parallel;
mod pidfd;
pub mod port;
pub mod processes;
pub mod pulse;
pub mod repair;
pub mod resolver;
pub mod running;
pub mod runtimes;
mod seal;
pub mod secrets;
pub mod service;
pub mod serving;
pub mod signals;
pub mod staged;
pub mod store;
pub mod systemd;
pub mod tally;
pub mod transcript;
pub mod transient;
pub mod tree;
pub mod trust;
pub mod unit_folder;
pub mod uptime;
pub mod usage;
pub mod uv;
pub mod wheels;
pub mod whose;
pub mod witness;

use crate::domain::problem::Problem;

/// An event loop on this thread, for one story that waits for several things at once.
pub fn event_loop() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::doing("start the event loop", e))
}

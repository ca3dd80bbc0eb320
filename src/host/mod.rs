//! Effects: one file per outside thing. Nothing here decides, or prints.

pub mod engine_process;
pub mod exec;
pub mod fs;
pub mod journal;
pub mod models;
pub mod notify;
pub mod port;
pub mod processes;
pub mod runtimes;
pub mod service;
pub mod signals;
pub mod store;
pub mod systemd;
pub mod tree;

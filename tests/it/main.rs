//! The integration tests that need nothing but this machine's kernel: one binary, one module a topic.

// The exceptions of clippy.toml are for functions marked as tests; here everything is a test.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests start the programs that they test"
)]

mod activation;
mod adoption;
mod api;
#[path = "../as_vllm.rs"]
mod as_vllm;
mod checkpoint;
mod circles;
mod cli;
mod deploy;
mod docs;
mod fetch;
mod generation;
#[path = "../hub/mod.rs"]
mod hub;
mod init;
mod inputs;
mod inspect;
mod lockfile;
mod machine;
mod models;
mod planning;
mod private_host;
mod process;
mod profile;
mod program;
mod recorded;
mod rehearsal;
mod running_engine;
mod runtimes;
mod scratch;
mod service;
#[path = "../skipped.rs"]
mod skipped;
mod spelling;
mod stand;
mod store;
mod terminal;
mod tidy;
mod validation;
mod vllm;
mod wheel;

//! The integration tests that need nothing but this machine's kernel: one binary, one module a topic.

// What clippy.toml allows in tests is for functions marked as such; here everything is a test.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests start the programs that they test"
)]

mod checkpoint;
mod crash;
mod deploy;
mod engine;
mod hostile;
mod inputs;
mod invocation;
mod library;
mod lock;
mod machine;
mod memory;
mod mistakes;
mod page;
mod plan;
mod preflight;
mod problem;
mod profile;
mod quality;
mod questions;
mod recorded;
mod rehearsal;
mod sequential;
mod server;
mod serving;
mod shape;
mod sse;
mod stand;
mod startup;
mod stats;
mod tidy;
mod unit;
mod validate;
mod verdict;

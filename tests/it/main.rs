//! The integration tests: one binary, one module a topic.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod engine;
mod questions;
mod recorded;
mod rehearsal;
mod serving;
mod sse;
mod startup;
mod stats;
mod validate;
mod verdict;

//! One binary for all integration tests: it links once.

// Helpers of tests fail by panicking, too; `allow-unwrap-in-tests` only knows functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoint;
mod inputs;
mod invocation;
mod machine;
mod memory;
mod plan;
mod preflight;
mod unit;

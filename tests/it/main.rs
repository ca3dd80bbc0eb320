//! The one integration test binary: each topic is a module.

// What clippy.toml allows in tests is for functions marked as such; here everything is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod checkpoint;
mod crash;
mod inputs;
mod invocation;
mod library;
mod lock;
mod machine;
mod memory;
mod mistakes;
mod plan;
mod preflight;
mod problem;
mod profile;
mod tidy;
mod unit;

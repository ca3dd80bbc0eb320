//! The one integration test binary: each topic is a module.

// What clippy.toml allows in tests is for functions marked as such; here everything is a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod crash;
mod library;
mod lock;
mod mistakes;
mod problem;
mod profile;
mod tidy;

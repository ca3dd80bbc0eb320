//! Reproducible, verified, self-rolling-back deployments of vLLM on one host.
//!
//! Four layers, and an arrow means "is imported by": [`domain`] ← [`host`] ← [`flow`] ← [`cli`].
//! `ARCHITECTURE.md` is the map of the house; `tests/it/tidy.rs` holds the direction.

pub mod cli;
pub mod domain;
pub mod flow;
pub mod host;

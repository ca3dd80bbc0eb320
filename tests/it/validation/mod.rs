//! From evidence to a verdict.

mod any_server;
mod arrivals;
mod chunks;
mod deep;
pub(crate) mod expectations;
mod limits;
mod observed;
mod prompts;
mod quality;
mod questions;
pub(crate) mod sequential;
pub(crate) mod simulation;
mod spread;
mod stats;
mod sweep;
pub(crate) mod validate;
mod verdict;

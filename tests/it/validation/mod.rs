//! From evidence to a verdict.

mod any_server;
mod limits;
mod observed;
mod prompts;
mod quality;
mod questions;
pub(crate) mod sequential;
mod stats;
mod sweep;
pub(crate) mod validate;
mod verdict;

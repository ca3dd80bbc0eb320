//! From evidence to a verdict.

mod any_server;
pub(crate) mod expectations;
mod limits;
mod observed;
mod quality;
mod questions;
pub(crate) mod sequential;
mod stats;
mod sweep;
pub(crate) mod validate;
mod verdict;

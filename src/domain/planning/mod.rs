//! Decides everything about a deployment before anything is touched.

mod arguments;
pub(crate) mod command_line;
pub mod doctor;
pub mod engine_config;
mod fitting;
pub mod host_changed;
pub mod inputs;
pub mod kernels;
pub mod memory;
mod offloading;
mod overhead;
mod paging;
mod pinned;
pub mod placement;
pub mod plan;
pub mod prediction;
pub mod preflight;
mod runner;

//! Decides everything about a deployment before anything is touched.

pub(crate) mod command_line;
pub mod engine_config;
pub(crate) mod grid;
pub mod host_changed;
pub mod inputs;
pub mod memory;
pub mod placement;
pub mod plan;
pub mod prediction;
pub mod preflight;
mod runner;
pub(crate) mod setting;

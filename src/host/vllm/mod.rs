//! A vLLM that runs: its process, its API, and what it says of itself.

pub mod api;
mod connection;
pub mod engine_config;
pub mod isolated;
pub mod link_probe;
pub(crate) mod process;
pub(crate) mod running_server;

//! A running vLLM: its process, its API, its log.

pub mod api;
mod connection;
pub mod engine_config;
pub mod isolated;
pub mod link_probe;
pub(crate) mod process;
pub(crate) mod running_server;

//! The client of a running vLLM.

mod api;
pub(crate) mod effects;
pub(crate) mod hostile_servers;
mod startup_log;

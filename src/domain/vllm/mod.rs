//! What is known of vLLM, and how it is run.

pub mod env_vars;
pub mod flags;
pub mod serve;
pub mod startup_log;
pub mod version;

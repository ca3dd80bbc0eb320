//! vLLM: its flags, variables, versions, logs and command line.

pub mod env_vars;
pub mod flags;
pub mod serve;
pub mod startup_log;
pub mod version;

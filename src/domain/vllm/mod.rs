//! vLLM: its flags, variables, versions, logs and command line.

pub mod arguments;
pub mod effects;
pub mod env_vars;
pub mod flags;
pub mod overrides;
pub(crate) mod runner;
pub mod serve;
pub mod settings;
pub mod startup_log;
pub mod version;

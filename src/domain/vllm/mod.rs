//! vLLM: its flags, variables, versions, logs and command line.

pub mod arguments;
pub mod effects;
pub mod env_vars;
mod fields;
pub mod flags;
pub mod numbers;
pub mod overrides;
pub(crate) mod runner;
pub mod serve;
pub mod settings;
pub mod startup_log;
pub mod version;

//! What is known of vLLM, and how it is run.

pub mod effects;
pub mod env_vars;
pub mod flags;
pub mod overrides;
pub mod serve;
pub mod settings;
pub mod startup_log;
pub mod version;

//! The stand-ins of a rehearsal: an engine for vLLM, and a supervisor for systemd.

pub mod engine;
pub mod supervisor;

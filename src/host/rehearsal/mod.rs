//! The stand-ins of a rehearsal: an engine in vLLM's place, and a supervisor in systemd's.

pub mod engine;
pub mod supervisor;

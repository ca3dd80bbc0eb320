//! What is known of vLLM, and how it is run.

pub mod serve;

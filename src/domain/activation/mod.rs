//! Activations: their states, journals, requests and ends.

pub mod failure_count;
pub mod journal;
pub mod machine;
pub mod request;
pub mod running;

//! What a deployment decides before anything is touched.

pub mod host_changed;
pub mod inputs;

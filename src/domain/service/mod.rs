//! The service of a server: its unit, its sandbox, its liveness.

pub mod account;
pub mod active_state;
pub mod job;
pub mod liveness;
pub mod sandbox;
pub mod unit;

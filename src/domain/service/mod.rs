//! The service that serves: its unit, its sandbox, and whether it is alive.

pub mod account;
pub mod job;
pub mod liveness;
pub mod sandbox;
pub mod unit;

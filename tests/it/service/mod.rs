//! The service: its unit, its jobs, and whether it is alive.

mod job;
mod liveness;
mod unit;

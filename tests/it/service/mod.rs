//! The service: its unit, its jobs, and whether it is alive.

mod account;
mod job;
mod liveness;
mod unit;

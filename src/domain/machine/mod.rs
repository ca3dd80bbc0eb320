//! The host: its memory, its GPUs, and who may use them.

pub mod calibration;
pub mod facts;
pub mod start;
pub mod visible;

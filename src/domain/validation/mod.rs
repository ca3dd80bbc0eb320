//! Evidence, and what is concluded from it.

pub mod calibrate;

//! Effects: one file per outside thing. Nothing here decides, or prints.

pub mod engine;
pub mod serving;

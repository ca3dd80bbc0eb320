//! Effects: one file per outside thing. Nothing here decides, or prints.

pub mod gpu;
pub mod machine;

//! Stories: one file per command, read top to bottom.

pub mod event;
pub mod profiles;

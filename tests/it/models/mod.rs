//! Models: where they come from, and the commands for them.

mod commands;
mod exporting;
mod hub_answers;
mod interop;
pub(crate) mod remote;

//! Processes: starts, identifies, watches and ends them.

pub mod control_group;
pub mod exec;
pub mod orphans;
mod output;
pub mod owned;
pub(super) mod pidfd;
pub mod process_tree;
pub mod running_generation;

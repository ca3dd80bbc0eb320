//! Carries activations out, follows them, and finishes interrupted ones.

pub mod driver;
pub mod ending;
pub mod follow;
pub mod outcome;
mod panicked;
pub(super) mod probation;
mod readahead;
pub mod recover;
pub(super) mod run;
pub mod steps;
pub mod worker;

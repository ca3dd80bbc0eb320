//! From evidence to a verdict.

pub(crate) mod calibrate;
pub mod endings;
pub mod expectations;
pub mod gibberish;
pub mod limits;
pub mod observed;
pub mod paired;
pub mod probation;
pub mod quality;
pub mod quality_verdict;
pub mod questions;
pub mod reference;
pub mod report;
pub mod sequential;
pub mod sweep;
pub mod texts;
pub mod verdict;

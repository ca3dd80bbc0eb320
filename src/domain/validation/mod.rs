//! From evidence to a verdict.

pub(crate) mod calibrate;
pub mod limits;
pub mod observed;
pub mod probation;
pub mod quality;
pub mod report;
pub mod sequential;
pub mod spread;
pub mod sweep;
pub mod users;
pub mod verdict;

pub use quality::{endings, expectations, gibberish, paired, questions, reference, texts};

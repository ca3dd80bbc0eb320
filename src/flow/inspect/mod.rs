//! What is on record: status, history, logs, reports and comparisons.

pub(crate) mod compare;
pub mod diff;
pub(crate) mod evidence;
pub mod history;
pub mod logs;
pub mod profiles;
pub mod status;

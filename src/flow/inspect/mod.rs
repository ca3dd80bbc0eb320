//! What is on record: status, history, logs, reports and comparisons.

pub mod compare;
pub mod diff;
pub mod evidence;
pub mod experience;
pub mod history;
pub mod logs;
pub mod profiles;
pub mod status;

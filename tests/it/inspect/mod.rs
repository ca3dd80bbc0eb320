//! What is on record, and how it is shown.

mod history;
mod logs_and_diff;
mod page;

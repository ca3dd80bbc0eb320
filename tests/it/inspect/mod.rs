//! The records, and how they are shown.

mod history;
mod logs_and_diff;
mod page;

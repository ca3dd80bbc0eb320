//! What an activation is: its states, its journal, what it was asked for and how it ended.

pub mod failure_count;
pub mod journal;
pub mod machine;
pub mod request;
pub mod running;

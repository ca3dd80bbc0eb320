//! Processes.

mod hanging;
mod orphans;
mod owned;

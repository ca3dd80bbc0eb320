//! Processes.

mod orphans;
mod owned;

//! Locks.

mod model;
mod runtime;
mod signature;
mod wheel_files;

//! The operating system: files, programs, signals and the network.

pub mod reading;

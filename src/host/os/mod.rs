//! The operating system: files, programs, signals and the network.

pub mod fs;
pub mod http;
pub mod lock_file;
pub mod notify;
pub mod parallel;
pub mod port;
pub mod reading;
pub mod secrets;
pub mod signals;
pub mod sync_hook;
pub mod trust;
pub mod watchdog;

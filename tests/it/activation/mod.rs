//! Activations: interrupted, overtaken, damaged, followed and watched.

mod crash;
mod failure_count;
mod machine;
mod overtaken;
mod panicked;
mod probation;
mod records;
mod restart;
mod transcript;
mod under_systemd;

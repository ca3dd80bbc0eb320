//! One binary for all tests that need nothing but this machine's kernel.

mod crash;
mod tidy;

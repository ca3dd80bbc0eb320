//! Runtimes and interpreters.

mod installed;
mod interpreter;
mod locking;
mod nix_store;
mod uv;

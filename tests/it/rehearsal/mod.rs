//! The rehearsal, and its engine.

mod engine;
mod story;

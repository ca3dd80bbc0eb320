//! The locks: every file of a model, every wheel of a runtime, by hash.
//!
//! The program writes them and people review them, so there is one canonical text: sorted, one fact a
//! line, in TOML 1.0 without date-times, which Nix's `fromTOML` reads as well.

pub mod damages;
mod interpreter;
mod model;
mod runtime;
pub mod signature;
mod text;

pub use interpreter::{Interpreter, Listed, LockedInterpreter, Unlocked};
pub(super) use model::{LONGEST_FILE, why_not_plain};
pub use model::{LockedFile, LockedModel, PIECE};
pub use runtime::{LockedRuntime, LockedWheel, Resolved, archive, needs, normalised, record, wheel_tags};

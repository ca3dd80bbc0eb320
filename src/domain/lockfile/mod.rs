//! The locks: every file of a model, every wheel of a runtime, by hash.
//!
//! The program writes them and people review them, so there is one canonical text: sorted, one fact a
//! line, in TOML 1.0 without date-times, which Nix's `fromTOML` reads as well.

pub mod archive;
mod interpreter;
mod model;
pub mod model_state;
pub mod needs;
mod pylock;
pub mod record;
mod runtime;
pub mod signature;
mod text;
mod wheel;
pub mod wheel_tags;

pub use interpreter::{Interpreter, Listed, LockedInterpreter, Unlocked};
pub(super) use model::{LONGEST_FILE, why_not_plain};
pub use model::{LockedFile, LockedModel, PIECE};
pub use runtime::{LockedRuntime, Resolved, normalised};
pub use wheel::LockedWheel;

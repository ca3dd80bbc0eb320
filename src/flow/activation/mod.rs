//! Activations: carried out, followed, and brought to an end.

pub mod ending;

//! What lies below the root: where, by whose word, and for how long.

pub mod gc;
pub mod layout;
pub mod manifest;
pub mod model_state;
pub mod page_cache;
pub mod trust;

//! The store below the root: its places, who may change them, and how long things stay.

pub mod gc;
pub mod layout;
pub mod manifest;
pub mod page_cache;
pub mod trust;

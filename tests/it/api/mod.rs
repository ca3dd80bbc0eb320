//! The answers of engines.

mod response_shape;
mod sse;

//! What engines answer.

mod response_shape;
mod sse;

//! The API that engines speak: requests, answers, streams, and the shape of each.

pub mod openai;
pub mod prompt_logprobs;
pub mod response_shape;
pub mod sse;
pub mod stream;

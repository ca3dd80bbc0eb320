//! Writes measurements in the formats of other programs, so that people's own tools read them.

mod guidellm;
mod levels;
mod vllm_bench;

pub(super) use guidellm::guidellm;
pub(super) use vllm_bench::{vllm_bench, vllm_sweep};

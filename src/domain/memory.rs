//! Where each byte goes: weights, KV cache and overheads on each GPU, offloaded weights in RAM.

use super::size::Bytes;
use serde::{Deserialize, Serialize};

/// The memory of one deployment. All GPU figures are per rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// `--tensor-parallel-size`.
    pub tensor_parallel_size: u32,
    /// `--cpu-offload-gb`, per rank.
    pub offload: Bytes,
    /// Weights that stay on the GPU. Absent where the architecture is not modelled.
    pub weights: Option<Bytes>,
    /// Context, activations, graphs, communication buffers.
    pub overhead: Option<Bytes>,
    /// What is left for the KV cache and recurrent state.
    pub kv_cache: Option<Bytes>,
    /// What vLLM may use: utilisation × VRAM.
    pub gpu: Option<Bytes>,
    /// RAM of all ranks together.
    pub ram: Bytes,
}

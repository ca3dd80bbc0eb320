//! Which of vLLM's two model runners serves a model.

pub(crate) use crate::domain::vllm::runner::Runner;
use crate::domain::{checkpoint::Checkpoint, vllm::version::Version};

/// The variable that chooses one.
pub(crate) const VARIABLE: &str = "VLLM_USE_V2_MODEL_RUNNER";
/// From which version on the second may serve what is neither sparse nor hybrid. It does in 0.26.0 (`config/vllm.py`); that it
/// does before is inferred, and choosing the first where it serves anyway changes nothing.
const SECOND_FOR_DENSE: Version = Version::new(0, 20, 0);
/// From which version on it serves all.
pub(crate) const SECOND_FOR_ALL: Version = Version::new(0, 29, 0);
/// From which version on it keeps weights in RAM: before, it ignores that without a word (vLLM issues 48468 and 51396).
pub(crate) const SECOND_OFFLOADS: Version = Version::new(0, 28, 0);
/// Sparse models that it serves like dense ones.
const SPARSE: [&str; 3] = ["DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"];

/// The runner that this version chooses by itself.
pub(crate) fn of(checkpoint: &Checkpoint, version: Version) -> Runner {
    let shape = checkpoint.shape.as_ref();
    let special = shape.is_some_and(|shape| shape.num_experts > 0 || shape.linear_num_value_heads > 0);
    let named = SPARSE.contains(&checkpoint.architecture.as_str());
    if version >= SECOND_FOR_ALL || (version >= SECOND_FOR_DENSE && (named || !special)) {
        Runner::Second
    } else {
        Runner::First
    }
}

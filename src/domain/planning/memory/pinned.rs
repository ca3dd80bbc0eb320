//! Counts what weights in RAM really take: `PyTorch` rounds each pinned tensor up to a power of two (vLLM issue
//! 58178).

use crate::domain::{
    checkpoint::{Checkpoint, ModelDims, Quantization},
    size::ByteSize,
};

/// The pinned memory that so many bytes of weights of one rank take. A model that is not modelled is taken to double.
pub(crate) fn pinned(checkpoint: &Checkpoint, offloaded: ByteSize, ranks: u32) -> ByteSize {
    let Some(shape) = &checkpoint.shape else { return offloaded + offloaded };
    let tensors = parameters(shape, checkpoint.quantization.as_ref(), u64::from(ranks.max(1)));
    let sum = |bytes: u128| ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX));
    let plain: u128 = tensors.iter().sum();
    let rounded: u128 = tensors.iter().map(|bytes| bytes.next_power_of_two()).sum();
    // Norms and the like are small, so that of all tensors these decide.
    if plain == 0 { offloaded } else { offloaded.part(sum(rounded), sum(plain)) }
}

/// Bytes of the parameters of a layer that vLLM keeps in RAM, as it fuses them.
fn parameters(shape: &ModelDims, stored: Option<&Quantization>, ranks: u64) -> Vec<u128> {
    let hidden = shape.hidden_size;
    let mut matrices = Vec::new();
    if shape.num_experts > 0 {
        let inner = shape.moe_intermediate_size / ranks;
        matrices.push((shape.num_experts, 2 * inner, hidden));
        matrices.push((shape.num_experts, hidden, inner));
    } else {
        let heads = (shape.num_attention_heads + 2 * shape.num_key_value_heads) * shape.head_dim / ranks;
        let inner = shape.intermediate_size / ranks;
        let output = shape.num_attention_heads * shape.head_dim / ranks;
        matrices.extend([
            (1, heads, hidden),
            (1, hidden, output),
            (1, 2 * inner, hidden),
            (1, hidden, inner),
        ]);
    }
    matrices.into_iter().flat_map(|matrix| stored_as(matrix, stored)).filter(|bytes| *bytes > 0).collect()
}

/// Weights, scales and zero points of so many equal matrices.
fn stored_as((count, outputs, inputs): (u64, u64, u64), stored: Option<&Quantization>) -> [u128; 3] {
    let (count, outputs, inputs) = (u128::from(count), u128::from(outputs), u128::from(inputs));
    let elements = count * outputs * inputs;
    let Some(stored) = stored else { return [elements * 2, 0, 0] };
    let bits = match (stored.bits, stored.method.as_str()) {
        (0, method) if method.contains("fp4") => 4,
        (0, _) => 8,
        (bits, _) => u128::from(bits),
    };
    let group = match (stored.group_size, stored.method.as_str()) {
        (0, "mxfp4") => 32,
        (0, method) if method.contains("fp4") => 16,
        (0, _) => inputs.max(1),
        (size, _) => u128::from(size),
    };
    let groups = count * outputs * (inputs / group.max(1)).max(1);
    let zero_points = if stored.symmetric { 0 } else { groups * bits / 8 };
    [elements * bits / 8, groups * 2, zero_points]
}

//! Counts what vLLM needs of a GPU beside weights and cache, by the model: activations, the sampler, CUDA graphs,
//! libraries.

use crate::domain::{
    checkpoint::{Checkpoint, ModelDims},
    machine::start::ShownMemory,
    planning::grid::Grid,
    profile::{Limits, Profile},
    size::ByteSize,
    vllm::version::Version,
};

/// Activations of Qwen3-Next for 2,048 tokens a step, as an H100 logged them, and of a model that is not modelled. More
/// tokens need as much more: with 4,096 the cache came out 0.6 % larger than planned on an H200.
const ACTIVATIONS: ByteSize = ByteSize::mib(656);
/// Batched tokens below which activations are taken to shrink no further.
pub(crate) const ACTIVATIONS_TOKENS: u64 = 2048;
/// Linear attention of 32 value heads needs the first whatever the step, and the second for each token of it: an H100
/// logged 0.64 GiB for 2,048 tokens (Qwen3-Next), and an RTX 5090 held 1.9 GiB in all for 8,192 (Qwen3.6-35B).
const LINEAR: ByteSize = ByteSize::mib(336);
const LINEAR_TOKEN: u64 = 160 << 10;
const LINEAR_HEADS: u64 = 32;

/// Libraries and the CUDA graphs of a few sequences, as vLLM counts them: 0.33 and 0.17 GiB on an H100.
const LIBRARIES: ByteSize = ByteSize::mib(512);
/// Libraries of each of several ranks. On two and four H100 they held 1.0 to 1.4 GiB beside weights, cache and what
/// is uncounted.
const LIBRARIES_TOGETHER: ByteSize = ByteSize::mib(768);
/// The graphs in both.
const GRAPHS: ByteSize = ByteSize::mib(170);
/// Graphs of one layer for one more number of sequences: 0.74 GiB explain the 0.58 GiB of cache that Qwen2.5-32B-AWQ had
/// left for 51 numbers.
const GRAPH_OF_LAYER: u64 = 264 << 10;
/// The sizes of graphs that are in `GRAPHS`.
const FEW_GRAPHS: u64 = 5;
/// Bytes of the sampler for each sequence and word: 24 to 28 in public logs.
const SAMPLER: u64 = 26;
/// Sequences whose sampler is in the measured activations.
const FEW_SEQUENCES: u64 = 8;

/// CUDA's context: of an idle H100 vLLM found 0.52 GiB less than CUDA has.
const UNCOUNTED_ALONE: ByteSize = ByteSize::mib(544);
/// CUDA's context of each of several ranks, with NCCL's buffers: 1.02 GiB on two and on four H100 that were kept from talking to
/// each other but through RAM, as cards without NVLink or peer access do.
const UNCOUNTED_TOGETHER: ByteSize = ByteSize::mib(1056);
/// CUDA's context and NCCL's buffers where NVLink connects the ranks, over which NCCL opens more channels: 1.94 GiB on two and on four H100.
const UNCOUNTED_NVLINKED: ByteSize = ByteSize::mib(2000);
/// The first vLLM that counts graphs before it sizes the cache (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`).
const COUNTS_GRAPHS: Version = Version::new(0, 20, 0);
/// From this vLLM on NCCL's buffers are taken before it looks at what is free. Before, they lie in its share (inferred from
/// the logs of Qwen3-235B on four H100).
const NCCL_BEFORE: Version = Version::new(0, 12, 0);

/// The doubt of a first estimate where nothing like it was measured: vLLM itself logged 0.6 to 7.3 GiB for graphs
/// with the same flags; 1.4 GiB cover all public logs but those.
const UNSURE: ByteSize = ByteSize::mib(1408);
/// That doubt without graphs.
const UNSURE_EAGER: ByteSize = ByteSize::mib(384);
/// That doubt for Qwen3-Next, which was measured: weights were up to 0.2 GiB larger than planned.
const MEASURED: ByteSize = ByteSize::mib(256);

/// The needs of one rank beside weights and cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overhead {
    /// In vLLM's share.
    pub(crate) counted: ByteSize,
    /// Beside it.
    pub(crate) uncounted: ByteSize,
    /// How much more of all it may be.
    pub(crate) unsure: ByteSize,
}

impl Overhead {
    /// The overhead with what a start on this host showed. With the same limits only that start's own noise is
    /// in doubt.
    pub(crate) fn corrected(self, shown: &ShownMemory, limits: Limits) -> Self {
        let same = shown.is_of(limits.max_num_seqs, limits.max_num_batched_tokens);
        let unsure = if same { self.unsure.min(MEASURED) } else { self.unsure };
        Self { counted: shown.corrected(self.counted), unsure, ..self }
    }

    /// That of one of the ranks of a grid, which NVLink connects or not.
    pub(crate) fn of(checkpoint: &Checkpoint, profile: &Profile, grid: Grid, nvlinked: bool) -> Self {
        let gpus = grid.gpus();
        let limits = profile.limits();
        let eager = profile.arguments().without_graphs().is_some();
        let shape = checkpoint.shape.as_ref();
        let version = Version::of(&profile.runtime().vllm);
        let before = |first: Version| version.is_some_and(|version| version < first);
        let mut counted = if gpus > 1 { LIBRARIES_TOGETHER } else { LIBRARIES };
        let mut uncounted = match gpus {
            0 | 1 => UNCOUNTED_ALONE,
            _ if nvlinked => UNCOUNTED_NVLINKED,
            _ => UNCOUNTED_TOGETHER,
        };
        match shape {
            _ if eager => counted = counted.less(GRAPHS),
            Some(shape) if before(COUNTS_GRAPHS) => uncounted = uncounted + graphs(shape, limits),
            Some(shape) => counted = counted + graphs(shape, limits),
            None => {}
        }
        if before(NCCL_BEFORE) && gpus > 1 {
            let buffers = if nvlinked { UNCOUNTED_NVLINKED } else { UNCOUNTED_TOGETHER };
            let buffers = buffers.less(UNCOUNTED_ALONE);
            (counted, uncounted) = (counted + buffers, uncounted.less(buffers));
        }
        Self {
            counted: counted + activations(checkpoint, limits, grid.tensor) + sampler(shape, limits),
            uncounted,
            unsure: match shape {
                Some(shape) if shape.family.is_measured() => MEASURED,
                _ if eager => UNSURE_EAGER,
                _ => UNSURE,
            },
        }
    }
}

/// The graphs of more sequences than a few: vLLM captures 1, 2, 4, each eighth number up to 256, each sixteenth up to 512, and
/// no more than twice `max-num-seqs`.
fn graphs(shape: &ModelDims, limits: Limits) -> ByteSize {
    let largest = (u64::from(limits.max_num_seqs) * 2).min(512);
    let sizes = 3 + largest.min(256) / 8 + largest.saturating_sub(256) / 16;
    ByteSize(sizes.saturating_sub(FEW_GRAPHS) * shape.num_hidden_layers * GRAPH_OF_LAYER)
}

/// The sampler of more sequences than a few.
fn sampler(shape: Option<&ModelDims>, limits: Limits) -> ByteSize {
    let more = u64::from(limits.max_num_seqs).saturating_sub(FEW_SEQUENCES);
    shape.map_or(ByteSize::default(), |shape| ByteSize(more * shape.vocab_size * SAMPLER))
}

/// The activations of a step with as many tokens as it may have.
///
/// Of a dense layer 2 bytes × tokens × 3 × (intermediate ÷ ranks + hidden): 2.06 GiB where 2.07 were logged (Llama-8B, 20,000
/// tokens), 0.56 of 0.57 (Qwen3-4B), 1.06 of 1.26 (Qwen2.5-32B on two ranks). Of experts, what the fused kernel keeps of each
/// token's experts; in 8-bit floats also their ordered copies. A part that sees is profiled by itself, and what it gives
/// stays.
pub(crate) fn activations(checkpoint: &Checkpoint, limits: Limits, ranks: u32) -> ByteSize {
    let tokens = u64::from(limits.max_num_batched_tokens);
    let measured = ACTIVATIONS.part(ByteSize(tokens.max(ACTIVATIONS_TOKENS)), ByteSize(ACTIVATIONS_TOKENS));
    let Some(shape) = checkpoint.shape.as_ref().filter(|shape| !shape.family.is_measured()) else {
        return measured;
    };
    let ranks = u64::from(ranks.max(1));
    let hidden = shape.hidden_size;
    let dense = shape.intermediate_size / ranks + hidden;
    let expert = shape.moe_intermediate_size / ranks;
    let sparse = shape.num_experts_per_tok * ((2 * expert).max(hidden) + expert);
    let step = |wide: u64| ByteSize(tokens.saturating_mul(2 * wide));
    let language = if shape.linear_num_value_heads > 0 {
        let heads = shape.linear_num_value_heads.max(LINEAR_HEADS);
        let tokens = tokens.max(ACTIVATIONS_TOKENS);
        ByteSize(LINEAR.0 + tokens.saturating_mul(LINEAR_TOKEN * heads / LINEAR_HEADS)) + step(sparse)
    } else if shape.num_experts > 0 {
        let plain = step(sparse + 3 * hidden);
        // Public logs of Qwen3-30B and 235B in FP8 leave no less than was measured of Qwen3-Next.
        if is_fp8(checkpoint) { plain.max(measured) } else { plain }
    } else {
        step(3 * dense)
    };
    let Some(vision) = shape.vision else { return language };
    let patches = vision.tokens * vision.merge;
    let seeing = ByteSize(2 * patches * (4 * vision.hidden_size + 2 * vision.intermediate_size));
    language.max(seeing) + ByteSize(2 * vision.tokens * hidden)
}

/// Whether its weights are 8-bit floats.
fn is_fp8(checkpoint: &Checkpoint) -> bool {
    checkpoint.quantization.as_ref().is_some_and(|stored| stored.method == "fp8")
}

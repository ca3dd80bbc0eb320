//! Budgets each byte: weights, KV cache and overheads on each GPU, offloaded weights in RAM.
//!
//! All figures are per rank, of a pipeline's fullest stage, in vLLM's own terms: `gpu-memory-utilization` × VRAM = weights on the GPU +
//! overhead + KV cache. Beside that share vLLM takes memory that it never counts. Each constant says on what
//! it was measured, or that it was inferred.

mod overhead;
mod paging;
mod pinned;
mod room;
mod shown;
mod stages;

use crate::domain::{
    checkpoint::Checkpoint,
    machine::{
        facts::Facts,
        start::{ShownMemory, StartSetting},
    },
    planning::grid::Grid,
    profile::{Device, Limits, Offload, Profile},
    size::ByteSize,
};
use overhead::{ACTIVATIONS_TOKENS, activations};
pub use paging::Paging;
use room::{RAM_RANK, RAM_SERVER, RAM_SYSTEM};
pub(crate) use room::{layers, share, vram};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shown::Placed;

/// The memory of one deployment. All GPU figures are per rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// `--tensor-parallel-size`.
    pub tensor_parallel_size: u32,
    /// `--pipeline-parallel-size`. The figures of a rank are then those of the stage that has least room.
    #[serde(default = "stages::one", skip_serializing_if = "stages::is_one")]
    pub pipeline_parallel_size: u32,
    /// `--cpu-offload-gb`, per rank.
    pub offload: ByteSize,
    /// The weights that really go to RAM under that limit, per rank.
    #[serde(default)]
    pub offloaded: ByteSize,
    /// All weights of a rank, in VRAM and RAM. Absent where nothing is known of the model's size.
    #[serde(default)]
    pub shard: Option<ByteSize>,
    /// Weights that stay on the GPU. Absent where nothing is known of the model's size, and on the
    /// CPU.
    pub weights: Option<ByteSize>,
    /// Activations, graphs and libraries, as vLLM counts them. Absent on the CPU.
    pub overhead: Option<ByteSize>,
    /// The memory that vLLM takes before it looks at what is free, and so beside its share: CUDA's context,
    /// and among ranks NCCL's buffers. Absent on the CPU.
    #[serde(default)]
    pub uncounted: Option<ByteSize>,
    /// The memory that is left for the KV cache and recurrent state. Absent where the weights are.
    pub kv_cache: Option<ByteSize>,
    /// The bytes that the KV cache and recurrent state need for `max-num-seqs` sequences of `max-model-len`
    /// tokens. Absent where the architecture is not modelled, and on the CPU.
    pub kv_cache_needed: Option<ByteSize>,
    /// The part of them without which vLLM does not start: one sequence. More sequences than fit wait.
    #[serde(default)]
    pub kv_cache_least: Option<ByteSize>,
    /// The tokens that `kv_cache` holds, counted as vLLM logs them ("KV cache size: N tokens").
    pub kv_cache_tokens: Option<u64>,
    /// The longest `max-model-len` that this cache holds for `max-num-seqs` sequences.
    #[serde(default)]
    pub longest_context: Option<u64>,
    /// The most sequences of `max-model-len` that this cache holds.
    #[serde(default)]
    pub largest_batch: Option<u64>,
    /// The VRAM that vLLM may use: utilisation × VRAM, or less, so that uncounted memory has room. Absent on
    /// the CPU.
    pub gpu: Option<ByteSize>,
    /// The memory that is missing on each GPU, with all offload counted. Above zero: it does not fit.
    pub missing: ByteSize,
    /// RAM of all ranks together.
    pub ram: ByteSize,
    /// How far the cache may come out smaller, so that the plan is only just possible. Absent where there is room
    /// enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tight_by: Option<ByteSize>,
    /// The start on this host that corrects overhead and cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<ShownMemory>,
    /// The setting that another start must share for its log to count for this one. Absent on the CPU, and in older
    /// generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<StartSetting>,
}

/// The memory of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "`rank` is the document's word")]
pub(crate) struct Rank {
    /// The number of the rank, from 0.
    pub(crate) rank: u32,
    /// All of its weights, in VRAM and RAM.
    pub(crate) weights_bytes: Option<ByteSize>,
    /// The weights that lie in RAM.
    pub(crate) offloaded_bytes: ByteSize,
    /// The tokens that its KV cache holds.
    pub(crate) kv_cache_tokens: Option<u64>,
    /// The bytes of that cache.
    pub(crate) kv_cache_bytes: Option<ByteSize>,
    /// Activations, graphs, libraries, and what vLLM does not count: context and communication.
    pub(crate) overhead_bytes: Option<ByteSize>,
    /// Everything on its GPU. 0 on the CPU.
    pub(crate) total_bytes: ByteSize,
}

/// RAM of the API server and the engine's core of the CPU build, for which 1.9, 2.7 and 4.2 GiB were measured
/// at TP 1, 2 and 4 with a tiny model.
const RAM_CPU_SERVER: ByteSize = ByteSize::mib(1280);
const RAM_CPU_RANK: ByteSize = ByteSize::mib(768);
impl Budget {
    /// Budgets the memory of `ranks` ranks. Always an answer: `missing` and [`ram_limit`] say whether it
    /// fits.
    pub fn of(checkpoint: &Checkpoint, profile: &Profile, facts: &Facts, ranks: u32) -> Self {
        Self::on(checkpoint, profile, facts, Grid::tensor(ranks))
    }

    /// Budgets the memory of the ranks of a grid.
    pub(crate) fn on(checkpoint: &Checkpoint, profile: &Profile, facts: &Facts, grid: Grid) -> Self {
        let policy = profile.memory().offload;
        match profile.runtime().device {
            Device::Cuda if grid.pipeline > 1 => Self::in_stages(checkpoint, profile, facts, grid),
            Device::Cuda => Self::on_gpus(checkpoint, profile, facts, grid, policy),
            Device::Cpu => Self::on_cpu(checkpoint, grid.tensor),
        }
    }

    /// How the GPUs share the model.
    pub(crate) fn grid(&self) -> Grid {
        Grid { tensor: self.tensor_parallel_size, pipeline: self.pipeline_parallel_size.max(1) }
    }

    /// The GPUs of all ranks.
    pub(crate) fn gpus(&self) -> u32 {
        self.grid().gpus()
    }

    /// Budgets the memory on the CPU. The KV cache is not counted: the profile's arguments and environment
    /// set its size.
    fn on_cpu(checkpoint: &Checkpoint, ranks: u32) -> Self {
        let weights = checkpoint.weights(1).unwrap_or_default();
        Self {
            tensor_parallel_size: ranks,
            pipeline_parallel_size: 1,
            shard: checkpoint.weights(ranks),
            ram: weights + RAM_CPU_SERVER + times(RAM_CPU_RANK, ranks),
            ..Self::default()
        }
    }

    fn on_gpus(
        checkpoint: &Checkpoint,
        profile: &Profile,
        facts: &Facts,
        grid: Grid,
        policy: Offload,
    ) -> Self {
        let ranks = grid.tensor;
        let Placed { room, offload, setting, shown } =
            shown::placed(checkpoint, profile, facts, grid, policy);
        let offloaded = room.offloaded(offload);
        let weights = room.weights.map(|weights| weights.less(offloaded));
        let left = weights.map(|weights| room.gpu.less(weights + room.overhead));
        let free = room.kv_cache_fixed.or(left);
        // The draft model's cache lies in the same pool.
        let for_model = free.map(|free| free.less(room.draft_cache));
        let paging = room.paging;
        let length = profile.limits().max_model_len;
        // While vLLM repacks, about one layer's experts exist twice in RAM (inferred).
        let repacked = match (&checkpoint.shape, offloaded) {
            (Some(shape), ByteSize(1..)) => ByteSize(room.offloadable.0 / shape.num_hidden_layers.max(1)),
            _ => ByteSize::default(),
        };
        let spare = free.zip(weights).map(|(free, _)| free.less(room.kv_cache_needed));
        let pinned = pinned::pinned(checkpoint, offloaded, ranks);
        Self {
            tensor_parallel_size: ranks,
            pipeline_parallel_size: 1,
            offload,
            offloaded,
            tight_by: spare
                .map(|spare| room.unsure.less(spare))
                .filter(|by| by.0 > 0 && room.kv_cache_fixed.is_none()),
            shard: room.weights,
            weights,
            overhead: Some(room.overhead),
            uncounted: Some(room.uncounted),
            kv_cache: free,
            kv_cache_needed: paging.map(|paging| paging.of_all(profile.limits()) + room.draft_cache),
            kv_cache_least: paging.map(|paging| paging.needed(profile.limits()) + room.draft_cache),
            kv_cache_tokens: for_model.zip(paging).map(|(free, paging)| paging.tokens(free, length)),
            longest_context: for_model.zip(paging).zip(checkpoint.shape.as_ref()).map(
                |((free, paging), shape)| {
                    let longest = paging.longest(free, profile.limits().max_num_seqs);
                    longest.min(shape.longest_context())
                },
            ),
            largest_batch: for_model.zip(paging).map(|(free, paging)| paging.sequences(free, length)),
            gpu: Some(room.gpu),
            missing: weights.map_or(ByteSize::default(), |weights| {
                (weights + room.overhead + room.kv_cache_needed).less(room.gpu)
            }),
            ram: RAM_SERVER + times(RAM_RANK + pinned + repacked, ranks) + room.cache_in_ram,
            shown_by: shown,
            setting,
        }
    }

    /// The decisions in it, without what a start on this host corrects.
    pub(crate) fn decided(&self) -> Self {
        Self {
            overhead: None,
            kv_cache: None,
            kv_cache_needed: None,
            kv_cache_least: None,
            kv_cache_tokens: None,
            longest_context: None,
            largest_batch: None,
            tight_by: None,
            shown_by: None,
            setting: None,
            ..self.clone()
        }
    }

    /// The overhead by formulas alone.
    pub(crate) fn computed_overhead(&self) -> Option<ByteSize> {
        let overhead = self.overhead?;
        Some(self.shown_by.as_ref().map_or(overhead, |shown| shown.uncorrected(overhead)))
    }

    /// Whether the cache holds `max-num-seqs` sequences of `max-model-len` tokens, as far as that is known.
    pub(crate) fn serves_all_at_once(&self) -> bool {
        self.kv_cache.zip(self.kv_cache_needed).is_none_or(|(cache, needed)| cache >= needed)
    }

    /// The VRAM that a rank may hold: its share, and uncounted memory. Absent on the CPU.
    pub(crate) fn vram(&self) -> Option<ByteSize> {
        self.gpu.map(|gpu| gpu + self.uncounted.unwrap_or_default())
    }

    /// The memory of each rank, in their order.
    pub(crate) fn ranks(&self) -> Vec<Rank> {
        let rank = |rank| Rank {
            rank,
            weights_bytes: self.shard,
            offloaded_bytes: self.offloaded,
            kv_cache_tokens: self.kv_cache_tokens,
            kv_cache_bytes: self.kv_cache,
            overhead_bytes: self.overhead.map(|overhead| overhead + self.uncounted.unwrap_or_default()),
            total_bytes: [self.weights, self.overhead, self.uncounted, self.kv_cache]
                .into_iter()
                .flatten()
                .sum(),
        };
        (0..self.gpus()).map(rank).collect()
    }

    /// The share of the experts' bytes that is read over the link: 0 to 1.
    pub(crate) fn offloaded_share(&self, checkpoint: &Checkpoint) -> f64 {
        match checkpoint.experts(self.tensor_parallel_size) {
            Some(ByteSize(experts @ 1..)) => self.offloaded.0 as f64 / experts as f64,
            _ => 0.0,
        }
    }
}

/// RAM that the service may use: the profile's figure, but never more than the machine has beside its system.
/// Free memory is not asked for, since the replaced service still holds its share.
pub(crate) fn ram_limit(profile: &Profile, facts: &Facts) -> ByteSize {
    let machine = facts.ram_total.less(RAM_SYSTEM);
    profile.memory().ram.map_or(machine, |wanted| wanted.min(machine))
}

/// The longest `max-model-len` of which one sequence fits, with everything offloaded that may be. `None` where
/// no context fits, or the architecture is not modelled.
pub(crate) fn longest_context(
    checkpoint: &Checkpoint,
    profile: &Profile,
    facts: &Facts,
    grid: Grid,
) -> Option<u32> {
    let stages = grid.stages(checkpoint, profile);
    let longest = stages.iter().map(|stage| longest_of_stage(stage, profile, facts, grid));
    longest.min().flatten()
}

fn longest_of_stage(checkpoint: &Checkpoint, profile: &Profile, facts: &Facts, grid: Grid) -> Option<u32> {
    let policy = profile.memory().offload;
    let Placed { room, .. } = shown::placed(checkpoint, profile, facts, grid, policy);
    let shape = checkpoint.shape.as_ref()?;
    let offloaded = match policy {
        Offload::Auto => room.offloadable,
        Offload::None => ByteSize::default(),
        Offload::Fixed(size) => size.min(room.offloadable),
    };
    let free = room.gpu.less(room.weights?.less(offloaded) + room.overhead + room.draft_cache);
    let longest = room.paging?.longest(free, 1);
    let longest = u32::try_from(longest.min(shape.longest_context())).ok()?;
    (longest > 0).then_some(longest)
}

/// The activations that the shortest useful steps would spare, and the `max-num-batched-tokens` of these
/// steps.
pub(crate) fn spared_by_shorter_steps(
    checkpoint: &Checkpoint,
    limits: Limits,
    ranks: u32,
) -> (ByteSize, u64) {
    let least = u32::try_from(ACTIVATIONS_TOKENS).unwrap_or(u32::MAX).min(limits.max_num_batched_tokens);
    let shorter = Limits { max_num_batched_tokens: least, ..limits };
    let spared = activations(checkpoint, limits, ranks).less(activations(checkpoint, shorter, ranks));
    (spared, u64::from(least))
}

fn times(bytes: ByteSize, ranks: u32) -> ByteSize {
    ByteSize(bytes.0.saturating_mul(u64::from(ranks)))
}

//! One GPU before anything is decided: what there is, and what is needed.

use super::{overhead::Overhead, paging::Paging};
use crate::domain::{
    checkpoint::{Checkpoint, ModelDims, tensors::Class},
    machine::{
        facts::{Facts, Gpu},
        start::ShownMemory,
    },
    planning::grid::Grid,
    profile::{Offload, Profile},
    size::ByteSize,
    vllm::settings::{EngineSettings, Speculation},
};

/// The growth of a rank beyond its share and uncounted memory, once it served: up to 0.2 GiB.
const GROWTH: ByteSize = ByteSize::mib(256);

/// How much more is offloaded, once offload cannot be avoided, so that all sequences have their cache.
const LITTLE_MORE: ByteSize = ByteSize::gib(1);

/// RAM of the API server and the engine's core, and of each rank. Together the 4 GiB that were
/// measured at TP 1.
pub(super) const RAM_SERVER: ByteSize = ByteSize::mib(1536);
pub(super) const RAM_RANK: ByteSize = ByteSize::mib(2560);
/// RAM that the operating system keeps for itself.
pub(super) const RAM_SYSTEM: ByteSize = ByteSize::gib(2);

/// The VRAM of one GPU that counts: the profile's figure, but never more than the smallest of the first
/// `ranks` GPUs has.
pub(crate) fn vram(profile: &Profile, facts: &Facts, ranks: u32) -> ByteSize {
    let found = facts.gpus.iter().take(ranks as usize).map(|gpu| {
        // GPU and processors share one memory: what the processes need is not there twice.
        if gpu.is_unified() {
            facts.capacity(gpu).less(RAM_SYSTEM + RAM_SERVER + RAM_RANK)
        } else {
            gpu.usable()
        }
    });
    let smallest = found.min().unwrap_or_default();
    profile.memory().gpu.map_or(smallest, |wanted| wanted.min(smallest))
}

/// One GPU before anything is decided.
pub(super) struct Room {
    pub(super) gpu: ByteSize,
    pub(super) weights: Option<ByteSize>,
    pub(super) overhead: ByteSize,
    pub(super) uncounted: ByteSize,
    /// How much more of weights and overhead there may be.
    pub(super) unsure: ByteSize,
    /// `--kv-cache-memory-bytes` of the profile: vLLM then neither measures nor asks what is left.
    pub(super) kv_cache_fixed: Option<ByteSize>,
    /// How the KV cache lies in its pool, where that is modelled.
    pub(super) paging: Option<Paging>,
    /// The bytes that the KV cache needs at least.
    pub(super) kv_cache_needed: ByteSize,
    /// The bytes that it gets where weights must go to RAM anyway: for all sequences, as far as that is little more.
    pub(super) kv_cache_wanted: ByteSize,
    /// The cache of a model that guesses ahead.
    pub(super) draft_cache: ByteSize,
    /// RAM of all ranks together for a cache beside that of the GPUs.
    pub(super) cache_in_ram: ByteSize,
    pub(super) offloadable: ByteSize,
    /// The bytes that vLLM counts beside `offloadable`, and empties.
    pub(super) emptied: ByteSize,
}

impl Room {
    pub(super) fn of(
        checkpoint: &Checkpoint,
        profile: &Profile,
        facts: &Facts,
        grid: Grid,
        shown: Option<&ShownMemory>,
    ) -> Self {
        let ranks = grid.tensor;
        let vram = vram(profile, facts, grid.gpus());
        let settings = profile.arguments().settings();
        let paging = Paging::planned(checkpoint, profile, ranks);
        let paging = paging.map(|paging| shown.map_or(paging, |shown| paging.holding(shown.tokens)));
        let rotary = ByteSize(checkpoint.shape.as_ref().map_or(0, ModelDims::rotary));
        let weights =
            checkpoint.weights(ranks).map(|weights| weights + ahead(checkpoint, settings, ranks) + rotary);
        let kv_cache_fixed = settings.cache_fixed;
        let draft = checkpoint.draft.as_deref().and_then(|draft| Paging::planned(draft, profile, ranks));
        let draft_cache = draft.map(|paging| paging.needed(profile.limits())).unwrap_or_default();
        let overhead = Overhead::of(checkpoint, profile, grid, facts.nvlinked(grid.gpus()));
        let overhead = shown.map_or(overhead, |shown| overhead.corrected(shown, profile.limits()));
        let Overhead { counted, uncounted, unsure } = overhead;
        let needed = kv_cache_fixed
            .or_else(|| paging.map(|paging| paging.needed(profile.limits()) + draft_cache))
            .unwrap_or_default();
        let all = paging.map(|paging| paging.of_all(profile.limits()) + draft_cache);
        Self {
            gpu: share(vram, profile.memory().gpu_memory_utilization).min(vram.less(uncounted + GROWTH)),
            weights,
            overhead: counted,
            uncounted,
            unsure,
            kv_cache_fixed,
            paging,
            kv_cache_needed: needed,
            kv_cache_wanted: match (kv_cache_fixed, all) {
                (None, Some(all)) => all.min(needed + LITTLE_MORE).max(needed),
                _ => needed,
            },
            draft_cache,
            cache_in_ram: settings.cache_in_ram,
            offloadable: match (checkpoint.experts(ranks), profile.memory().offload) {
                // Of one memory for both nothing can leave.
                _ if facts.gpus.iter().take(grid.gpus() as usize).any(Gpu::is_unified) => ByteSize::default(),
                (Some(experts), _) => experts,
                // Of a model that is not modelled nobody knows what may move; a fixed size is then
                // taken at its word.
                (None, Offload::Fixed(_)) => layers(checkpoint, ranks).or(weights).unwrap_or_default(),
                (None, _) => ByteSize::default(),
            },
            emptied: checkpoint.emptied(ranks),
        }
    }

    /// The bytes that are missing for a cache of this size while all weights are in VRAM.
    pub(super) fn short(&self, cache: ByteSize) -> ByteSize {
        self.weights.map_or(ByteSize::default(), |weights| (weights + self.overhead + cache).less(self.gpu))
    }

    /// `--cpu-offload-gb` in whole GiB for so many missing bytes: all experts where not even these are enough.
    pub(super) fn offload(&self, missing: ByteSize) -> ByteSize {
        whole_gib(self.counted(self.offloadable.min(missing)))
    }

    /// The bytes that vLLM counts while it moves so many bytes of experts to RAM.
    pub(super) fn counted(&self, moved: ByteSize) -> ByteSize {
        moved + self.emptied.part(moved, self.offloadable)
    }

    /// The bytes that really go to RAM when vLLM has counted so many.
    pub(super) fn offloaded(&self, counted: ByteSize) -> ByteSize {
        let all = self.offloadable + self.emptied;
        self.offloadable.part(counted.min(all), all)
    }
}

/// Weights of the layers: embedding and head never leave the GPU.
pub(crate) fn layers(checkpoint: &Checkpoint, ranks: u32) -> Option<ByteSize> {
    let tensors = checkpoint.tensors.as_ref()?;
    let stays = [Class::Embedding, Class::LmHead, Class::Other].map(|class| tensors.bytes_of(class, ranks));
    Some(tensors.bytes(ranks).less(stays.into_iter().sum()))
}

/// Weights of what guesses tokens ahead, on one of `ranks` ranks.
fn ahead(checkpoint: &Checkpoint, settings: &EngineSettings, ranks: u32) -> ByteSize {
    let split = |bytes: ByteSize| ByteSize(bytes.0.div_ceil(u64::from(ranks.max(1))));
    match (&settings.speculation, &checkpoint.draft) {
        (Some(Speculation::Own), _) if checkpoint.speculation.0 > 0 => split(checkpoint.speculation),
        // Such a layer is like the others (inferred), where no header told its size.
        (Some(Speculation::Own), _) => match (&checkpoint.tensors, &checkpoint.shape) {
            (Some(tensors), Some(shape)) => ByteSize(tensors.bytes(ranks).0 / shape.num_hidden_layers.max(1)),
            _ => ByteSize::default(),
        },
        (Some(Speculation::Model(_)), Some(draft)) => draft.weights(ranks).unwrap_or_default(),
        _ => ByteSize::default(),
    }
}

fn whole_gib(bytes: ByteSize) -> ByteSize {
    ByteSize::gib(bytes.0.div_ceil(ByteSize::gib(1).0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share above 0 and at most 1 of an amount that fits"
)]
pub(crate) fn share(bytes: ByteSize, part: f64) -> ByteSize {
    ByteSize((bytes.0 as f64 * part) as u64)
}

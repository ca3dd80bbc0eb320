//! How vLLM pages the KV cache and the state of recurrent layers.

use crate::domain::{
    checkpoint::{Checkpoint, ModelDims, architecture::LayerKind},
    profile::{Limits, Profile},
    size::ByteSize,
    vllm::{
        settings::{EngineSettings, Speculation},
        version::Version,
    },
};

/// How vLLM pages the KV cache: in blocks of 16 tokens, and of a hybrid model thus: attention blocks are stretched until one is as
/// large as the recurrent state of a sequence, and layers of both kinds share one pool. Read in
/// vLLM 0.20.2 (`platforms/interface.py:607` and `v1/core/kv_cache_utils.py`); on an H100 the
/// formula gives the logged 868,352 tokens for 29.05 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Tokens of a block.
    pub block_tokens: u64,
    /// Bytes of a block over the layers that share it.
    pub block: ByteSize,
    /// Groups of attention layers; each needs its own blocks for a token.
    attention_groups: u64,
    /// Groups of linear layers; each needs one block a sequence, whatever its length.
    state_groups: u64,
    /// Groups of layers with a sliding window; each needs blocks for no more than the window.
    window_groups: u64,
    /// That window, and the tokens of a step, which are there before what is behind the window is freed.
    window: u64,
    /// Whether vLLM logs tokens as blocks over groups, and not as sequences: it did until 0.19.
    logs_blocks: bool,
}

/// The first vLLM whose log counts the tokens of a hybrid's cache in sequences.
const LOGS_SEQUENCES: Version = Version::new(0, 20, 0);

impl Paging {
    /// The paging of this shape on `ranks` ranks with 16-bit cache and state. `None` where all layers are
    /// linear: no such model is known.
    pub fn of(shape: &ModelDims, ranks: u32) -> Option<Self> {
        Self::with(shape, ranks, 16, &EngineSettings::of(&[]))
    }

    /// The paging with cache and state as the checkpoint and the command line have them, and with the layers that
    /// guess ahead.
    pub(crate) fn planned(checkpoint: &Checkpoint, profile: &Profile, ranks: u32) -> Option<Self> {
        let settings = profile.arguments().settings();
        let by_itself = checkpoint.quantization.as_ref().is_some_and(|stored| stored.cache_in_8_bits);
        let bits = settings.cache_bits.unwrap_or(if by_itself { 8 } else { 16 });
        let paging = Self::with(checkpoint.shape.as_ref()?, ranks, bits, settings)?;
        let version = Version::of(&profile.runtime().vllm);
        Some(Self {
            window: paging.window + u64::from(profile.limits().max_num_batched_tokens),
            logs_blocks: version.is_some_and(|version| version < LOGS_SEQUENCES),
            ..paging
        })
    }

    fn with(shape: &ModelDims, ranks: u32, bits: u64, settings: &EngineSettings) -> Option<Self> {
        let ranks = u64::from(ranks.max(1));
        let ahead = u64::from(settings.speculation == Some(Speculation::Own));
        // A stage of a pipeline has the groups of the whole model, and of each only its own layers.
        let whole = shape.whole();
        let (here, here_linear) = (shape.count(LayerKind::Full) + ahead, shape.count(LayerKind::Linear));
        let full = whole.count(LayerKind::Full) + ahead;
        let linear = whole.count(LayerKind::Linear);
        if full == ahead {
            return None;
        }
        let heads = (shape.num_key_value_heads / ranks).max(1);
        // Latent vectors are of all heads together, and every rank keeps all of them.
        let elements = if shape.latent > 0 { shape.latent } else { 2 * heads * shape.head_dim };
        let token = (elements * bits).div_ceil(8);
        let plain = Self {
            block_tokens: 16,
            block: ByteSize((16 * token).saturating_mul(here)),
            attention_groups: 1,
            state_groups: 0,
            window_groups: 0,
            window: shape.sliding_window,
            logs_blocks: false,
        };
        if linear == 0 {
            let sliding = whole.sliding_layers.min(full);
            if sliding == 0 || sliding == full {
                return Some(plain);
            }
            let layers = sliding.min(full - sliding);
            let (attention_groups, window_groups) =
                ((full - sliding).div_ceil(layers), sliding.div_ceil(layers));
            let here_sliding = shape.sliding_layers.min(here);
            let layers =
                (here - here_sliding).div_ceil(attention_groups).max(here_sliding.div_ceil(window_groups));
            return Some(Self {
                block: ByteSize((16 * token).saturating_mul(layers)),
                attention_groups,
                window_groups,
                ..plain
            });
        }
        let layers = full.min(linear);
        let keys = shape.linear_num_key_heads * shape.linear_key_head_dim;
        let values = shape.linear_num_value_heads * shape.linear_value_head_dim;
        let taps = shape.linear_conv_kernel_dim.saturating_sub(1);
        let convolution = taps * ((2 * keys + values) / ranks) * settings.convolution_bits / 8;
        let heads = shape.linear_num_value_heads / ranks;
        let recurrent =
            heads * shape.linear_key_head_dim * shape.linear_value_head_dim * settings.state_bits / 8;
        let block_tokens = 16 * (convolution + recurrent).div_ceil(16 * token).max(1);
        let (attention_groups, state_groups) = (full.div_ceil(layers), linear.div_ceil(layers));
        let layers = here.div_ceil(attention_groups).max(here_linear.div_ceil(state_groups));
        Some(Self {
            block_tokens,
            block: ByteSize((block_tokens * token).saturating_mul(layers)),
            attention_groups,
            state_groups,
            ..plain
        })
    }

    /// The layout in which so many times as many tokens as computed were seen to fit.
    pub(super) fn holding(self, times: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "half to twice the size")]
        let block = ByteSize((self.block.0 as f64 / times).ceil() as u64);
        Self { block, ..self }
    }

    /// Blocks of one sequence of this many tokens.
    fn blocks(&self, tokens: u64) -> u64 {
        let of = |tokens: u64| tokens.div_ceil(self.block_tokens);
        of(tokens) * self.attention_groups + self.state_groups + self.in_window(tokens)
    }

    /// Of them, those of layers with a sliding window.
    fn in_window(&self, tokens: u64) -> u64 {
        (tokens.min(self.window).div_ceil(self.block_tokens) + 1) * self.window_groups
    }

    /// Bytes without which vLLM does not start: one sequence of `max_model_len` tokens, and of a hybrid one block for the
    /// state of each of `max_num_seqs` sequences. More sequences than fit wait, or are computed again.
    pub fn needed(&self, limits: Limits) -> ByteSize {
        let states = if self.state_groups > 0 { u64::from(limits.max_num_seqs) } else { 0 };
        let blocks = self.blocks(u64::from(limits.max_model_len)).max(states);
        ByteSize(self.block.0.saturating_mul(blocks))
    }

    /// Bytes for `max_num_seqs` sequences of `max_model_len` tokens.
    pub(crate) fn of_all(&self, limits: Limits) -> ByteSize {
        let blocks = self.blocks(u64::from(limits.max_model_len));
        ByteSize(self.block.0.saturating_mul(blocks.saturating_mul(u64::from(limits.max_num_seqs))))
    }

    /// The tokens that so much memory holds, as vLLM logs them: sequences of the longest length, the
    /// last one in part, times that length.
    pub fn tokens(&self, memory: ByteSize, max_model_len: u32) -> u64 {
        let length = u64::from(max_model_len);
        let blocks = memory.0 / self.block.0.max(1);
        if self.logs_blocks {
            let groups = self.attention_groups + self.state_groups + self.window_groups;
            return (blocks / groups.max(1)).saturating_mul(self.block_tokens);
        }
        blocks.saturating_mul(length) / self.blocks(length).max(1)
    }

    /// How many sequences of this length so much memory holds.
    pub(crate) fn sequences(&self, memory: ByteSize, length: u32) -> u64 {
        memory.0 / self.block.0.max(1) / self.blocks(u64::from(length)).max(1)
    }

    /// The longest length of which `sequences` sequences fit into so much memory.
    pub(crate) fn longest(&self, memory: ByteSize, sequences: u32) -> u64 {
        let blocks = memory.0 / self.block.0.max(1) / u64::from(sequences.max(1));
        let beside = self.state_groups + self.in_window(u64::MAX);
        blocks.saturating_sub(beside) / self.attention_groups * self.block_tokens
    }
}

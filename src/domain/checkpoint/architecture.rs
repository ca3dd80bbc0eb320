//! The architectures that are modelled, and their dimensions as `config.json` names them.

use super::config::Object;
pub use super::family::Family;
use crate::domain::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The dimensions of a modelled architecture. What it does not have is 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDims {
    /// The family, which decides names and peculiarities.
    pub family: Family,
    /// Width of the residual stream.
    pub(crate) hidden_size: u64,
    /// Layers of both kinds.
    pub(crate) num_hidden_layers: u64,
    /// Every how-manieth layer is full attention; the others are linear. 1: all are full.
    pub(crate) full_attention_interval: u64,
    /// Rows of the embedding and of the head.
    pub(crate) vocab_size: u64,
    /// Query heads of full attention.
    pub(crate) num_attention_heads: u64,
    /// Key-value heads of full attention.
    pub(crate) num_key_value_heads: u64,
    /// Width of such a head.
    pub(crate) head_dim: u64,
    /// Inner width of a layer's dense feed-forward part.
    pub(crate) intermediate_size: u64,
    /// Routed experts of a layer.
    pub(crate) num_experts: u64,
    /// Routed experts that a token passes in a layer.
    pub(crate) num_experts_per_tok: u64,
    /// Inner width of a routed expert.
    pub(crate) moe_intermediate_size: u64,
    /// Inner width of the shared expert.
    pub(crate) shared_expert_intermediate_size: u64,
    /// Key heads of linear attention.
    pub(crate) linear_num_key_heads: u64,
    /// Value heads of linear attention.
    pub(crate) linear_num_value_heads: u64,
    /// Width of such a key head.
    pub(crate) linear_key_head_dim: u64,
    /// Width of such a value head.
    pub(crate) linear_value_head_dim: u64,
    /// Taps of the causal convolution.
    pub(crate) linear_conv_kernel_dim: u64,
    /// The longest context that the model was made for.
    pub max_position_embeddings: u64,
    /// The longest context that vLLM below 0.32 derives where `YaRN` stretches it.
    #[serde(default)]
    pub stretched: Option<u64>,
    /// Whether the head is the embedding.
    pub(crate) tie_word_embeddings: bool,
    /// Of the layers of full attention, those that look back no further than the window.
    #[serde(default)]
    pub(crate) sliding_layers: u64,
    /// That window, tokens.
    #[serde(default)]
    pub(crate) sliding_window: u64,
    /// Elements of a token that latent attention (MLA) keeps in a layer.
    #[serde(default)]
    pub(crate) latent: u64,
    /// The part that sees.
    #[serde(default)]
    pub(crate) vision: Option<Vision>,
    /// The whole of which these layers are a stage of a pipeline. Absent: they are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Whole>,
}

/// The model that a stage of a pipeline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// The stage's first layer, from 0.
    pub(crate) first: u64,
    /// Layers of all stages.
    layers: u64,
    /// Of all layers, those with a sliding window.
    sliding: u64,
}

/// The part of a model that sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vision {
    /// Width of its residual stream.
    pub(crate) hidden_size: u64,
    /// Inner width of its layers.
    pub(crate) intermediate_size: u64,
    /// Tokens of the largest image, as the language model sees it.
    pub(crate) tokens: u64,
    /// Patches of such a token.
    pub(crate) merge: u64,
}

impl ModelDims {
    /// The kinds of all layers in order.
    pub(crate) fn layers(&self) -> impl Iterator<Item = LayerKind> {
        let interval = self.full_attention_interval.max(1);
        let first = self.of.map_or(0, |whole| whole.first);
        (first + 1..=first + self.num_hidden_layers).map(move |number| match number % interval {
            0 => LayerKind::Full,
            _ => LayerKind::Linear,
        })
    }

    /// The longest context that any vLLM serves it with.
    pub fn longest_context(&self) -> u64 {
        self.max_position_embeddings.max(self.stretched.unwrap_or_default())
    }

    /// Bytes of the table of cosines and sines that vLLM keeps for rotary embeddings and logs as weights: 16 bits for each
    /// position and element of a head, of which a hybrid turns a quarter. With its 31 MiB Llama-3.1-8B has the 14.9888 GiB that
    /// were logged; Gemma 3, which stretches its positions eightfold, has 256 MiB. Qwen3-Next's was measured among
    /// the rest.
    pub(crate) fn rotary(&self) -> u64 {
        let turned = match self.family {
            family if family.is_measured() => 0,
            family if family.is_hybrid() => self.head_dim / 4,
            _ => self.head_dim,
        };
        2 * turned * self.longest_context()
    }

    /// How many layers are of this kind.
    pub fn count(&self, kind: LayerKind) -> u64 {
        self.layers().filter(|layer| *layer == kind).count() as u64
    }

    /// The stage of a pipeline that has these layers.
    pub(super) fn stage(&self, layers: &Range<u64>) -> Self {
        let count = layers.end - layers.start;
        let whole =
            Whole { first: layers.start, layers: self.num_hidden_layers, sliding: self.sliding_layers };
        let sliding = (self.sliding_layers * count).div_ceil(self.num_hidden_layers.max(1));
        Self { num_hidden_layers: count, sliding_layers: sliding, of: Some(whole), ..self.clone() }
    }

    /// The whole model, of a stage too.
    pub(crate) fn whole(&self) -> Self {
        let Some(whole) = self.of else { return self.clone() };
        let (num_hidden_layers, sliding_layers) = (whole.layers, whole.sliding);
        Self { num_hidden_layers, sliding_layers, of: None, ..self.clone() }
    }
}

/// The dimensions as they are written. Absent: the file does not say it.
#[derive(Default)]
pub(crate) struct Dimensions {
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    full_attention_interval: Option<u64>,
    layer_types: Option<Vec<String>>,
    vocab_size: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    intermediate_size: Option<u64>,
    num_experts: Option<u64>,
    num_local_experts: Option<u64>,
    num_experts_per_tok: Option<u64>,
    moe_intermediate_size: Option<u64>,
    shared_expert_intermediate_size: Option<u64>,
    linear_num_key_heads: Option<u64>,
    linear_num_value_heads: Option<u64>,
    linear_key_head_dim: Option<u64>,
    linear_value_head_dim: Option<u64>,
    linear_conv_kernel_dim: Option<u64>,
    tie_word_embeddings: Option<bool>,
    decoder_sparse_step: Option<u64>,
    mlp_only_layers: Option<Vec<u64>>,
    n_routed_experts: Option<u64>,
    kv_lora_rank: Option<u64>,
    qk_rope_head_dim: Option<u64>,
    sliding_window: Option<u64>,
    sliding_window_pattern: Option<u64>,
    vision: Option<Vision>,
    context: Context,
}

/// The longest context, as vLLM derives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Context {
    longest: Option<u64>,
    stretched: Option<u64>,
}

/// Keys that may say the longest context: the smallest counts. Read in vLLM 0.32 (`model_arch_config_convertor.py`).
const LENGTHS: [&str; 8] = [
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
];
/// Kinds of `RoPE` whose factor is in the longest context already. Read in vLLM 0.32 (`config/model.py:2595`).
const SCALED: [&str; 3] = ["su", "longrope", "llama3"];

impl Context {
    fn of(config: &Object) -> Self {
        let shortest = LENGTHS.iter().filter_map(|key| config.count(key)).min();
        // This one may be longer than the others, and is then allowed.
        let Some(mut longest) = config.count("model_max_length").or(shortest) else { return Self::default() };
        let mut stretched = None;
        let ropes = ["rope_parameters", "rope_scaling"].into_iter().filter_map(|key| config.object(key));
        for rope in ropes.flat_map(|rope| rope.objects().chain([rope.clone()]).collect::<Vec<_>>()) {
            let kind: String = rope.read("rope_type").or_else(|| rope.read("type")).unwrap_or_default();
            let Some(factor) = rope.read::<f64>("factor") else { continue };
            if kind.ends_with("yarn") {
                let base = rope.count("original_max_position_embeddings").unwrap_or(longest);
                stretched = Some(times(base, factor));
            } else if !kind.is_empty() && !SCALED.contains(&kind.as_str()) {
                longest = times(longest, factor);
            }
        }
        Self { longest: Some(longest), stretched }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it saturates, and is checked later"
)]
fn times(length: u64, factor: f64) -> u64 {
    (length as f64 * factor) as u64
}

/// No dimension of a model is larger: guards the arithmetic against absurd files.
const LARGEST_DIMENSION: u64 = 1 << 20;
/// No context is longer, however it is stretched.
const LONGEST_CONTEXT: u64 = 1 << 30;
/// No model has more layers: guards the loop over them.
const MOST_LAYERS: u64 = 1024;

impl Dimensions {
    /// Reads `config.json`. Absent where a dimension is no number: such a variant is not modelled.
    pub(crate) fn of(config: &Object) -> Option<Self> {
        let mut dimensions = Self { context: Context::of(config), ..Self::default() };
        macro_rules! counts {
            ($($name:ident),*) => { $( dimensions.$name = count(config, stringify!($name))?; )* };
        }
        counts!(hidden_size, num_hidden_layers, full_attention_interval, vocab_size, num_attention_heads);
        counts!(num_key_value_heads, head_dim, intermediate_size, num_experts, num_local_experts);
        counts!(num_experts_per_tok, moe_intermediate_size, shared_expert_intermediate_size);
        counts!(linear_num_key_heads, linear_num_value_heads, linear_key_head_dim, linear_value_head_dim);
        counts!(
            linear_conv_kernel_dim,
            decoder_sparse_step,
            n_routed_experts,
            kv_lora_rank,
            qk_rope_head_dim
        );
        counts!(sliding_window, sliding_window_pattern);
        dimensions.layer_types = config.read("layer_types");
        dimensions.tie_word_embeddings = config.read("tie_word_embeddings");
        dimensions.mlp_only_layers = config.read("mlp_only_layers");
        Some(dimensions)
    }

    /// Adds a part that sees.
    pub(crate) fn seeing(self, vision: Option<Vision>) -> Self {
        Self { vision, ..self }
    }

    /// Takes what the outer configuration says of the head, where the inner one says nothing.
    pub(crate) fn tie(&mut self, outer: &Object) {
        self.tie_word_embeddings = self.tie_word_embeddings.or_else(|| outer.read("tie_word_embeddings"));
    }

    /// How many layers look back no further than a window.
    fn sliding(&self, family: Family) -> u64 {
        let layers = self.num_hidden_layers.unwrap_or_default();
        match (&self.layer_types, self.sliding_window_pattern) {
            (Some(types), _) => types.iter().filter(|kind| *kind == "sliding_attention").count() as u64,
            (None, Some(pattern @ 1..)) => layers - layers / pattern,
            // transformers' own default.
            _ if family == Family::Gemma3 => layers - layers / 6,
            _ => layers / 2,
        }
    }

    /// Variants with dense layers exist in the format, not in the field: they are not modelled.
    fn all_layers_are_sparse(&self) -> bool {
        self.decoder_sparse_step.unwrap_or(1) == 1 && self.mlp_only_layers.as_ref().is_none_or(Vec::is_empty)
    }

    /// The interval of full attention, also where only `layer_types` tells it. `None` where the kinds follow
    /// no interval.
    fn interval(&self) -> Option<u64> {
        let Some(types) = &self.layer_types else {
            return self.full_attention_interval;
        };
        let is_full = |kind: &String| kind == "full_attention";
        let interval = types.iter().position(is_full)? + 1;
        let regular =
            types.iter().enumerate().all(|(index, kind)| is_full(kind) == ((index + 1) % interval == 0));
        regular.then_some(interval as u64)
    }

    /// The shape that these dimensions have in this family, or why this variant is not modelled.
    pub(crate) fn shape(&self, family: Family) -> Result<Result<ModelDims, String>, Problem> {
        if family.is_sparse() && !self.all_layers_are_sparse() {
            return Ok(Err("some of its layers are dense".to_owned()));
        }
        let mut taken = Taken::default();
        let mut shape = self.common(family, &mut taken);
        match family {
            Family::Qwen3Next | Family::HybridSparse => {
                self.hybrid(&mut shape, &mut taken);
                self.hybrid_experts(&mut shape, &mut taken);
            }
            Family::HybridDense => {
                self.hybrid(&mut shape, &mut taken);
                shape.intermediate_size = taken.take("intermediate_size", self.intermediate_size);
            }
            Family::Sparse | Family::Latent => {
                let experts = self.n_routed_experts.or(self.num_experts).or(self.num_local_experts);
                shape.num_experts = taken.take("n_routed_experts", experts);
                // Where no layer is dense, one width is enough.
                let inner = self.num_local_experts.and(self.intermediate_size);
                let inner = self.moe_intermediate_size.or(inner);
                shape.moe_intermediate_size = taken.take("moe_intermediate_size", inner);
                if family == Family::Latent {
                    shape.latent = taken.take("kv_lora_rank", self.kv_lora_rank)
                        + taken.take("qk_rope_head_dim", self.qk_rope_head_dim);
                }
            }
            Family::Qwen3Moe => {
                shape.num_experts = taken.take("num_experts", self.num_experts);
                shape.moe_intermediate_size = taken.take("moe_intermediate_size", self.moe_intermediate_size);
            }
            Family::Mixtral | Family::GptOss => {
                shape.num_experts = taken.take("num_local_experts", self.num_local_experts);
                shape.moe_intermediate_size = taken.take("intermediate_size", self.intermediate_size);
            }
            Family::Llama | Family::Qwen2 | Family::Qwen3 | Family::Dense | Family::Gemma3 => {
                shape.intermediate_size = taken.take("intermediate_size", self.intermediate_size);
            }
        }
        if matches!(family, Family::GptOss | Family::Gemma3) {
            shape.sliding_layers = self.sliding(family);
            shape.sliding_window = taken.take("sliding_window", self.sliding_window);
        }
        if family.is_sparse() {
            shape.num_experts_per_tok = taken.take("num_experts_per_tok", self.num_experts_per_tok);
        }
        if !taken.absent.is_empty() {
            // transformers has values for them, of each version its own.
            return Ok(Err(format!("`config.json` leaves out {}", taken.absent.join(", "))));
        }
        taken.check(family)?;
        if shape.num_key_value_heads > shape.num_attention_heads
            || shape.num_experts_per_tok > shape.num_experts
        {
            let what = "has more key-value heads than heads, or routes to more experts than there are";
            return Err(unusable(family, what));
        }
        Ok(Ok(shape))
    }

    /// The dimensions that all families have.
    fn common(&self, family: Family, taken: &mut Taken) -> ModelDims {
        let hidden_size = taken.take("hidden_size", self.hidden_size);
        let num_attention_heads = taken.take("num_attention_heads", self.num_attention_heads);
        let num_hidden_layers = taken.take("num_hidden_layers", self.num_hidden_layers);
        if num_hidden_layers > MOST_LAYERS {
            taken.absurd.push(format!("`num_hidden_layers` = {num_hidden_layers}"));
        }
        // Where these two are left out vLLM and transformers compute them.
        let heads = self.num_key_value_heads.unwrap_or(num_attention_heads);
        let head_dim = match (family, self.head_dim) {
            (family, written) if family.is_hybrid() || written.is_some() => written,
            _ => Some(hidden_size / num_attention_heads.max(1)),
        };
        ModelDims {
            family,
            hidden_size,
            num_hidden_layers,
            full_attention_interval: 1,
            vocab_size: taken.take("vocab_size", self.vocab_size),
            num_attention_heads,
            num_key_value_heads: taken.take("num_key_value_heads", Some(heads)),
            head_dim: taken.take("head_dim", head_dim),
            intermediate_size: 0,
            num_experts: 0,
            num_experts_per_tok: 0,
            moe_intermediate_size: 0,
            shared_expert_intermediate_size: 0,
            linear_num_key_heads: 0,
            linear_num_value_heads: 0,
            linear_key_head_dim: 0,
            linear_value_head_dim: 0,
            linear_conv_kernel_dim: 0,
            max_position_embeddings: taken.take("max_position_embeddings", self.context.longest),
            stretched: self.context.stretched.map(|length| length.min(LONGEST_CONTEXT)),
            // transformers ties Gemma's where it says nothing.
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(family == Family::Gemma3),
            sliding_layers: 0,
            sliding_window: 0,
            latent: 0,
            vision: self.vision,
            of: None,
        }
    }

    /// Reads the dimensions of hybrids.
    fn hybrid(&self, shape: &mut ModelDims, taken: &mut Taken) {
        macro_rules! take {
            ($($name:ident),*) => { $( shape.$name = taken.take(stringify!($name), self.$name); )* };
        }
        take!(linear_num_key_heads, linear_num_value_heads, linear_key_head_dim);
        take!(linear_value_head_dim, linear_conv_kernel_dim);
        shape.full_attention_interval = taken.take("full_attention_interval", self.interval());
    }

    fn hybrid_experts(&self, shape: &mut ModelDims, taken: &mut Taken) {
        shape.num_experts = taken.take("num_experts", self.num_experts);
        shape.moe_intermediate_size = taken.take("moe_intermediate_size", self.moe_intermediate_size);
        let shared = self.shared_expert_intermediate_size;
        shape.shared_expert_intermediate_size = taken.take("shared_expert_intermediate_size", shared);
    }
}

/// A number, or nothing where the file does not say it. Absent where it is something else.
#[expect(clippy::option_option, reason = "the outer tells whether it could be read")]
fn count(config: &Object, key: &str) -> Option<Option<u64>> {
    match config.count(key) {
        None if config.has(key) => None,
        found => Some(found),
    }
}

/// The mistakes that were found while dimensions were taken, so that all of them are told at once.
#[derive(Default)]
struct Taken {
    absent: Vec<String>,
    absurd: Vec<String>,
}

impl Taken {
    fn take(&mut self, name: &str, value: Option<u64>) -> u64 {
        // Some models are made for ten million tokens.
        let most = if name == "max_position_embeddings" { LONGEST_CONTEXT } else { LARGEST_DIMENSION };
        match value {
            Some(value) if (1..=most).contains(&value) => return value,
            Some(value) => self.absurd.push(format!("`{name}` = {value}")),
            None => self.absent.push(format!("`{name}`")),
        }
        1
    }

    fn check(self, family: Family) -> Result<(), Problem> {
        match self.absurd.as_slice() {
            [] => Ok(()),
            fields => Err(unusable(family, &format!("says {}", fields.join(", ")))),
        }
    }
}

fn unusable(family: Family, what: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("`config.json` of a {} {what}", family.name()))
        .help("take the model's original `config.json`")
}

/// The two kinds of attention that Qwen3-Next mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Softmax attention with a KV cache that grows.
    Full,
    /// A gated delta net with a state of fixed size.
    Linear,
}

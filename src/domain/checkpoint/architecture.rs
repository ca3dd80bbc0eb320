//! The architectures that are modelled, and their dimensions as `config.json` names them.

use super::config::Object;
use crate::domain::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};

/// Architectures whose tensors and KV cache are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `Qwen3NextForCausalLM`: linear and full attention, routed and shared experts.
    Qwen3Next,
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`: Llama with biases at queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: Llama with norms at queries and keys.
    Qwen3,
    /// `Qwen3MoeForCausalLM`: Qwen3 with routed experts.
    Qwen3Moe,
    /// `MixtralForCausalLM`: Llama with routed experts.
    Mixtral,
}

impl Family {
    /// The family of this name among `architectures`.
    pub(crate) fn of(architecture: &str) -> Option<Self> {
        Some(match architecture {
            "Qwen3NextForCausalLM" => Self::Qwen3Next,
            "LlamaForCausalLM" => Self::Llama,
            "Qwen2ForCausalLM" => Self::Qwen2,
            "Qwen3ForCausalLM" => Self::Qwen3,
            "Qwen3MoeForCausalLM" => Self::Qwen3Moe,
            "MixtralForCausalLM" => Self::Mixtral,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Qwen3Next => "Qwen3-Next",
            Self::Llama => "Llama",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Qwen3Moe => "Qwen3-MoE",
            Self::Mixtral => "Mixtral",
        }
    }

    /// Whether its layers have routed experts.
    pub(crate) const fn is_sparse(self) -> bool {
        matches!(self, Self::Qwen3Next | Self::Qwen3Moe | Self::Mixtral)
    }

    /// Whether queries and keys have norms.
    pub(crate) const fn norms_heads(self) -> bool {
        matches!(self, Self::Qwen3Next | Self::Qwen3 | Self::Qwen3Moe)
    }
}

/// The dimensions of a modelled architecture; 0 for what it does not have.
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
}

impl ModelDims {
    /// The kinds of all layers in order.
    pub(crate) fn layers(&self) -> impl Iterator<Item = LayerKind> {
        let interval = self.full_attention_interval.max(1);
        (1..=self.num_hidden_layers).map(move |number| match number % interval {
            0 => LayerKind::Full,
            _ => LayerKind::Linear,
        })
    }

    /// The longest context that any vLLM serves it with.
    pub fn longest_context(&self) -> u64 {
        self.max_position_embeddings.max(self.stretched.unwrap_or_default())
    }

    /// How many layers are of this kind.
    pub fn count(&self, kind: LayerKind) -> u64 {
        let full = self.num_hidden_layers / self.full_attention_interval.max(1);
        match kind {
            LayerKind::Full => full,
            LayerKind::Linear => self.num_hidden_layers - full,
        }
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
    /// What `config.json` says. Absent where a dimension is no number: such a variant is not modelled.
    pub(crate) fn of(config: &Object) -> Option<Self> {
        let mut dimensions = Self { context: Context::of(config), ..Self::default() };
        macro_rules! counts {
            ($($name:ident),*) => { $( dimensions.$name = count(config, stringify!($name))?; )* };
        }
        counts!(hidden_size, num_hidden_layers, full_attention_interval, vocab_size, num_attention_heads);
        counts!(num_key_value_heads, head_dim, intermediate_size, num_experts, num_local_experts);
        counts!(num_experts_per_tok, moe_intermediate_size, shared_expert_intermediate_size);
        counts!(linear_num_key_heads, linear_num_value_heads, linear_key_head_dim, linear_value_head_dim);
        counts!(linear_conv_kernel_dim, decoder_sparse_step);
        dimensions.layer_types = config.read("layer_types");
        dimensions.tie_word_embeddings = config.read("tie_word_embeddings");
        dimensions.mlp_only_layers = config.read("mlp_only_layers");
        Some(dimensions)
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
            Family::Qwen3Next => self.hybrid(&mut shape, &mut taken),
            Family::Qwen3Moe => {
                shape.num_experts = taken.take("num_experts", self.num_experts);
                shape.moe_intermediate_size = taken.take("moe_intermediate_size", self.moe_intermediate_size);
            }
            Family::Mixtral => {
                shape.num_experts = taken.take("num_local_experts", self.num_local_experts);
                shape.moe_intermediate_size = taken.take("intermediate_size", self.intermediate_size);
            }
            Family::Llama | Family::Qwen2 | Family::Qwen3 => {
                shape.intermediate_size = taken.take("intermediate_size", self.intermediate_size);
            }
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
            (Family::Qwen3Next, written) | (_, written @ Some(_)) => written,
            (_, None) => Some(hidden_size / num_attention_heads.max(1)),
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
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
        }
    }

    /// The dimensions that only Qwen3-Next has.
    fn hybrid(&self, shape: &mut ModelDims, taken: &mut Taken) {
        macro_rules! take {
            ($($name:ident),*) => { $( shape.$name = taken.take(stringify!($name), self.$name); )* };
        }
        take!(num_experts, moe_intermediate_size, shared_expert_intermediate_size);
        take!(linear_num_key_heads, linear_num_value_heads, linear_key_head_dim);
        take!(linear_value_head_dim, linear_conv_kernel_dim);
        shape.full_attention_interval = taken.take("full_attention_interval", self.interval());
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

/// What was found wrong while dimensions were taken, so that all of it is told at once.
#[derive(Default)]
struct Taken {
    absent: Vec<String>,
    absurd: Vec<String>,
}

impl Taken {
    fn take(&mut self, name: &str, value: Option<u64>) -> u64 {
        match value {
            Some(value) if (1..=LARGEST_DIMENSION).contains(&value) => return value,
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

//! The architectures that are modelled, and their dimensions as `config.json` names them.

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
    pub(crate) max_position_embeddings: u64,
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

    /// The number of layers of this kind.
    pub fn count(&self, kind: LayerKind) -> u64 {
        let full = self.num_hidden_layers / self.full_attention_interval.max(1);
        match kind {
            LayerKind::Full => full,
            LayerKind::Linear => self.num_hidden_layers - full,
        }
    }
}

#[derive(Deserialize)]
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
    max_position_embeddings: Option<u64>,
    tie_word_embeddings: Option<bool>,
    decoder_sparse_step: Option<u64>,
    mlp_only_layers: Option<Vec<u64>>,
}

/// No dimension of a model is larger: guards the arithmetic against absurd files.
const LARGEST_DIMENSION: u64 = 1 << 20;
/// No model has more layers: guards the loop over them.
const MOST_LAYERS: u64 = 1024;

impl Dimensions {
    /// Whether no layer is dense. Variants with dense layers exist in the format, but not in the field: they
    /// are not modelled.
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

    /// The shape that these dimensions have in this family. `None` where a variant is not modelled.
    pub(crate) fn shape(&self, family: Family) -> Result<Option<ModelDims>, Problem> {
        if family.is_sparse() && !self.all_layers_are_sparse() {
            return Ok(None);
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
        taken.check(family)?;
        if shape.num_key_value_heads > shape.num_attention_heads
            || shape.num_experts_per_tok > shape.num_experts
        {
            let what = "has more key-value heads than heads, or routes to more experts than there are";
            return Err(unusable(family, what));
        }
        Ok(Some(shape))
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
            max_position_embeddings: taken.take("max_position_embeddings", self.max_position_embeddings),
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

/// The mistakes found while dimensions were read, so that all of them are told at once.
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
        for (verb, fields) in [("lacks", self.absent), ("says", self.absurd)] {
            if !fields.is_empty() {
                return Err(unusable(family, &format!("{verb} {}", fields.join(", "))));
            }
        }
        Ok(())
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

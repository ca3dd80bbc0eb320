//! What is known of a checkpoint from its `config.json`: architecture, quantisation, bytes by
//! class.

use super::{
    problem::{Kind, Problem},
    quantization::{self, Rules},
    size::Bytes,
    tensors::{Class, LayerKind, Tensors},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use super::quantization::Quantization;

/// A checkpoint's shape as far as a plan needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// `architectures[0]`.
    pub architecture: String,
    /// The quantisation that `config.json` names, if any.
    pub quantization: Option<Quantization>,
    /// Dimensions, where this architecture is modelled. Absent: only `files_total` is known.
    pub shape: Option<Shape>,
    /// Weights by class, where architecture and quantisation are modelled.
    pub tensors: Option<Tensors>,
    /// Bytes of all weight files, where known.
    pub files_total: Option<Bytes>,
}

/// The dimensions of Qwen3-Next as its `config.json` names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Layers of both kinds.
    pub num_hidden_layers: u64,
    /// Every how-manieth layer is full attention; the others are linear.
    pub full_attention_interval: u64,
    /// Rows of the embedding and of the head.
    pub vocab_size: u64,
    /// Query heads of full attention.
    pub num_attention_heads: u64,
    /// Key-value heads of full attention.
    pub num_key_value_heads: u64,
    /// Width of such a head.
    pub head_dim: u64,
    /// Routed experts of a layer.
    pub num_experts: u64,
    /// Routed experts that a token passes in a layer.
    pub num_experts_per_tok: u64,
    /// Inner width of a routed expert.
    pub moe_intermediate_size: u64,
    /// Inner width of the shared expert.
    pub shared_expert_intermediate_size: u64,
    /// Key heads of linear attention.
    pub linear_num_key_heads: u64,
    /// Value heads of linear attention.
    pub linear_num_value_heads: u64,
    /// Width of such a key head.
    pub linear_key_head_dim: u64,
    /// Width of such a value head.
    pub linear_value_head_dim: u64,
    /// Taps of the causal convolution.
    pub linear_conv_kernel_dim: u64,
    /// The longest context that the model was made for.
    pub max_position_embeddings: u64,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
}

impl Shape {
    /// The kinds of all layers in order.
    pub fn layers(&self) -> impl Iterator<Item = LayerKind> {
        let interval = self.full_attention_interval.max(1);
        (1..=self.num_hidden_layers).map(move |number| match number % interval {
            0 => LayerKind::Full,
            _ => LayerKind::Linear,
        })
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

impl Checkpoint {
    /// Reads a `config.json`. An architecture that is not modelled is no error; a modelled one with
    /// missing or absurd dimensions is.
    pub fn of(config_json: &str, files_total: Option<Bytes>) -> Result<Self, Problem> {
        let names: Names = read(config_json)?;
        let architecture = names.architectures.into_iter().next().ok_or_else(|| {
            Problem::new(Kind::Unverified, "`config.json` lacks `architectures`")
                .help("vLLM needs it to choose the model's code; take the original file")
        })?;
        let (quantization, rules) = match names.quantization_config {
            None => (None, Some(Rules::none())),
            Some(Method { quant_method }) if !quantization::is_modelled(&quant_method) => {
                (Some(Quantization::unmodelled(&quant_method)), None)
            }
            Some(_) => {
                let quantized: Quantized = read(config_json)?;
                let (quantization, rules) = quantized.quantization_config.read()?;
                (Some(quantization), Some(rules))
            }
        };
        let shape = match architecture.as_str() {
            "Qwen3NextForCausalLM" => {
                let dimensions: Dimensions = read(config_json)?;
                let sparse = dimensions.all_layers_are_sparse();
                sparse.then(|| dimensions.validated()).transpose()?
            }
            _ => None,
        };
        let tensors = match (&shape, &rules) {
            (Some(shape), Some(rules)) => Some(Tensors::of(shape, rules)?),
            _ => None,
        };
        Ok(Self { architecture, quantization, shape, tensors, files_total })
    }

    /// The shape of a well-known repository, for plans before any download. See [`known_config`].
    pub fn known(repo: &str) -> Option<Self> {
        Self::of(known_config(repo)?, None).ok()
    }

    /// Bytes of the weights on one of `ranks` ranks, estimated from the file sizes where the model
    /// is not modelled.
    pub fn weights(&self, ranks: u32) -> Option<Bytes> {
        match &self.tensors {
            Some(tensors) => Some(tensors.bytes(ranks)),
            None => self.files_total.map(|total| Bytes(total.0.div_ceil(u64::from(ranks.max(1))))),
        }
    }

    /// Bytes on one of `ranks` ranks that `--cpu-offload-params experts` can move to RAM.
    pub fn experts(&self, ranks: u32) -> Option<Bytes> {
        Some(self.tensors.as_ref()?.bytes_of(Class::Experts, ranks))
    }
}

/// The `config.json` of a well-known repository, rebuilt from what is published about it;
/// `_provenance` inside says how. A plan from it holds until the real file is there.
pub fn known_config(repo: &str) -> Option<&'static str> {
    match repo {
        "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"
        // The account that first published it, gone since.
        | "cpatonn/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit" => {
            Some(include_str!("known/qwen3-next-80b-awq.json"))
        }
        "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ" => {
            Some(include_str!("known/qwen3-next-80b-gptq.json"))
        }
        _ => None,
    }
}

/// Reads what `T` asks for; of an architecture or method that is not modelled, nothing more is
/// asked for than its name.
fn read<T: DeserializeOwned>(config_json: &str) -> Result<T, Problem> {
    serde_json::from_str(config_json).map_err(|e| {
        Problem::new(Kind::Unverified, "cannot read the model's `config.json`")
            .help("is the download complete, and the repository the right one?")
            .because(e)
    })
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    quantization_config: Option<Method>,
}

#[derive(Deserialize)]
struct Method {
    quant_method: String,
}

#[derive(Deserialize)]
struct Quantized {
    quantization_config: quantization::Raw,
}

#[derive(Deserialize)]
struct Dimensions {
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    full_attention_interval: Option<u64>,
    layer_types: Option<Vec<String>>,
    vocab_size: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    num_experts: Option<u64>,
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
    /// Variants with dense layers exist in the format, not in the field: they are not modelled.
    fn all_layers_are_sparse(&self) -> bool {
        self.decoder_sparse_step.unwrap_or(1) == 1 && self.mlp_only_layers.as_ref().is_none_or(Vec::is_empty)
    }

    /// The interval, also where only `layer_types` tells it. `None` where the kinds follow no
    /// interval.
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

    fn validated(&self) -> Result<Shape, Problem> {
        let mut absent = Vec::new();
        let mut absurd = Vec::new();
        let mut take = |name: &'static str, value: Option<u64>| match value {
            Some(value) if (1..=LARGEST_DIMENSION).contains(&value) => value,
            Some(value) => {
                absurd.push(format!("`{name}` = {value}"));
                1
            }
            None => {
                absent.push(format!("`{name}`"));
                1
            }
        };
        macro_rules! take {
            ($($name:ident),*) => { $( let $name = take(stringify!($name), self.$name); )* };
        }
        take!(hidden_size, num_hidden_layers, vocab_size, num_attention_heads, num_key_value_heads);
        take!(head_dim, num_experts, num_experts_per_tok, moe_intermediate_size);
        take!(shared_expert_intermediate_size, linear_num_key_heads, linear_num_value_heads);
        take!(linear_key_head_dim, linear_value_head_dim, linear_conv_kernel_dim);
        take!(max_position_embeddings);
        let full_attention_interval = take("full_attention_interval", self.interval());
        if num_hidden_layers > MOST_LAYERS {
            absurd.push(format!("`num_hidden_layers` = {num_hidden_layers}"));
        }
        for (verb, fields) in [("lacks", absent), ("says", absurd)] {
            if !fields.is_empty() {
                return Err(unusable(&format!("{verb} {}", fields.join(", "))));
            }
        }
        Ok(Shape {
            hidden_size,
            num_hidden_layers,
            full_attention_interval,
            vocab_size,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            num_experts,
            num_experts_per_tok,
            moe_intermediate_size,
            shared_expert_intermediate_size,
            linear_num_key_heads,
            linear_num_value_heads,
            linear_key_head_dim,
            linear_value_head_dim,
            linear_conv_kernel_dim,
            max_position_embeddings,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
        })
    }
}

fn unusable(what: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("`config.json` of a Qwen3-Next {what}"))
        .help("take the model's original `config.json`")
}

//! A checkpoint as its `config.json` describes it: architecture, quantisation, bytes by class.

pub mod architecture;
pub(crate) mod quantization;
pub mod safetensors;
pub mod tensors;

use super::{
    problem::{Kind, Problem},
    size::ByteSize,
};
use architecture::{Dimensions, Family};
use quantization::{Quantized, Rules};
use safetensors::{Header, WeightFiles};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tensors::{Class, Tensors};

pub(crate) use architecture::ModelDims;
pub(crate) use quantization::Quantization;

/// A checkpoint's shape as far as a plan needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// `architectures[0]`.
    pub architecture: String,
    /// The quantisation that `config.json` names, if any.
    pub quantization: Option<Quantization>,
    /// The parts that are quantised.
    pub(crate) quantized: Quantized,
    /// Whether its attention keeps latent vectors instead of keys and values (MLA, as of `DeepSeek`).
    pub(crate) latent_attention: bool,
    /// Dimensions, where this architecture is modelled. Absent: only `files_total` is known.
    pub shape: Option<ModelDims>,
    /// Weights by class, where architecture and quantisation are modelled.
    pub tensors: Option<Tensors>,
    /// Bytes of all weight files, where known.
    pub files_total: Option<ByteSize>,
    /// The bytes that `config.json` let expect, where headers told the real ones.
    pub by_config: Option<ByteSize>,
    /// The bytes that the index of the weight files names.
    pub by_index: Option<ByteSize>,
    /// The type that its weights had before they were quantised: `bfloat16`.
    pub(crate) dtype: Option<String>,
    /// Whether it also sees or hears: parts that are not modelled.
    pub(crate) multimodal: bool,
}

impl Checkpoint {
    /// Reads a `config.json`. An architecture that is not modelled is no error; a modelled one with
    /// missing or absurd dimensions is.
    pub fn of(config_json: &str, files_total: Option<ByteSize>) -> Result<Self, Problem> {
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
                let written: WithQuantization = read(config_json)?;
                let (quantization, rules) = written.quantization_config.read()?;
                (Some(quantization), Some(rules))
            }
        };
        let shape = match Family::of(&architecture) {
            Some(family) => read::<Dimensions>(config_json)?.shape(family)?,
            None => None,
        };
        let tensors = match (&shape, &rules) {
            (Some(shape), Some(rules)) => Some(Tensors::of(shape, rules)?),
            _ => None,
        };
        let quantized = match (&shape, &rules) {
            (Some(_), Some(rules)) => rules.quantized()?,
            _ => Quantized::default(),
        };
        let latent_attention = names.kv_lora_rank.is_some();
        let multimodal = names.vision_config.is_some() || names.audio_config.is_some();
        Ok(Self {
            architecture,
            quantization,
            quantized,
            latent_attention,
            shape,
            tensors,
            files_total,
            by_config: None,
            by_index: None,
            dtype: names.dtype.or(names.torch_dtype),
            multimodal,
        })
    }

    /// Replaces the bytes that `config.json` lets expect by those that the weight files tell. Changes nothing
    /// without files.
    #[must_use]
    pub(crate) fn with_weights(self, files: &WeightFiles) -> Self {
        let headers = &files.headers;
        if headers.is_empty() {
            return self;
        }
        let by_config = self.tensors.as_ref().map(|tensors| tensors.bytes(1));
        let named = headers.iter().flat_map(Header::tensors);
        let tensors = self.shape.as_ref().map(|shape| Tensors::of_headers(shape, named));
        let files_total = Some(headers.iter().map(|header| ByteSize(header.data())).sum());
        Self { tensors, files_total, by_config, by_index: files.total.map(ByteSize), ..self }
    }

    /// The shape of a well-known repository, for plans before any download. See [`known_config`].
    pub fn known(repo: &str) -> Option<Self> {
        Self::of(known_config(repo)?, None).ok()
    }

    /// Bytes of the weights on one of `ranks` ranks, estimated from the file sizes where the model
    /// is not modelled.
    pub fn weights(&self, ranks: u32) -> Option<ByteSize> {
        match &self.tensors {
            Some(tensors) => Some(tensors.bytes(ranks)),
            None => self.files_total.map(|total| ByteSize(total.0.div_ceil(u64::from(ranks.max(1))))),
        }
    }

    /// Bytes on one of `ranks` ranks that `--cpu-offload-params experts` can move to RAM. `None` where there
    /// are none, or the number is unknown.
    pub fn experts(&self, ranks: u32) -> Option<ByteSize> {
        let experts = self.tensors.as_ref()?.bytes_of(Class::Experts, ranks);
        (experts.0 > 0).then_some(experts)
    }

    /// Bytes on one of `ranks` ranks that vLLM counts as offloaded experts, and empties when they are
    /// repacked: the indices of reordered inputs, two of 4 bytes for each input of an expert. vLLM makes them
    /// for these formats whether anything is reordered or not. Read in vLLM 0.26.0
    /// (`compressed_tensors_moe.py`, `gptq_marlin.py`); with them what stayed in VRAM was as planned within
    /// 0.1 GiB for these formats and for AWQ's own, which has none.
    pub(crate) fn emptied(&self, ranks: u32) -> ByteSize {
        let stored = self.quantization.as_ref().map(|stored| stored.method.as_str());
        match (&self.shape, stored) {
            (Some(shape), Some("compressed-tensors" | "gptq")) => {
                let inputs = shape.hidden_size + shape.moe_intermediate_size / u64::from(ranks.max(1));
                ByteSize(2 * 4 * inputs * shape.num_experts * shape.num_hidden_layers)
            }
            _ => ByteSize::default(),
        }
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

/// Reads the fields of `T`. For an architecture or method that is not modelled, only the name is read.
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
    #[serde(default)]
    kv_lora_rank: Option<serde_json::Value>,
    #[serde(default)]
    dtype: Option<String>,
    /// The name of `dtype` until transformers 4.56.
    #[serde(default)]
    torch_dtype: Option<String>,
    #[serde(default)]
    vision_config: Option<serde_json::Value>,
    #[serde(default)]
    audio_config: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Method {
    quant_method: String,
}

#[derive(Deserialize)]
struct WithQuantization {
    quantization_config: quantization::Raw,
}

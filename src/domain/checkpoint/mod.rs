//! A checkpoint as its `config.json` describes it: architecture, quantisation, bytes by class.

pub mod architecture;
pub mod config;
mod family;
pub mod files;
pub(crate) mod quantization;
pub mod safetensors;
pub mod tensors;

use super::{
    problem::{Kind, Problem},
    size::ByteSize,
};
use architecture::{Dimensions, Family, Vision};
use config::{ConfigFiles, Object};
use quantization::{Quantized, Rules};
use safetensors::{Header, Tensor, WeightFiles};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Range};
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
    pub quantized: Quantized,
    /// Whether its attention keeps latent vectors instead of keys and values (MLA, as of `DeepSeek`).
    pub latent_attention: bool,
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
    pub dtype: Option<String>,
    /// Whether it also sees or hears: parts that are not modelled.
    pub multimodal: bool,
    /// Attention heads of the language model, also of one that is not modelled: as many ranks must divide them.
    #[serde(default)]
    pub attention_heads: Option<u64>,
    /// Why it is not modelled, where its architecture is.
    #[serde(default)]
    pub unmodelled: Option<String>,
    /// Bytes of the layers that guess tokens ahead, where headers told them. vLLM loads them for speculation only.
    #[serde(default)]
    pub speculation: ByteSize,
    /// A smaller model beside it that guesses tokens ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Box<Checkpoint>>,
}

impl Checkpoint {
    /// Reads a `config.json` with nothing beside it.
    ///
    /// # Errors
    /// As [`Self::of_files`].
    pub fn of(config_json: &str, files_total: Option<ByteSize>) -> Result<Self, Problem> {
        Self::of_files(&ConfigFiles::alone(config_json), files_total)
    }

    /// Reads what these files say. What vLLM can read, and this cannot, is not modelled and no error.
    ///
    /// # Errors
    /// [`Kind::Unverified`] for what is no JSON to Python either, names no architecture, or has absurd dimensions.
    pub fn of_files(files: &ConfigFiles, files_total: Option<ByteSize>) -> Result<Self, Problem> {
        let mut config = Object::parse(&files.config).map_err(|e| unreadable(&files.config, &e))?;
        for (key, json) in &files.overrides {
            config.set(key, json);
        }
        let architectures: Vec<String> = config.read("architectures").unwrap_or_default();
        let architecture = architectures.into_iter().next().ok_or_else(|| {
            Problem::new(Kind::Unverified, "`config.json` lacks `architectures`")
                .help("vLLM needs it to choose the model's code; take the original file")
        })?;
        let (quantization, mut rules) = match config::quantization(&config, &files.beside) {
            None => (None, Ok(Rules::none())),
            Some(named) => {
                let (quantization, rules) = Quantization::of(named)?;
                (Some(quantization), rules)
            }
        };
        let (mut shape, mut unmodelled) = (None, None);
        if let Some(family) = Family::of(&architecture) {
            match dimensions(&config).map(|dimensions| dimensions.shape(family)).transpose()? {
                Some(Ok(dimensions)) => shape = Some(dimensions),
                Some(Err(why)) => unmodelled = Some(why),
                None => unmodelled = Some("one of its dimensions is no number".to_owned()),
            }
        }
        let tensors = match (&shape, &rules) {
            (Some(shape), Ok(known)) => Tensors::of(shape, known).map_err(|why| rules = Err(why)).ok(),
            _ => None,
        };
        let quantized = match (&shape, &rules) {
            (Some(_), Ok(known)) => known.quantized().unwrap_or_default(),
            _ => Quantized::default(),
        };
        let unmodelled = unmodelled.or_else(|| rules.err().filter(|_| shape.is_some()));
        let configs = config.with_nested();
        let says = |key: &str| configs.iter().any(|config| config.has(key));
        let heads = ["num_attention_heads", "n_head", "n_heads", "num_heads"];
        let attention_heads =
            configs.iter().rev().find_map(|config| heads.iter().find_map(|key| config.count(key)));
        let read = |key: &str| configs.iter().find_map(|config| config.read::<String>(key));
        Ok(Self {
            architecture,
            quantization,
            quantized,
            latent_attention: says("kv_lora_rank"),
            shape,
            tensors,
            files_total,
            by_config: None,
            by_index: None,
            // Its name until transformers 4.56 is the second.
            dtype: read("dtype").or_else(|| read("torch_dtype")),
            multimodal: says("vision_config") || says("audio_config"),
            attention_heads,
            unmodelled,
            speculation: ByteSize::default(),
            draft: None,
        })
    }

    /// Replaces the bytes that `config.json` lets expect by those that the weight files tell. Changes nothing
    /// without files.
    #[must_use]
    pub(crate) fn with_weights(self, files: &WeightFiles) -> Self {
        if files.headers.is_empty() {
            return self;
        }
        let by_config = self.tensors.as_ref().map(|tensors| tensors.bytes(1));
        // A tensor that lies in two files is loaded into the same place.
        let named: BTreeMap<&str, &Tensor> = files
            .headers
            .iter()
            .flat_map(Header::tensors)
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect();
        let tensors = || named.values().copied();
        let sum =
            |tensors: &mut dyn Iterator<Item = &Tensor>| tensors.map(|tensor| ByteSize(tensor.bytes)).sum();
        let once: ByteSize = sum(&mut tensors());
        // Some tools count in the index what lies in two files twice, as the files do.
        let in_files: ByteSize = sum(&mut files.headers.iter().flat_map(Header::tensors));
        let by_index = files.total.map(|total| if total == in_files.0 { once } else { ByteSize(total) });
        let speculation = self
            .shape
            .as_ref()
            .map(|shape| sum(&mut tensors().filter(|tensor| tensors::speculates(shape, &tensor.name))));
        Self {
            tensors: self.shape.as_ref().map(|shape| Tensors::of_headers(shape, tensors())),
            files_total: Some(once),
            by_config,
            by_index,
            speculation: speculation.unwrap_or_default(),
            ..self
        }
    }

    /// The stage of a pipeline that has these layers of it. Of what has no shape nobody knows the layers: `None`.
    pub(crate) fn stage(&self, layers: &Range<u64>) -> Option<Self> {
        let shape = self.shape.as_ref()?;
        let (all, tied) = (shape.num_hidden_layers, shape.tie_word_embeddings);
        let tensors = self.tensors.as_ref().map(|tensors| tensors.stage(layers, all, tied));
        Some(Self { tensors, shape: Some(shape.stage(layers)), ..self.clone() })
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

/// The dimensions of the language model, and of the part that sees.
fn dimensions(config: &Object) -> Option<Dimensions> {
    let nested = config.with_nested();
    let language = nested.iter().rev().find(|config| config.has("hidden_size"));
    let mut dimensions = Dimensions::of(language.map_or(config, |found| found))?;
    dimensions.tie(config);
    let vision = config.object("vision_config");
    Some(dimensions.seeing(vision.map(|vision| {
        let count = |key: &str| vision.count(key).unwrap_or_default();
        // Qwen's take images of up to 16,384 tokens; the others have a fixed size.
        let merge = count("spatial_merge_size");
        let (tokens, merge) = if merge > 0 { (16_384, merge * merge) } else { (1024, 4) };
        Vision {
            hidden_size: count("hidden_size").min(1 << 20),
            intermediate_size: count("intermediate_size").min(1 << 20),
            tokens,
            merge: merge.min(64),
        }
    })))
}

/// Why a text is no `config.json`, to Python neither.
fn unreadable(text: &str, error: &serde_json::Error) -> Problem {
    let problem = Problem::new(Kind::Unverified, "cannot read the model's `config.json`");
    if files::is_pointer(text.as_bytes()) {
        return problem.because("it is a pointer of Git LFS, not the file").help(files::POINTER_HELP);
    }
    let problem = problem.because(error.to_string());
    if error.is_eof() {
        return problem.help("it ends too early: fetch it again");
    }
    problem.help("it is no JSON object, to vLLM neither: take the model's original file")
}

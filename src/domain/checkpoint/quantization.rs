//! Reads `quantization_config`: the method, and which module is stored in how many bits.
//!
//! Every method has its own way to leave modules out (`ignore`, `dynamic`,
//! `modules_to_not_convert`, `extra_config`). All of them become one list of rules here, of which
//! the first that matches a module's name decides, as in vLLM.

use super::config::{Named, Object};
use crate::domain::problem::{Kind, Problem};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// How the weights are stored.
#[expect(clippy::struct_excessive_bools, reason = "four independent statements of a checkpoint")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// vLLM's name of the method: `compressed-tensors`, `gptq`, `awq`, …
    pub method: String,
    /// Bits of a weight. 0 where the method is not modelled.
    pub bits: u32,
    /// Weights that share a scale. 0 where a whole output shares one, or the method is not
    /// modelled.
    pub group_size: u32,
    /// Whether no zero points are stored beside the scales.
    pub(crate) symmetric: bool,
    /// GPTQ's activation order.
    pub desc_act: bool,
    /// The file that says so, where it is another than `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether parts are named as sparse, as compressed-tensors once could.
    #[serde(default)]
    pub sparse: bool,
    /// Whether the checkpoint asks for a KV cache of 8 bits.
    #[serde(default)]
    pub cache_in_8_bits: bool,
}

impl Quantization {
    /// A method of which only the name is known.
    pub(super) fn unmodelled(method: &str) -> Self {
        Self {
            method: spelled(method),
            bits: 0,
            group_size: 0,
            symmetric: true,
            desc_act: false,
            file: None,
            sparse: false,
            cache_in_8_bits: false,
        }
    }

    /// Reads the scheme, and which module is stored how. The second is absent with the reason where that is not
    /// modelled: vLLM may well read it.
    pub(super) fn of(named: Named) -> Result<(Self, Result<Rules, String>), Problem> {
        let method = named.method();
        let (mut quantization, rules) = if is_modelled(&method) {
            match serde_json::from_str::<Raw>(&named.text) {
                Ok(raw) => raw.read(&method)?,
                Err(_) => {
                    (Self::unmodelled(&method), Err(format!("it writes `{method}` in a way of its own")))
                }
            }
        } else {
            (Self::unmodelled(&method), Err(format!("its quantisation `{method}` is not modelled")))
        };
        quantization.cache_in_8_bits = cache_in_8_bits(&named.object);
        quantization.file = named.file;
        Ok((quantization, rules))
    }
}

/// Whether vLLM keeps an 8-bit KV cache of itself for what is written here. Read in vLLM 0.32
/// (`attention.py:287`, `torch_utils.py:457`).
fn cache_in_8_bits(object: &Object) -> bool {
    let inner = object.object("quantization");
    [Some(object), inner.as_ref()].into_iter().flatten().any(|object| {
        let scheme = object.object("kv_cache_scheme");
        let algorithm: Option<String> =
            object.read("kv_cache_quant_algo").or_else(|| object.read("kv_cache_scheme"));
        scheme.is_some_and(|scheme| scheme.count("num_bits") == Some(8))
            || algorithm.is_some_and(|algorithm| algorithm.to_uppercase().contains("FP8"))
    })
}

/// The method's name as vLLM spells it.
fn spelled(method: &str) -> String {
    method.to_lowercase().replace('_', "-")
}

/// Whether the bytes of a checkpoint in this method can be told from its `config.json`.
fn is_modelled(method: &str) -> bool {
    let modelled = ["compressed-tensors", "gptq", "awq", "auto-round", "inc"];
    modelled.contains(&spelled(method).as_str())
}

/// How one module is stored where it is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheme {
    /// Bits of a weight.
    pub bits: u32,
    /// Weights that share a 16-bit scale. 0: a whole output shares one.
    pub(crate) group_size: u32,
    /// Whether each group has a zero point of `bits` bits that vLLM keeps on the GPU.
    pub(crate) zero_points: bool,
}

/// Which module is quantised, and how.
#[derive(Debug)]
pub struct Rules {
    overrides: Vec<(Pattern, Option<Scheme>)>,
    /// Where given, only modules that match one of these are quantised by default.
    only: Vec<Pattern>,
    default: Option<Scheme>,
}

#[derive(Debug)]
enum Pattern {
    Exactly(String),
    Contains(String),
    EndsWith(&'static str),
    /// Python's `re.match`: anchored at the start only.
    Regex(Box<fancy_regex::Regex>),
}

impl Pattern {
    fn regex(pattern: &str) -> Result<Self, String> {
        fancy_regex::Regex::new(&format!(r"\A(?:{pattern})"))
            .map(|regex| Self::Regex(Box::new(regex)))
            .map_err(|_| unreadable(pattern))
    }

    /// `re:…` is a pattern, anything else a whole name: as compressed-tensors and auto-round write
    /// them.
    fn name_or_regex(text: &str) -> Result<Self, String> {
        match text.strip_prefix("re:") {
            Some(pattern) => Self::regex(pattern),
            None => Ok(Self::Exactly(text.to_owned())),
        }
    }

    fn matches(&self, module: &str) -> Result<bool, String> {
        Ok(match self {
            Self::Exactly(name) => name == module,
            Self::Contains(part) => module.contains(part.as_str()),
            Self::EndsWith(suffix) => module.ends_with(suffix),
            Self::Regex(regex) => regex.is_match(module).map_err(|_| unreadable(regex.as_str()))?,
        })
    }
}

fn unreadable(pattern: &str) -> String {
    format!("the pattern `{pattern}` of its quantisation cannot be read here")
}

/// Which of the parts that decide vLLM's kernels are quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantized {
    /// `in_proj_ba` of linear attention.
    pub gdn_gates: bool,
    /// The shared expert.
    pub(crate) shared_expert: bool,
    /// The projections of attention, linear or full.
    #[serde(default)]
    pub(crate) attention: bool,
}

impl Rules {
    /// Which of the parts that vLLM is choosy about are quantised, told by the first layer.
    pub fn quantized(&self) -> Result<Quantized, String> {
        let scheme = |module: &str| self.scheme(&format!("model.layers.0.{module}"));
        Ok(Quantized {
            gdn_gates: scheme("linear_attn.in_proj_ba")?.is_some(),
            shared_expert: scheme("mlp.shared_expert.down_proj")?.is_some(),
            attention: scheme("linear_attn.out_proj")?.or(scheme("self_attn.o_proj")?).is_some(),
        })
    }

    /// No module is quantised.
    pub(crate) fn none() -> Self {
        Self { overrides: Vec::new(), only: Vec::new(), default: None }
    }

    /// How the module of this name is stored; `None`: in 16 bits.
    pub fn scheme(&self, module: &str) -> Result<Option<Scheme>, String> {
        for (pattern, scheme) in &self.overrides {
            if pattern.matches(module)? {
                return Ok(*scheme);
            }
        }
        if self.only.is_empty() {
            return Ok(self.default);
        }
        for pattern in &self.only {
            if pattern.matches(module)? {
                return Ok(self.default);
            }
        }
        Ok(None)
    }
}

/// A JSON object in the order it is written: of GPTQ's `dynamic` patterns the first that matches
/// decides.
#[derive(Debug)]
struct Entries<V>(Vec<(String, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Entries<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// `quantization_config` as the methods write it. Fields of one method are absent in another.
#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(default)]
    config_groups: Option<Entries<RawGroup>>,
    #[serde(default)]
    ignore: Option<Vec<String>>,
    #[serde(default)]
    bits: Option<u32>,
    #[serde(default)]
    group_size: Option<i64>,
    /// `AutoAWQ`'s first name for `bits`.
    #[serde(default)]
    w_bit: Option<u32>,
    /// `AutoAWQ`'s first name for `group_size`.
    #[serde(default)]
    q_group_size: Option<i64>,
    #[serde(default)]
    sparsity_config: Option<RawSparsity>,
    #[serde(default)]
    sym: Option<bool>,
    #[serde(default)]
    desc_act: Option<bool>,
    #[serde(default)]
    zero_point: Option<bool>,
    #[serde(default)]
    lm_head: Option<bool>,
    #[serde(default)]
    dynamic: Option<Entries<RawOverride>>,
    #[serde(default)]
    modules_to_not_convert: Option<Vec<String>>,
    #[serde(default)]
    modules_in_block_to_quantize: Option<serde_json::Value>,
    #[serde(default)]
    extra_config: Option<Entries<RawOverride>>,
}

#[derive(Debug, Deserialize)]
struct RawSparsity {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    targets: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct RawGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    weights: Option<RawWeights>,
}

#[derive(Debug, Deserialize)]
struct RawWeights {
    num_bits: u32,
    #[serde(default)]
    group_size: Option<i64>,
    #[serde(default)]
    symmetric: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RawOverride {
    #[serde(default)]
    bits: Option<u32>,
    #[serde(default)]
    group_size: Option<i64>,
    #[serde(default)]
    sym: Option<bool>,
}

/// The size of a group; vLLM writes "one scale per output" as -1.
fn group_size(raw: Option<i64>) -> u32 {
    raw.and_then(|size| u32::try_from(size).ok()).unwrap_or(0)
}

fn contains(parts: impl IntoIterator<Item = String>) -> Vec<Pattern> {
    parts.into_iter().map(Pattern::Contains).collect()
}

/// The strings of a value that some tools write flat and others nested.
fn strings(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(values) => values.iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Weights that are stored as they are.
const WHOLE: Scheme = Scheme { bits: 16, group_size: 0, zero_points: false };

impl Raw {
    /// Reads the scheme. Only for a method that [`is_modelled`].
    fn read(self, method: &str) -> Result<(Quantization, Result<Rules, String>), Problem> {
        let method = spelled(method);
        let scheme = match method.as_str() {
            "compressed-tensors" => self.first_scheme(),
            _ => self.flat(&method)?,
        };
        let quantization = Quantization {
            bits: scheme.bits,
            group_size: scheme.group_size,
            symmetric: !scheme.zero_points && self.sym != Some(false),
            desc_act: self.desc_act == Some(true),
            sparse: self
                .sparsity_config
                .as_ref()
                .is_some_and(|sparsity| sparsity.targets.as_ref().is_some_and(|targets| !targets.is_empty())),
            ..Quantization::unmodelled(&method)
        };
        let rules = match method.as_str() {
            "gptq" => self.gptq(scheme),
            "awq" => Ok(self.awq(scheme)),
            "auto-round" | "inc" => self.auto_round(scheme),
            _ => self.compressed_tensors(),
        };
        Ok((quantization, rules))
    }

    /// The scheme of the methods that name one at their top level.
    fn flat(&self, method: &str) -> Result<Scheme, Problem> {
        let awq = method == "awq";
        let bits = self.w_bit.filter(|_| awq).or(self.bits).filter(|bits| (1..=16).contains(bits));
        let bits = bits.ok_or_else(|| missing("quantization_config.bits"))?;
        let zero_points = if awq {
            self.zero_point.unwrap_or(true)
        } else {
            // vLLM's Marlin kernels drop the zero points of a symmetric GPTQ: 39.2 GiB for 80B at g128.
            !self.sym.unwrap_or(true)
        };
        let size = self.q_group_size.filter(|_| awq).or(self.group_size);
        Ok(Scheme { bits, group_size: group_size(size), zero_points })
    }

    /// The groups of compressed-tensors: what they speak of, and how it is stored.
    fn groups(&self) -> impl Iterator<Item = (&String, Option<Scheme>)> {
        self.config_groups.iter().flat_map(|groups| &groups.0).flat_map(|(_, group)| {
            let scheme = group.weights.as_ref().map(|weights| Scheme {
                bits: weights.num_bits,
                group_size: group_size(weights.group_size),
                zero_points: weights.symmetric == Some(false),
            });
            group.targets.iter().flatten().map(move |target| (target, scheme))
        })
    }

    /// The scheme that stands for all: that of all linear layers, else the first. A checkpoint may name none, where
    /// it quantises only its cache, or is only sparse.
    fn first_scheme(&self) -> Scheme {
        let of_all = self.groups().find_map(|(target, scheme)| scheme.filter(|_| target == "Linear"));
        of_all.or_else(|| self.groups().find_map(|(_, scheme)| scheme)).unwrap_or(WHOLE)
    }

    fn compressed_tensors(self) -> Result<Rules, String> {
        let packed = self.sparsity_config.as_ref().and_then(|sparsity| sparsity.format.as_deref());
        if let Some(format) = packed.filter(|format| *format != "dense") {
            return Err(format!("its weights are stored as `{format}`"));
        }
        let mut rules = Rules::none();
        for name in self.ignore.iter().flatten() {
            rules.overrides.push((Pattern::name_or_regex(name)?, None));
        }
        for (target, scheme) in self.groups() {
            // A class name stands for all that no name or pattern speaks of.
            if target == "Linear" {
                rules.default = rules.default.or(scheme);
            } else {
                rules.overrides.push((Pattern::name_or_regex(target)?, scheme));
            }
        }
        Ok(rules)
    }

    fn gptq(self, scheme: Scheme) -> Result<Rules, String> {
        let mut rules = unless_head(&self);
        // GPTQ configurations have no list of ignored modules, so vLLM never quantises the router.
        rules.overrides.push((Pattern::EndsWith(".mlp.gate"), None));
        for (text, change) in self.dynamic.iter().flat_map(|dynamic| &dynamic.0) {
            rules.overrides.push(match text.strip_prefix("-:") {
                Some(pattern) => (Pattern::regex(pattern)?, None),
                None => (Pattern::regex(text.strip_prefix("+:").unwrap_or(text))?, change.applied_to(scheme)),
            });
        }
        if let Some(modules) = &self.modules_in_block_to_quantize {
            rules.only = contains(strings(modules));
            // The list speaks of dense modules; vLLM quantises the experts whatever it says.
            if !rules.only.is_empty() {
                rules.only.push(Pattern::Contains(".experts.".to_owned()));
            }
        }
        rules.default = Some(scheme);
        Ok(rules)
    }

    fn awq(self, scheme: Scheme) -> Rules {
        let mut rules = unless_head(&self);
        for part in self.modules_to_not_convert.iter().flatten() {
            rules.overrides.push((Pattern::Contains(part.clone()), None));
        }
        rules.default = Some(scheme);
        rules
    }

    fn auto_round(self, scheme: Scheme) -> Result<Rules, String> {
        let mut rules = unless_head(&self);
        for (name, change) in self.extra_config.iter().flat_map(|extra| &extra.0) {
            // Whole names; where it holds a pattern's signs it is one.
            let pattern = if name.contains(['*', '\\', '^', '$', '(']) {
                Pattern::regex(name)?
            } else {
                Pattern::Exactly(name.clone())
            };
            rules.overrides.push((pattern, change.applied_to(scheme)));
        }
        rules.default = Some(scheme);
        Ok(rules)
    }
}

impl RawOverride {
    fn applied_to(&self, scheme: Scheme) -> Option<Scheme> {
        let bits = self.bits.unwrap_or(scheme.bits);
        (bits < 16).then(|| Scheme {
            bits,
            group_size: self.group_size.map_or(scheme.group_size, |size| group_size(Some(size))),
            zero_points: self.sym.map_or(scheme.zero_points, |symmetric| !symmetric),
        })
    }
}

/// Leaves the head out unless `lm_head` says so.
fn unless_head(raw: &Raw) -> Rules {
    let mut rules = Rules::none();
    if raw.lm_head != Some(true) {
        rules.overrides.push((Pattern::Exactly("lm_head".to_owned()), None));
    }
    rules
}

fn missing(field: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("`config.json` lacks `{field}`"))
        .help("vLLM cannot serve it without; take the model's original `config.json`")
}

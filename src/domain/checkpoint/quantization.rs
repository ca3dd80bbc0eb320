//! Reads `quantization_config`: the method, and which module is stored in how many bits.
//!
//! Every method has its own way to leave modules out (`ignore`, `dynamic`,
//! `modules_to_not_convert`, `extra_config`). All of them become one list of rules here, of which
//! the first that matches a module's name decides, as in vLLM.

use crate::domain::problem::{Kind, Problem};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// How the weights are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// vLLM's name of the method: `compressed-tensors`, `gptq`, `awq`, …
    pub method: String,
    /// Bits of a weight. 0 where the method is not modelled.
    pub(crate) bits: u32,
    /// Weights that share a scale. 0 where a whole output shares one, or the method is not
    /// modelled.
    pub(crate) group_size: u32,
    /// Whether no zero points are stored beside the scales.
    pub(crate) symmetric: bool,
    /// GPTQ's activation order.
    pub(crate) desc_act: bool,
}

impl Quantization {
    /// A method of which only the name is known.
    pub(super) fn unmodelled(method: &str) -> Self {
        Self { method: spelled(method), bits: 0, group_size: 0, symmetric: true, desc_act: false }
    }
}

/// The method's name as vLLM spells it.
fn spelled(method: &str) -> String {
    method.to_lowercase().replace('_', "-")
}

/// Whether `config.json` alone tells the bytes of a checkpoint in this method.
pub(super) fn is_modelled(method: &str) -> bool {
    let modelled = ["compressed-tensors", "gptq", "awq", "auto-round", "inc"];
    modelled.contains(&spelled(method).as_str())
}

/// How one module is stored where it is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheme {
    /// Bits of a weight.
    pub(crate) bits: u32,
    /// Weights that share a 16-bit scale. 0: a whole output shares one.
    pub(crate) group_size: u32,
    /// Whether each group has a zero point of `bits` bits that vLLM keeps on the GPU.
    pub(crate) zero_points: bool,
}

/// Which module is quantised, and how.
#[derive(Debug)]
pub(crate) struct Rules {
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
    fn regex(pattern: &str) -> Result<Self, Problem> {
        fancy_regex::Regex::new(&format!(r"\A(?:{pattern})"))
            .map(|regex| Self::Regex(Box::new(regex)))
            .map_err(|e| unreadable(pattern, e))
    }

    /// Reads `re:…` as a pattern and anything else as a whole name, as compressed-tensors and auto-round
    /// write them.
    fn name_or_regex(text: &str) -> Result<Self, Problem> {
        match text.strip_prefix("re:") {
            Some(pattern) => Self::regex(pattern),
            None => Ok(Self::Exactly(text.to_owned())),
        }
    }

    fn matches(&self, module: &str) -> Result<bool, Problem> {
        Ok(match self {
            Self::Exactly(name) => name == module,
            Self::Contains(part) => module.contains(part.as_str()),
            Self::EndsWith(suffix) => module.ends_with(suffix),
            Self::Regex(regex) => regex.is_match(module).map_err(|e| unreadable(regex.as_str(), e))?,
        })
    }
}

fn unreadable(pattern: &str, cause: fancy_regex::Error) -> Problem {
    let what = format!("cannot read the pattern `{pattern}` of `quantization_config` in `config.json`");
    Problem::new(Kind::Unverified, what).because(cause)
}

/// Which of the parts that decide vLLM's kernels are quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quantized {
    /// `in_proj_ba` of linear attention.
    pub(crate) gdn_gates: bool,
    /// The shared expert.
    pub(crate) shared_expert: bool,
    /// The projections of attention, linear or full.
    #[serde(default)]
    pub(crate) attention: bool,
}

impl Rules {
    /// Which of the parts that decide vLLM's kernels are quantised, told by the first layer.
    pub(crate) fn quantized(&self) -> Result<Quantized, Problem> {
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
    pub(crate) fn scheme(&self, module: &str) -> Result<Option<Scheme>, Problem> {
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
pub(super) struct Raw {
    quant_method: String,
    #[serde(default)]
    config_groups: Option<Entries<RawGroup>>,
    #[serde(default)]
    ignore: Option<Vec<String>>,
    #[serde(default)]
    bits: Option<u32>,
    #[serde(default)]
    group_size: Option<i64>,
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
struct RawGroup {
    #[serde(default)]
    targets: Vec<String>,
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

impl Raw {
    /// The quantisation and its rules. Only for a method that [`is_modelled`].
    pub(super) fn read(self) -> Result<(Quantization, Rules), Problem> {
        match spelled(&self.quant_method).as_str() {
            "gptq" => self.gptq(),
            "awq" => self.awq(),
            "auto-round" | "inc" => self.auto_round(),
            _ => self.compressed_tensors(),
        }
    }

    fn summary(&self, scheme: Scheme) -> Quantization {
        Quantization {
            method: spelled(&self.quant_method),
            bits: scheme.bits,
            group_size: scheme.group_size,
            symmetric: !scheme.zero_points && self.sym != Some(false),
            desc_act: self.desc_act == Some(true),
        }
    }

    /// The scheme of the methods that name one at their top level.
    fn flat(&self) -> Result<Scheme, Problem> {
        let bits = self.bits.filter(|bits| (1..=16).contains(bits));
        let bits = bits.ok_or_else(|| missing("quantization_config.bits"))?;
        let zero_points = match spelled(&self.quant_method).as_str() {
            // vLLM's Marlin kernels drop the zero points of a symmetric GPTQ: 39.2 GiB for 80B at
            // g128.
            "awq" => self.zero_point.unwrap_or(true),
            _ => !self.sym.unwrap_or(true),
        };
        Ok(Scheme { bits, group_size: group_size(self.group_size), zero_points })
    }

    fn compressed_tensors(self) -> Result<(Quantization, Rules), Problem> {
        let mut rules = Rules::none();
        for name in self.ignore.iter().flatten() {
            rules.overrides.push((Pattern::name_or_regex(name)?, None));
        }
        for (_, group) in self.config_groups.iter().flat_map(|groups| &groups.0) {
            let scheme = group.weights.as_ref().map(|weights| Scheme {
                bits: weights.num_bits,
                group_size: group_size(weights.group_size),
                zero_points: weights.symmetric == Some(false),
            });
            for target in &group.targets {
                // A class name stands for all modules that no name or pattern covers.
                if target == "Linear" {
                    rules.default = rules.default.or(scheme);
                } else {
                    let pattern = Pattern::name_or_regex(target)?;
                    rules.overrides.push((pattern, scheme));
                }
            }
        }
        let of_names = || rules.overrides.iter().find_map(|(_, scheme)| *scheme);
        let scheme = rules.default.or_else(of_names);
        let scheme = scheme.ok_or_else(|| missing("quantization_config.config_groups"))?;
        Ok((self.summary(scheme), rules))
    }

    fn gptq(self) -> Result<(Quantization, Rules), Problem> {
        let scheme = self.flat()?;
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
        Ok((self.summary(scheme), rules))
    }

    fn awq(self) -> Result<(Quantization, Rules), Problem> {
        let scheme = self.flat()?;
        let mut rules = unless_head(&self);
        for part in self.modules_to_not_convert.iter().flatten() {
            rules.overrides.push((Pattern::Contains(part.clone()), None));
        }
        rules.default = Some(scheme);
        Ok((self.summary(scheme), rules))
    }

    fn auto_round(self) -> Result<(Quantization, Rules), Problem> {
        let scheme = self.flat()?;
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
        Ok((self.summary(scheme), rules))
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
        .help("is the download complete, and the repository the right one?")
}

//! `config.json` and the small files beside it, read as vLLM reads them: with Python's `json`, which is laxer
//! than the standard, and with the quantisation in any of the places where tools leave it.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// Where `ModelOpt` writes what it quantised. vLLM reads it by itself.
pub(crate) const MODELOPT: &str = "hf_quant_config.json";
/// Where the first tools for GPTQ and AWQ wrote it. vLLM reads them only where `--quantization` says so.
pub const OLD: [&str; 2] = ["quantize_config.json", "quant_config.json"];
/// The files beside `config.json` that are read.
pub(crate) const BESIDE: [&str; 3] = [MODELOPT, OLD[0], OLD[1]];

/// Configurations of the language model inside that of a model with more parts.
const NESTED: [&str; 4] = ["text_config", "llm_config", "language_config", "thinker_config"];
/// How deep such configurations lie in one another.
const DEPTH: u32 = 3;

/// The small files that say what a checkpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// `config.json`.
    pub config: String,
    /// Those of [`BESIDE`] that are there, by name.
    pub beside: BTreeMap<String, String>,
    /// The changes of the command line to `config.json`, in JSON, by key.
    pub overrides: BTreeMap<String, String>,
}

impl ConfigFiles {
    /// A `config.json` with nothing beside it.
    pub fn alone(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::default() }
    }
}

/// A JSON object whose values are read when they are asked for, so that what nobody asks for may be anything.
#[derive(Debug)]
pub(crate) struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    /// Reads a text as Python does: of a key that comes twice the last value counts.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&plain(text)).map(Self)
    }

    /// Puts another value, in JSON, for this key. Whether it is JSON.
    pub(crate) fn set(&mut self, key: &str, json: &str) -> bool {
        let Ok(value) = RawValue::from_string(plain(json).into_owned()) else { return false };
        // A part's configuration is changed key by key, anything else is replaced.
        if let (true, Some(mut part), Ok(changes)) =
            (NESTED.contains(&key), self.object(key), Self::parse(value.get()))
        {
            part.0.extend(changes.0);
            let whole = serde_json::to_string(&part.0).ok().and_then(|text| RawValue::from_string(text).ok());
            self.0.extend(whole.map(|whole| (key.to_owned(), whole)));
            return true;
        }
        self.0.insert(key.to_owned(), value);
        true
    }

    /// Whether it has this key, and not as `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.json(key).is_some()
    }

    /// A value as it is written. Absent where it is `null`.
    pub(crate) fn json(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.get()).filter(|value| *value != "null")
    }

    /// A value of this type, where it is one.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.json(key)?).ok()
    }

    /// An object, where it is one.
    pub(crate) fn object(&self, key: &str) -> Option<Self> {
        Self::parse(self.json(key)?).ok()
    }

    /// Every value that is an object.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Self> {
        self.0.values().filter_map(|value| Self::parse(value.get()).ok())
    }

    /// A whole number, also one that is written as `4096.0`.
    pub(crate) fn count(&self, key: &str) -> Option<u64> {
        let number: serde_json::Number = self.read(key)?;
        number.as_u64().or_else(|| whole(number.as_f64()?))
    }

    /// This object, and the configurations of the language model within it, from the outermost.
    pub(crate) fn with_nested(&self) -> Vec<Cow<'_, Self>> {
        let mut found = vec![Cow::Borrowed(self)];
        let mut at = 0;
        for _ in 0..DEPTH {
            let inner: Vec<_> = found[at..]
                .iter()
                .flat_map(|object| NESTED.iter().filter_map(|key| object.object(key)))
                .collect();
            at = found.len();
            found.extend(inner.into_iter().map(Cow::Owned));
        }
        found
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within 53 bits")]
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as u64)
}

/// Where a quantisation is named.
#[derive(Debug)]
pub(crate) struct Named {
    /// The object that describes it.
    pub(crate) object: Object,
    /// The text.
    pub(crate) text: String,
    /// The file, where it is another than `config.json`.
    pub(crate) file: Option<String>,
}

impl Named {
    /// The name of the method. Tools that leave it out are told by what they write instead.
    pub(crate) fn method(&self) -> String {
        let object = &self.object;
        // `ModelOpt`'s name stands for all of its methods: the algorithm tells which, to vLLM too.
        let named = object.read::<String>("quant_method").filter(|named| !named.is_empty());
        if let Some(named) = &named
            && !named.eq_ignore_ascii_case("modelopt")
        {
            return named.clone();
        }
        let inner = object.object("quantization");
        let algorithm = inner.as_ref().unwrap_or(object).read::<String>("quant_algo");
        match algorithm.map(|algorithm| algorithm.to_uppercase()) {
            Some(algorithm) if algorithm.contains("NVFP4") => "modelopt_fp4".to_owned(),
            Some(algorithm) if algorithm.contains("MXFP8") => "modelopt_mxfp8".to_owned(),
            Some(algorithm) if algorithm.contains("MIXED") => "modelopt_mixed".to_owned(),
            Some(_) => "modelopt".to_owned(),
            None if named.is_some() => "modelopt".to_owned(),
            None if object.has("w_bit") || object.has("q_group_size") || object.has("zero_point") => {
                "awq".to_owned()
            }
            None if self.file.is_some() && object.has("bits") => "gptq".to_owned(),
            None => "unnamed".to_owned(),
        }
    }
}

/// Finds what says how the weights are quantised: the first of the places where vLLM, or a person with
/// `--quantization`, looks.
pub(crate) fn quantization(config: &Object, beside: &BTreeMap<String, String>) -> Option<Named> {
    let configs = config.with_nested();
    let inside = |key: &str| configs.iter().find_map(|config| Some(config.json(key)?.to_owned()));
    let file = |name: &str| Some((beside.get(name)?.clone(), Some(name.to_owned())));
    let inside = inside("quantization_config").or_else(|| inside("compression_config"));
    let (text, file) = inside
        .map(|text| (text, None))
        .or_else(|| file(MODELOPT))
        .or_else(|| OLD.iter().find_map(|name| file(name)))?;
    // An empty one says nothing, to vLLM too.
    let object = Object::parse(&text).ok().filter(|object| !object.0.is_empty())?;
    Some(Named { object, text: plain(&text).into_owned(), file })
}

/// The JSON without what only Python reads: `NaN`, `Infinity`, and numbers too large for a float become
/// `null`.
fn plain(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'"' => {
                at += string(&bytes[at..]);
                continue;
            }
            b'N' | b'I' | b'-' | b'0'..=b'9' => {
                let ends = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
                bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let word = &text[at..at + length];
        let unbounded = ["NaN", "Infinity", "-Infinity"].contains(&word)
            || (word.parse::<f64>().is_ok_and(f64::is_infinite) && !word.ends_with(char::is_alphabetic));
        if unbounded {
            out.push_str(&text[copied..at]);
            out.push_str("null");
            copied = at + length;
        }
        at += length.max(1);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The length of the string that these bytes begin with, quotes included.
fn string(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    bytes.len()
}

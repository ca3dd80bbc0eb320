//! The header of a safetensors file, and the index of several: they describe the weights, which are not read.
//!
//! A file is eight bytes with the header's length, the header in JSON, and the data. Nothing in it is
//! believed: lengths have limits, offsets must tile the data exactly, and a size must follow from type and
//! shape. The rules are those of the reference implementation, which vLLM reads with, so that what passes
//! here loads there.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use thiserror::Error;

/// The bytes before the header.
pub(crate) const PREFIX: usize = 8;
/// No header is longer: the reference implementation's limit.
pub(crate) const LONGEST_HEADER: u64 = 100_000_000;
/// No tensor has more dimensions.
const MOST_DIMENSIONS: usize = 16;
/// No name is longer.
const LONGEST_NAME: usize = 1024;
/// No file has more tensors; the largest published ones have some 200,000 in all.
const MOST_TENSORS: usize = 1_000_000;

/// Why something is not a header or an index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The pointer that `git clone` leaves where Git LFS is not installed.
    #[error("it is a pointer of Git LFS, not the file")]
    Pointer,
    /// Fewer than eight bytes, or less than the header.
    #[error("it ends within its header")]
    Truncated,
    /// The length is zero or absurd.
    #[error("its header claims {0} bytes, and at most {LONGEST_HEADER} are read")]
    Length(u64),
    /// The header is no JSON of the right form.
    #[error("its header is wrong: {0}")]
    Json(String),
    /// The index is wrong.
    #[error("it is no index of weight files: {0}")]
    Index(String),
    /// Size, type and shape contradict each other, or one is absurd.
    #[error("`{name}` is wrong: {why}")]
    Tensor {
        /// The name of the tensor.
        name: String,
        /// The mistake.
        why: String,
    },
    /// Two tensors share bytes, or bytes belong to none.
    #[error("`{name}` begins at byte {begins} of the data, and the tensor before it ends at {ends}")]
    Gap {
        /// The later tensor.
        name: String,
        /// The offset of its first byte.
        begins: u64,
        /// The offset at which the tensor before ends.
        ends: u64,
    },
    /// The file is longer or shorter than its header says.
    #[error("it has {found} bytes, and its header says {expected}")]
    Size {
        /// The bytes that the file has.
        found: u64,
        /// The bytes that it should have.
        expected: u64,
    },
}

/// A tensor as the header names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name: `model.layers.0.mlp.gate.weight`.
    pub name: String,
    /// Rows, columns, and so on.
    pub(crate) shape: Vec<u64>,
    /// The number of its bytes.
    pub bytes: u64,
}

/// The tensors of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    tensors: Vec<Tensor>,
    data: u64,
    length: u64,
}

impl Header {
    /// The length of the header that these first bytes of a file announce.
    pub(crate) fn length(prefix: [u8; PREFIX]) -> Result<u64, Flaw> {
        match u64::from_le_bytes(prefix) {
            length @ 2..=LONGEST_HEADER => Ok(length),
            length => Err(Flaw::Length(length)),
        }
    }

    /// Reads the header at the start of these bytes of a file. The rest is ignored.
    pub fn at_start_of(bytes: &[u8]) -> Result<Self, Flaw> {
        let (prefix, rest) = bytes.split_first_chunk().ok_or(Flaw::Truncated)?;
        let length = usize::try_from(Self::length(*prefix)?).map_err(|_| Flaw::Truncated)?;
        Self::parse(rest.get(..length).ok_or(Flaw::Truncated)?)
    }

    /// Reads the header itself.
    pub fn parse(json: &[u8]) -> Result<Self, Flaw> {
        let Entries(entries) = serde_json::from_slice(json).map_err(|e| Flaw::Json(e.to_string()))?;
        let mut placed = entries
            .into_iter()
            .map(|(name, entry)| entry.checked(name))
            .collect::<Result<Vec<(u64, Tensor)>, Flaw>>()?;
        // Empty tensors share their offset with the one after them.
        placed.sort_by(|(one, a), (other, b)| (one, a.bytes, &a.name).cmp(&(other, b.bytes, &b.name)));
        let mut end = 0;
        for (begin, tensor) in &placed {
            if *begin != end {
                return Err(Flaw::Gap { name: tensor.name.clone(), begins: *begin, ends: end });
            }
            end += tensor.bytes;
        }
        let tensors = placed.into_iter().map(|(_, tensor)| tensor).collect();
        Ok(Self { tensors, data: end, length: json.len() as u64 })
    }

    /// Whether a file of this size is whole.
    pub fn check_size(&self, found: u64) -> Result<(), Flaw> {
        let expected = self.file_size();
        if found == expected { Ok(()) } else { Err(Flaw::Size { found, expected }) }
    }

    /// The size of the whole file, by its header.
    pub(crate) fn file_size(&self) -> u64 {
        (PREFIX as u64).saturating_add(self.length).saturating_add(self.data)
    }

    /// The tensors in the order of their data.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Bytes of all tensors.
    pub fn data(&self) -> u64 {
        self.data
    }
}

/// The tensors of a header in its order. A name that comes twice is an error, since parsers differ in which
/// of the two they take.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut seen = BTreeSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(M::Error::custom(format_args!("`{name}` comes twice")));
                    }
                    if seen.len() > MOST_TENSORS || name.len() > LONGEST_NAME {
                        return Err(M::Error::custom("more or longer names than any checkpoint has"));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Bits of an element by the name of its type.
const TYPES: [(&str, u64); 21] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2FNUZ", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E8M0", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("I64", 64),
    ("U64", 64),
    ("F64", 64),
];

impl Entry {
    /// The checked tensor, with the place of its first byte.
    fn checked(self, name: String) -> Result<(u64, Tensor), Flaw> {
        let wrong = |why: String| Flaw::Tensor { name: name.clone(), why };
        let bits = TYPES.iter().find(|(known, _)| *known == self.dtype).map(|(_, bits)| *bits);
        let bits = bits.ok_or_else(|| wrong(format!("its type `{}` is not known", self.dtype)))?;
        if self.shape.len() > MOST_DIMENSIONS {
            return Err(wrong(format!("it has {} dimensions", self.shape.len())));
        }
        let product = self.shape.iter().try_fold(bits, |product, extent| product.checked_mul(*extent));
        let size = product.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        let size = size.ok_or_else(|| wrong(format!("its shape {:?} is absurd", self.shape)))?;
        let (begin, end) = self.data_offsets;
        match end.checked_sub(begin) {
            Some(bytes) if bytes == size => Ok((begin, Tensor { shape: self.shape, bytes, name })),
            Some(bytes) => Err(wrong(format!(
                "{} of shape {:?} has {size} bytes, and its offsets enclose {bytes}",
                self.dtype, self.shape
            ))),
            None => Err(wrong(format!("it ends at {end}, before it begins at {begin}"))),
        }
    }
}

/// `model.safetensors.index.json`: which tensor is in which file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    #[serde(default)]
    metadata: Metadata,
    weight_map: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Metadata {
    /// The sum of bytes. Some tools write it as a float.
    #[serde(default)]
    total_size: Option<serde_json::Number>,
}

impl Index {
    /// Reads an index. Names of files must be plain: an index must not lead out of its folder.
    pub fn parse(json: &str) -> Result<Self, Flaw> {
        let index: Self = serde_json::from_str(json).map_err(|e| Flaw::Index(e.to_string()))?;
        let leads_out = |file: &&String| file.contains('/') || file.starts_with('.') || file.is_empty();
        match index.weight_map.values().find(leads_out) {
            Some(file) => Err(Flaw::Index(format!("`{file}` is not the name of a file beside it"))),
            None => Ok(index),
        }
    }

    /// The files that the index names.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// The bytes of all tensors, by the index.
    pub(crate) fn total_size(&self) -> Option<u64> {
        self.metadata.total_size.as_ref()?.as_u64()
    }

    /// The tensors that the index places in this file, and that the file's header lacks.
    pub(crate) fn missing_from<'a>(&'a self, file: &str, header: &Header) -> Vec<&'a str> {
        let there: BTreeSet<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let named = self.weight_map.iter().filter(|(_, of)| *of == file).map(|(name, _)| name.as_str());
        named.filter(|name| !there.contains(name)).collect()
    }
}

/// All weight files of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightFiles {
    /// The headers. None: only `config.json` is there.
    pub headers: Vec<Header>,
    /// The bytes that the index names, where there is one and it names them.
    pub(crate) total: Option<u64>,
}

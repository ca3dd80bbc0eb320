//! Checkpoints of every modelled family: their `config.json`, and the headers of their files in a short form
//! (`layers.{0-31}.mlp.up_proj.weight BF16 14336x4096`), written out for each use.

use crate::scratch::tempdir;
use awqdeploy::{
    domain::checkpoint::Checkpoint,
    host::checkpoint::{Presence, read},
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    sync::{LazyLock, Mutex},
};

macro_rules! families {
    ($($name:literal),* $(,)?) => {
        /// Name, `config.json` and headers.
        pub(crate) const FAMILIES: &[(&str, &str, &str)] = &[$((
            $name,
            include_str!(concat!("../../fixtures/published/", $name, ".json")),
            include_str!(concat!("../../fixtures/published/", $name, ".tensors")),
        )),*];
    };
}

families!(
    "llama31-8b-bf16",
    "qwen3-4b-awq",
    "qwen3-32b-awq",
    "qwen25-32b-bf16",
    "qwen25-32b-awq",
    "qwen25-32b-fp8",
    "qwen25-72b-awq-29568",
    "qwen25-vl-7b",
    "qwen3-30b-a3b-awq",
    "qwen3-30b-a3b-fp8",
    "qwen3-coder-30b-awq",
    "qwen3-235b-a22b-fp8",
    "mixtral-8x7b-awq",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "gemma3-27b-bf16",
    "deepseek-v2-lite",
    "qwen36-35b-a3b-bf16",
    "qwen36-35b-a3b-nvfp4",
);

/// The checkpoint of this name, read once.
pub(crate) fn checkpoint(name: &str) -> Checkpoint {
    static READ: LazyLock<Mutex<BTreeMap<String, Checkpoint>>> = LazyLock::new(Mutex::default);
    let mut known = READ.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.entry(name.to_owned()).or_insert_with(|| made(name)).clone()
}

fn made(name: &str) -> Checkpoint {
    let (_, config, tensors) = FAMILIES.iter().find(|(family, ..)| *family == name).unwrap();
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    let header = serde_json::to_vec(&header(tensors)).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    read(folder.path(), Presence::Headers).unwrap().unwrap()
}

/// The names of its tensors.
pub(crate) fn names(name: &str) -> Vec<String> {
    let (.., tensors) = FAMILIES.iter().find(|(family, ..)| *family == name).unwrap();
    tensors.lines().flat_map(|line| spelled(line.split(' ').next().unwrap())).collect()
}

/// A header of safetensors.
fn header(tensors: &str) -> Value {
    let (mut header, mut begin) = (Map::new(), 0_u64);
    for line in tensors.lines() {
        let [pattern, dtype, shape] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let shape: Vec<u64> =
            shape.split('x').filter(|size| !size.is_empty()).map(|size| size.parse().unwrap()).collect();
        let element = match dtype {
            "F32" | "I32" => 4,
            "BF16" | "F16" => 2,
            "I64" => 8,
            _ => 1,
        };
        let bytes = shape.iter().product::<u64>() * element;
        for name in spelled(pattern) {
            let place = json!([begin, begin + bytes]);
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": place}));
            begin += bytes;
        }
    }
    header.into()
}

/// All names of `a.{0-1,3}.b`.
fn spelled(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let (ranges, after) = rest.split_once('}').unwrap();
    let rests = spelled(after);
    let numbers = ranges.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    });
    numbers.flat_map(|number| rests.iter().map(move |rest| format!("{before}{number}{rest}"))).collect()
}

//! Weight files: what a header says is taken to the byte, and nothing that lies is believed.

use crate::scratch::tempdir;
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        checkpoint::{
            Checkpoint, known_config,
            safetensors::{Flaw, Header, Index},
            tensors::Class,
        },
        size::ByteSize,
    },
    host::checkpoint::{self, Presence},
};
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// The bytes of a file with these tensors one after the other, without its data.
pub(crate) fn header(tensors: &[(String, &str, Vec<u64>)]) -> (Vec<u8>, u64) {
    let mut entries = Map::new();
    let mut end = 0;
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "BF16" | "F16" => 2,
            "I64" => 8,
            _ => 4,
        };
        let begin = end;
        end += shape.iter().product::<u64>() * width;
        entries.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}));
    }
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    (prefixed(&Value::Object(entries).to_string()), end)
}

fn prefixed(json: &str) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// A Qwen3-Next with two layers of each kind's names: two linear ones, then two full ones would not follow
/// its interval, so that every second is full.
pub(crate) fn small_config() -> Value {
    let mut config: Value =
        serde_json::from_str(known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap()).unwrap();
    config["num_hidden_layers"] = json!(2);
    config["full_attention_interval"] = json!(2);
    config["num_experts"] = json!(16);
    config
}

/// The tensors of that model as compressed-tensors stores them.
pub(crate) fn small_tensors() -> Vec<(String, &'static str, Vec<u64>)> {
    let mut tensors = vec![];
    let mut plain = |name: String, shape: &[u64]| tensors.push((name, "BF16", shape.to_vec()));
    plain("model.embed_tokens.weight".into(), &[151_936, 2048]);
    plain("lm_head.weight".into(), &[151_936, 2048]);
    plain("model.norm.weight".into(), &[2048]);
    // Layers for speculation are in the files, and not loaded.
    plain("mtp.layers.0.self_attn.q_proj.weight".into(), &[8192, 2048]);
    for layer in 0..2 {
        let layer = format!("model.layers.{layer}");
        plain(format!("{layer}.input_layernorm.weight"), &[2048]);
        plain(format!("{layer}.post_attention_layernorm.weight"), &[2048]);
        plain(format!("{layer}.mlp.gate.weight"), &[16, 2048]);
        plain(format!("{layer}.mlp.shared_expert_gate.weight"), &[1, 2048]);
        plain(format!("{layer}.mlp.shared_expert.gate_proj.weight"), &[512, 2048]);
        plain(format!("{layer}.mlp.shared_expert.up_proj.weight"), &[512, 2048]);
        plain(format!("{layer}.mlp.shared_expert.down_proj.weight"), &[2048, 512]);
    }
    plain("model.layers.0.linear_attn.in_proj_ba.weight".into(), &[64, 2048]);
    plain("model.layers.0.linear_attn.conv1d.weight".into(), &[8192, 1, 4]);
    plain("model.layers.0.linear_attn.A_log".into(), &[32]);
    plain("model.layers.0.linear_attn.dt_bias".into(), &[32]);
    plain("model.layers.0.linear_attn.norm.weight".into(), &[128]);
    plain("model.layers.1.self_attn.q_norm.weight".into(), &[256]);
    plain("model.layers.1.self_attn.k_norm.weight".into(), &[256]);
    let mut packed = |name: String, outputs: u64, inputs: u64| {
        tensors.push((format!("{name}.weight_packed"), "I32", vec![outputs, inputs / 8]));
        tensors.push((format!("{name}.weight_scale"), "BF16", vec![outputs, inputs / 32]));
        tensors.push((format!("{name}.weight_shape"), "I64", vec![2]));
    };
    packed("model.layers.0.linear_attn.in_proj_qkvz".into(), 12_288, 2048);
    packed("model.layers.0.linear_attn.out_proj".into(), 2048, 4096);
    packed("model.layers.1.self_attn.q_proj".into(), 8192, 2048);
    packed("model.layers.1.self_attn.k_proj".into(), 512, 2048);
    packed("model.layers.1.self_attn.v_proj".into(), 512, 2048);
    packed("model.layers.1.self_attn.o_proj".into(), 2048, 4096);
    for (layer, expert) in (0..2).flat_map(|layer| (0..16).map(move |expert| (layer, expert))) {
        let expert = format!("model.layers.{layer}.mlp.experts.{expert}");
        packed(format!("{expert}.gate_proj"), 512, 2048);
        packed(format!("{expert}.up_proj"), 512, 2048);
        packed(format!("{expert}.down_proj"), 2048, 512);
    }
    tensors
}

/// A folder of that model in two shards with an index, their data cut off.
pub(crate) fn small_folder(folder: &Path) {
    let tensors = small_tensors();
    let mut map = Map::new();
    let mut total = 0;
    for (number, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", number + 1);
        let (bytes, data) = header(part);
        fs::write(folder.join(&file), bytes).unwrap();
        total += data;
        map.extend(part.iter().map(|(name, ..)| (name.clone(), json!(file))));
    }
    fs::write(folder.join("config.json"), small_config().to_string()).unwrap();
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn weights_are_the_sum_of_the_headers_to_the_byte() {
    let folder = tempdir().unwrap();
    small_folder(folder.path());
    let found = checkpoint::read(folder.path(), Presence::Headers).unwrap().unwrap();
    let speculation = 8192 * 2048 * 2;
    let sum = header(&small_tensors()).1 - speculation;
    assert_eq!(found.weights(1), Some(ByteSize(sum)));
    // The arithmetic from `config.json` lacks only the two numbers beside each packed matrix.
    let matrices = small_tensors().iter().filter(|(name, ..)| name.ends_with("weight_shape")).count() as u64;
    assert_eq!(found.by_config, Some(ByteSize(sum - 16 * matrices)));
    // Shards: what is replicated is there on each rank, and all else adds up to the whole.
    let tensors = found.tensors.unwrap();
    for ranks in [2, 4] {
        let expected = Checkpoint::of(&small_config().to_string(), None).unwrap().weights(ranks).unwrap();
        assert_eq!(tensors.bytes(ranks), expected + ByteSize(16 * matrices), "TP {ranks}");
    }
    let expert = 3 * (512 * 2048 / 2 + 512 * 2048 / 32 * 2) + 3 * 16;
    assert_eq!(tensors.bytes_of(Class::Experts, 1), ByteSize(2 * 16 * expert));
    assert_eq!(tensors.bytes_of(Class::Other, 1), ByteSize(0));
}

fn shown(folder: &Path, presence: Presence) -> String {
    let problem = checkpoint::read(folder, presence).unwrap_err();
    render(&problem, Style::Plain).replace(folder.to_str().unwrap(), "DIR")
}

#[test]
fn a_folder_that_lacks_something_is_refused_by_name() {
    let folder = tempdir().unwrap();
    let dir = folder.path();
    small_folder(dir);
    assert_snapshot!(shown(dir, Presence::Whole), @"
    error: `DIR/model-00001-of-00002.safetensors` cannot be served: it has 20448 bytes, and its header says 1349699664
    help: fetch it again; for a folder with headers only say `--headers-only`
    ");
    let first = dir.join("model-00001-of-00002.safetensors");
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[..whole.len() - 1]).unwrap();
    assert_snapshot!(shown(dir, Presence::Headers), @"
    error: `DIR/model-00001-of-00002.safetensors` cannot be served: it ends within its header
    help: fetch it again, or take the model's original files
    ");
    fs::write(&first, &whole[..5]).unwrap();
    assert_snapshot!(shown(dir, Presence::Headers), @"
    error: `DIR/model-00001-of-00002.safetensors` cannot be served: it ends within its header
    help: fetch it again, or take the model's original files
    ");
    fs::write(&first, header(&small_tensors()[1..4]).0).unwrap();
    assert_snapshot!(shown(dir, Presence::Headers), @"
    error: `DIR/model-00001-of-00002.safetensors` lacks `model.embed_tokens.weight`, `model.layers.0.input_layernorm.weight`, `model.layers.0.linear_attn.A_log` and 160 more
    help: fetch it again, or take the model's original files
    ");
    fs::remove_file(&first).unwrap();
    assert_snapshot!(shown(dir, Presence::Headers), @"
    error: `DIR/model.safetensors.index.json` names `model-00001-of-00002.safetensors`, which the folder lacks
    help: fetch it again, or take the model's original files
    ");
    fs::write(dir.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../../etc/shadow"}}"#)
        .unwrap();
    assert_snapshot!(shown(dir, Presence::Headers), @"
    error: `DIR/model.safetensors.index.json` cannot be served: it is no index of weight files: `../../etc/shadow` is not the name of a file beside it
    help: fetch it again, or take the model's original files
    ");
}

#[test]
fn a_whole_file_is_read_and_a_longer_one_is_not() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (mut bytes, data) = header(&[("model.norm.weight".to_owned(), "BF16", vec![4])]);
    bytes.resize(bytes.len() + usize::try_from(data).unwrap(), 0);
    fs::write(&path, &bytes).unwrap();
    let headers = checkpoint::weights(folder.path(), Presence::Whole).unwrap().headers;
    assert_eq!(headers[0].data(), 8);
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    for presence in [Presence::Whole, Presence::Headers] {
        assert!(checkpoint::weights(folder.path(), presence).is_err());
    }
}

/// A header of these entries, which are written without quotes: `a BF16 [2,2] 0 8`.
fn parsed(entries: &[&str]) -> Result<Header, Flaw> {
    let entry = |text: &&str| {
        let words: Vec<_> = text.split(' ').collect();
        let [name, dtype, shape, begin, end] = words[..] else { panic!("{text}") };
        format!(r#""{name}": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [{begin}, {end}]}}"#)
    };
    Header::parse(format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(",")).as_bytes())
}

#[test]
fn headers_that_lie_are_told_apart() {
    assert_eq!(parsed(&["b BF16 [2,2] 8 16", "a F4 [16] 0 8", "e F32 [0] 8 8"]).unwrap().data(), 16);
    let flaw = |entries: &[&str]| parsed(entries).unwrap_err().to_string();
    let all: Vec<_> = [
        &["a BF16 [2] 0 4", "a BF16 [2] 4 8"][..],
        &["a BF16 [2] 0 4", "b BF16 [2] 2 6"],
        &["a BF16 [2] 0 4", "b BF16 [2] 6 10"],
        &["a BF16 [2] 4 8"],
        &["a BF16 [2] 0 5"],
        &["a BF16 [2] 8 4"],
        &["a BF17 [2] 0 4"],
        &["a F4 [3] 0 1"],
        &["a BF16 [18446744073709551615,2] 0 4"],
        &["a BF16 [-1] 0 4"],
        &["a BF16 [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] 0 2"],
    ]
    .map(flaw)
    .into();
    assert_snapshot!(all.join("\n"), @"
    its header is wrong: `a` comes twice at line 1 column 65
    `b` begins at byte 2 of the data, and the tensor before it ends at 4
    `b` begins at byte 6 of the data, and the tensor before it ends at 4
    `a` begins at byte 4 of the data, and the tensor before it ends at 0
    `a` is wrong: BF16 of shape [2] has 4 bytes, and its offsets enclose 5
    `a` is wrong: it ends at 4, before it begins at 8
    `a` is wrong: its type `BF17` is not known
    `a` is wrong: its shape [3] is absurd
    `a` is wrong: its shape [18446744073709551615, 2] is absurd
    its header is wrong: invalid value: integer `-1`, expected u64 at line 1 column 36
    `a` is wrong: it has 17 dimensions
    ");
}

#[test]
fn lengths_are_limited_before_anything_is_read() {
    let start = |length: u64| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        Header::at_start_of(&bytes)
    };
    assert_eq!(start(2), Ok(Header::parse(b"{}").unwrap()));
    assert_eq!(start(3), Err(Flaw::Truncated));
    assert_eq!(start(0), Err(Flaw::Length(0)));
    assert_eq!(start(u64::MAX), Err(Flaw::Length(u64::MAX)));
    assert_eq!(start(100_000_001), Err(Flaw::Length(100_000_001)));
    assert_eq!(Header::at_start_of(b"short"), Err(Flaw::Truncated));
    let deep = "[".repeat(1_000_000);
    assert!(matches!(Header::parse(format!(r#"{{"__metadata__": {deep}"#).as_bytes()), Err(Flaw::Json(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in r#"\{("[ab]": \{"dtype": "(BF16|F4|I64)", "shape": \[[0-9]{1,20}(,[0-9]{1,20}){0,3}\], "data_offsets": \[[0-9]{1,20},[0-9]{1,20}\]\},?){0,3}\}"#) {
        let _ = Header::at_start_of(&bytes);
        if let Ok(header) = Header::parse(json.as_bytes()) {
            prop_assert_eq!(header.data(), header.tensors().iter().map(|tensor| tensor.bytes).sum::<u64>());
        }
        let _ = Index::parse(&json);
    }

    #[test]
    fn what_is_written_is_read(sizes in prop::collection::vec(0u64..1000, 0..20)) {
        let tensors: Vec<_> = sizes.iter().enumerate().map(|(i, size)| (format!("t{i:02}"), "BF16", vec![*size])).collect();
        let (bytes, data) = header(&tensors);
        let found = Header::at_start_of(&bytes).unwrap();
        prop_assert_eq!(found.data(), data);
        prop_assert_eq!(found.tensors().len(), sizes.len());
        prop_assert!(found.check_size(bytes.len() as u64 + data).is_ok());
        prop_assert!(Header::at_start_of(&bytes[..bytes.len() - 1]).is_err());
    }
}

//! Plans of models that are not here: their configuration and headers come from the hub, and nothing else does.

use crate::{
    checkpoint::safetensors::header,
    hub::{Entry, Fault, Hub, Repo, When},
    scratch::tempdir,
};
use awqdeploy::domain::findings::Finding;
use serde_json::{Map, Value, json};
use std::{fs, process::Command};
use tempfile::TempDir;

/// A repository that nothing is known of here.
const STRANGER: &str = "owner/model";
/// One whose shape is built in.
const KNOWN: &str = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

fn config() -> Value {
    json!({"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "num_hidden_layers": 1,
        "vocab_size": 32000, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 32,
        "intermediate_size": 1024, "max_position_embeddings": 8192})
}

fn tensors() -> [Vec<(String, &'static str, Vec<u64>)>; 2] {
    let plain = |name: &str, shape: &[u64]| (format!("{name}.weight"), "BF16", shape.to_vec());
    let layer = |name: &str, shape: &[u64]| plain(&format!("model.layers.0.{name}"), shape);
    [
        vec![plain("model.embed_tokens", &[32_000, 256]), layer("input_layernorm", &[256])],
        vec![
            layer("self_attn.q_proj", &[256, 256]),
            layer("self_attn.k_proj", &[256, 256]),
            layer("self_attn.v_proj", &[256, 256]),
            layer("self_attn.o_proj", &[256, 256]),
            layer("mlp.gate_proj", &[1024, 256]),
            layer("mlp.up_proj", &[1024, 256]),
            layer("mlp.down_proj", &[256, 1024]),
            layer("post_attention_layernorm", &[256]),
            plain("model.norm", &[256]),
            plain("lm_head", &[32_000, 256]),
        ],
    ]
}

/// A weight file of zeros. Its header has so many blanks at its end: some writers align the data so.
fn file(tensors: &[(String, &'static str, Vec<u64>)], blanks: usize) -> Vec<u8> {
    let (mut bytes, data) = header(tensors);
    bytes.resize(bytes.len() + blanks, b' ');
    let length = bytes.len() as u64 - 8;
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    bytes.resize(bytes.len() + usize::try_from(data).unwrap(), 0);
    bytes
}

fn index(total: u64) -> Vec<u8> {
    let map: Map<_, _> = SHARDS
        .iter()
        .zip(tensors())
        .flat_map(|(file, tensors)| tensors.into_iter().map(move |(name, ..)| (name, json!(file))))
        .collect();
    json!({"metadata": {"total_size": total}, "weight_map": map}).to_string().into()
}

/// Bytes of all tensors.
/// The table of rotary embeddings, which is in no file: 16 bits for each position and element of a head.
const ROTARY: u64 = 512 << 10;

fn total() -> u64 {
    tensors().iter().map(|tensors| header(tensors).1).sum()
}

fn repo(change: impl FnOnce(&mut Vec<(&'static str, Vec<u8>)>)) -> Repo {
    let [first, second] = tensors();
    let mut files = vec![
        ("config.json", config().to_string().into()),
        ("model.safetensors.index.json", index(total())),
        (SHARDS[0], file(&first, 0)),
        // Longer than what is read at once.
        (SHARDS[1], file(&second, 1_500_000)),
    ];
    change(&mut files);
    Repo::of(files.into_iter().map(|(path, bytes)| (path.to_owned(), Entry::of(path, bytes))))
}

struct Site {
    dir: TempDir,
    hub: Hub,
}

impl Site {
    fn new(name: &str, repo: Repo) -> Self {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join("profiles/runtimes")).unwrap();
        let text = format!(
            "service = 'vllm'\n[model]\nrepo = '{name}'\nserved-name = 'n'\n[runtime]\nvllm = '0.26.0'\n"
        );
        fs::write(dir.path().join("profiles/awq.toml"), text).unwrap();
        let runtime = "runtimes/vllm-0.26.0.toml";
        let shipped = format!("{}/profiles/{runtime}", env!("CARGO_MANIFEST_DIR"));
        fs::copy(shipped, dir.path().join("profiles").join(runtime)).unwrap();
        Self { dir, hub: Hub::start(name, repo) }
    }

    fn run(&self, arguments: &[&str], offline: &str) -> (Option<i32>, Value, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_awqdeploy"))
            .args(arguments)
            .arg("--json")
            .env("AWQDEPLOY_ROOT", self.dir.path().join("root"))
            .env("AWQDEPLOY_PROFILES", self.dir.path().join("profiles"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.dir.path())
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
    }

    fn plan(&self, offline: &str) -> (Option<i32>, Value, String) {
        let facts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts/one-16gb.json");
        self.run(&["plan", "awq", "--facts", facts], offline)
    }

    /// Bytes of the weights in the plan.
    fn weights(&self) -> u64 {
        let (code, plan, said) = self.plan("0");
        assert_eq!(code, Some(0), "{said}");
        plan["memory"]["ranks"][0]["weights_bytes"].as_u64().unwrap() - ROTARY
    }

    /// The refusal of a plan.
    fn refused(&self) -> String {
        let (code, plan, said) = self.plan("0");
        assert_eq!(code, Some(4), "{plan} {said}");
        format!("{plan} {said}")
    }
}

#[test]
fn headers_are_read_by_range_before_anything_is_fetched() {
    let site = Site::new(STRANGER, repo(|_| ()));
    assert_eq!(site.weights(), total());
    let sent = site.hub.sent();
    assert!(sent < 5_000_000, "{sent} bytes of {} were sent for headers", total());
    let seen = site.hub.seen();
    let weights: Vec<_> = seen.iter().filter(|seen| seen.path.contains(".safetensors")).collect();
    let weights: Vec<_> = weights.into_iter().filter(|seen| !seen.path.contains("index")).collect();
    assert!(weights.len() >= 3 && weights.iter().all(|seen| seen.range.is_some()), "{weights:?}");
    // Locked it is the same, and the listing is not asked for again.
    assert_eq!(site.run(&["lock", "awq"], "0").0, Some(0));
    site.hub.seen();
    assert_eq!(site.weights(), total());
    assert!(site.hub.seen().iter().all(|seen| seen.path.contains("/resolve/") || seen.cdn));
    assert!(!site.dir.path().join("root/store").exists(), "a plan leaves nothing behind");
}

#[test]
fn a_hub_that_stumbles_is_asked_again_and_one_without_ranges_does_too() {
    let site = Site::new(STRANGER, repo(|_| ()));
    site.hub.trap(SHARDS[0], Fault::Status { status: 503, retry_after: None }, When::Nth(1));
    site.hub.trap("config.json", Fault::Cut { after: 10 }, When::Nth(1));
    assert_eq!(site.weights(), total());
    site.hub.mend();
    site.hub.trap(SHARDS[1], Fault::WholeFile, When::Always);
    assert_eq!(site.weights(), total());
}

#[test]
fn what_lies_on_the_hub_is_refused_before_it_is_fetched() {
    let spoilt = |name: &'static str, bytes: Vec<u8>| {
        let change = move |files: &mut Vec<(&str, Vec<u8>)>| {
            files.retain(|(path, _)| *path != name);
            if !bytes.is_empty() {
                files.push((name, bytes));
            }
        };
        Site::new(STRANGER, repo(change)).refused()
    };
    let bomb = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    assert!(spoilt(SHARDS[0], bomb).contains("its header claims 18446744073709551615 bytes"));
    let lying = [1_000_000_u64.to_le_bytes().as_slice(), b"{}"].concat();
    assert!(spoilt(SHARDS[0], lying).contains("it ends within its header"));
    let longer = [file(&tensors()[0], 0), vec![0]].concat();
    assert!(spoilt(SHARDS[0], longer).contains("and its header says"));
    assert!(spoilt(SHARDS[0], file(&tensors()[1], 0)).contains("lacks `model.embed_tokens.weight`"));
    assert!(spoilt(SHARDS[0], Vec::new()).contains("which it lacks"));
    assert!(
        spoilt("config.json", Vec::new())
            .contains("`owner/model` holds no model that can be served: it has no `config.json`")
    );
    let site = Site::new(STRANGER, repo(|_| ()));
    site.hub.trap("config.json", Fault::Flip { at: 3 }, When::Always);
    assert!(site.refused().contains("came damaged"));
    site.hub.remove(STRANGER);
    let said = site.refused();
    assert!(said.contains("nothing is known of the model `owner/model`"), "{said}");
}

#[test]
fn an_index_that_counts_otherwise_is_told() {
    let site = Site::new(STRANGER, repo(|files| files[1].1 = index(total() + 1)));
    let (code, plan, _) = site.plan("0");
    assert_eq!((code, &plan["findings"][0]["code"]), (Some(0), &json!("index-total-differs")));
}

/// The findings of a plan whose locked model is neither here nor on a hub that can be asked.
pub(crate) fn unread() -> Vec<Finding> {
    let site = Site::new(KNOWN, repo(|_| ()));
    assert_eq!(site.run(&["lock", "awq"], "0").0, Some(0));
    assert_eq!(site.weights(), total(), "what is on the hub counts, not what was published once");
    let (code, plan, said) = site.plan("1");
    assert_eq!(code, Some(0), "{said}");
    assert!(plan["memory"]["ranks"][0]["weights_bytes"].as_u64() > Some(40_000_000_000));
    serde_json::from_value(plan["findings"].clone()).unwrap()
}

#[test]
fn a_known_model_is_planned_without_a_hub_and_that_is_said() {
    let findings = unread();
    let found = findings.iter().find(|finding| finding.code == "headers-not-read").unwrap();
    assert!(found.message.contains("offline mode is on"), "{}", found.message);
    assert!(found.help.is_some());
}

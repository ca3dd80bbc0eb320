//! Where the model is read: a folder, a hub's cache, the hub, or what is published; and what is said where it cannot be.

use super::{
    ANSWERS, Site, cards_of_24_gb,
    checkpoints::{QWEN3_8B_AWQ, Shape},
};
use crate::hub::{Entry, Hub, Repo};
use awqdeploy::domain::proposal::Template;
use insta::assert_snapshot;
use std::fs;

const REPO: &str = "owner/Tiny-Llama-AWQ";
/// Small enough to be sent whole.
const TINY: Shape = Shape {
    architecture: "LlamaForCausalLM",
    hidden: 1024,
    inner: 2048,
    layers: 2,
    heads: 8,
    kv_heads: 8,
    vocabulary: 1024,
    norms: false,
    ..QWEN3_8B_AWQ
};

/// A hub that has these files of a folder of the site.
fn hub(site: &Site, keep: impl Fn(&str) -> bool) -> Hub {
    let files =
        ["config.json", "model.safetensors", "tokenizer_config.json"].into_iter().filter(|name| keep(name));
    Hub::start(
        REPO,
        Repo::of(files.map(|name| {
            (name.to_owned(), Entry::of(name, fs::read(site.path("model").join(name)).unwrap()))
        })),
    )
}

#[test]
fn the_hub_tells_headers_and_template_before_anything_is_fetched() {
    let site = Site::new();
    site.model("model", &TINY, Some("{% if enable_thinking %}"));
    let hub = hub(&site, |_| true);
    let facts = site.facts(&cards_of_24_gb(1));
    let said =
        site.init_with(&[REPO, "--facts", &facts, "--json"], &[("HF_ENDPOINT", &hub.endpoint())]).document(0);
    assert!(said["model"]["read_from"].as_str().unwrap().starts_with("the hub, commit "));
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("enable_thinking") && !text.contains("path ="), "{text}");
    assert!(!site.path("root").exists());
}

#[test]
fn a_repository_that_is_no_model_is_told() {
    let site = Site::new();
    site.model("model", &TINY, Some(ANSWERS));
    let hub = hub(&site, |name| name != "config.json");
    let facts = site.facts(&cards_of_24_gb(1));
    let variables = [("HF_ENDPOINT", hub.endpoint())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let said = |repo| site.init_with(&[repo, "--facts", &facts], &variables).complaint(4);
    assert_snapshot!(said(REPO), @"");
    assert_snapshot!(said("owner/nothing"), @"");
    assert!(!site.path("profiles").exists());
}

#[test]
fn without_a_network_only_what_is_here_or_published_is_proposed() {
    let site = Site::new();
    let facts = site.facts(&cards_of_24_gb(1));
    // Nobody listens there.
    let said = site.init_with(&[REPO, "--facts", &facts], &[]).complaint(4);
    assert_snapshot!(said, @"");
    let known = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
    let said = site.init_with(&[known, "--facts", &facts, "--dry-run", "--json"], &[]).document(0);
    let codes =
        said["plan"]["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap());
    assert!(codes.collect::<Vec<_>>().contains(&"headers-not-read"));
}

#[test]
fn a_folder_without_a_model_is_told() {
    let site = Site::new();
    fs::create_dir(site.path("empty")).unwrap();
    let facts = site.facts(&cards_of_24_gb(1));
    let said = |folder: &str| {
        site.init(&[REPO, "--from", site.path(folder).to_str().unwrap(), "--facts", &facts]).complaint(4)
    };
    assert_snapshot!(said("empty"), @"");
    assert_snapshot!(said("nowhere"), @"");
}

#[test]
fn a_cache_of_the_hub_is_read_and_named() {
    let site = Site::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let kept = site.path("hf/hub/models--owner--Tiny-Llama-AWQ");
    TINY.write(&kept.join("snapshots").join(commit), Some(ANSWERS));
    fs::create_dir_all(kept.join("blobs")).unwrap();
    fs::create_dir_all(kept.join("refs")).unwrap();
    fs::write(kept.join("refs/main"), commit).unwrap();
    let facts = site.facts(&cards_of_24_gb(1));
    let said = site.document(&[REPO, "--facts", &facts, "--name", "cached"]);
    let line = "# path = \"DIR/hf/hub/models--owner--Tiny-Llama-AWQ\"";
    assert!(said["text"].as_str().unwrap().contains(line), "{}", said["text"]);
    // Without the `#` a plan finds it there.
    let text = site.text("profiles/cached.toml").replace("# path = ", "path = ");
    fs::write(site.path("profiles/cached.toml"), text).unwrap();
    let plan = site.run(&["plan", "cached", "--facts", &facts, "--json"], &[]).document(0);
    assert_eq!(plan["memory"], said["plan"]["memory"]);
    // One that is not whole says nothing.
    fs::remove_file(kept.join("snapshots").join(commit).join("config.json")).unwrap();
    assert_eq!(site.init(&[REPO, "--facts", &facts, "--name", "gone"]).code, Some(4));
}

#[test]
fn a_template_tells_whether_a_model_thinks() {
    let of = [
        ("{% if enable_thinking is false %}<think></think>{% endif %}", Template::MayThink),
        ("<|assistant|><think>\n", Template::Thinks),
        ("{{ messages }}", Template::Answers),
        ("", Template::Answers),
    ];
    for (text, template) in of {
        assert_eq!(Template::of(text), template, "{text}");
    }
}

#[test]
fn what_cannot_be_asked_is_not_asked() {
    for (template, why) in [(None, "it has no chat template"), (Some("<think>"), "it thinks")] {
        let site = Site::new();
        let folder = site.model("model", &TINY, template);
        let said = site.document(&[REPO, "--from", &folder, "--facts", &site.facts(&cards_of_24_gb(1))]);
        let text = said["text"].as_str().unwrap();
        assert!(text.contains(why) && !text.contains("min-known-answers ="), "{text}");
        assert!(said["notes"][0].as_str().unwrap().starts_with(why), "{}", said["notes"]);
    }
}

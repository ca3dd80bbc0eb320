//! What is written, and what never is.

use super::{
    ANSWERS, Site, cards_of_24_gb,
    checkpoints::{QWEN3_8B_AWQ, QWEN3_14B_AWQ},
};
use crate::inputs::facts;
use insta::assert_snapshot;
use serde_json::json;
use std::fs;

const REPO: &str = "Qwen/Qwen3-8B-AWQ";

/// A site with the profile of an 8B model on a card of 24 GB, and the arguments that wrote it.
fn first() -> (Site, [String; 5]) {
    let site = Site::new();
    let folder = site.model("model", &QWEN3_8B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    let arguments = [REPO.to_owned(), "--from".to_owned(), folder, "--facts".to_owned(), facts];
    assert_eq!(site.init(&arguments.each_ref().map(String::as_str)).code, Some(0));
    (site, arguments)
}

#[test]
fn what_was_written_plans_as_was_said() {
    let site = Site::new();
    let folder = site.model("model", &QWEN3_8B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    let said = site.document(&[REPO, "--from", &folder, "--facts", &facts]);
    assert_eq!(
        said["written"],
        json!(["DIR/profiles/runtimes/vllm-0.26.0.toml", "DIR/profiles/qwen3-8b-awq.toml"])
    );
    assert_eq!(said["text"], site.plain(&site.text("profiles/qwen3-8b-awq.toml")));
    let plan = site.run(&["plan", "qwen3-8b-awq", "--facts", &facts, "--json"], &[]).document(0);
    for part in ["memory", "prediction", "serve", "findings"] {
        assert_eq!(plan[part], said["plan"][part], "{part}");
    }
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/runtimes/vllm-0.26.0.toml"));
    assert_eq!(site.text("profiles/runtimes/vllm-0.26.0.toml"), shipped.unwrap());
}

#[test]
fn a_dry_run_writes_nothing() {
    let site = Site::new();
    let folder = site.model("model", &QWEN3_8B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    let said = site.document(&[REPO, "--from", &folder, "--facts", &facts, "--dry-run"]);
    assert_eq!((&said["dry_run"], &said["written"]), (&json!(true), &json!([])));
    assert!(!site.path("profiles").exists());
}

#[test]
fn nothing_is_overwritten() {
    let (site, arguments) = first();
    let arguments = arguments.each_ref().map(String::as_str);
    fs::write(site.path("profiles/qwen3-8b-awq.toml"), "mine").unwrap();
    assert_snapshot!(site.init(&arguments).complaint(2), @"");
    assert_eq!(site.text("profiles/qwen3-8b-awq.toml"), "mine");
    // A runtime's lock is a person's own, too.
    fs::write(site.path("profiles/runtimes/vllm-0.26.0.toml"), "mine").unwrap();
    let other = [arguments.as_slice(), &["--name", "other"]].concat();
    assert_eq!(site.init(&other).code, Some(0));
    assert_eq!(site.text("profiles/runtimes/vllm-0.26.0.toml"), "mine");
}

#[test]
fn a_lock_of_that_name_would_be_of_another_model() {
    let (site, arguments) = first();
    let arguments = arguments.each_ref().map(String::as_str);
    fs::create_dir(site.path("profiles/locks")).unwrap();
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/locks/awq.toml");
    fs::copy(lock, site.path("profiles/locks/other.toml")).unwrap();
    let said = site.init(&[arguments.as_slice(), &["--name", "other"]].concat()).complaint(2);
    assert_snapshot!(said, @"");
}

#[test]
fn a_migration_keeps_what_clients_know_and_is_measured_against_the_first() {
    let (site, arguments) = first();
    let facts = arguments[4].as_str();
    let folder = site.model("second", &QWEN3_14B_AWQ, Some(ANSWERS));
    let to = ["--migrate-to", "Qwen/Qwen3-14B-AWQ", "--from", &folder, "--facts", facts];
    let said = site.document(&to);
    assert_eq!(said["replaces"], "qwen3-8b-awq");
    assert_snapshot!(said["text"].as_str().unwrap(), @"");
    // Now there are two, and none serves: a person has to say which, and nobody is asked where nobody sits.
    let third = [to.as_slice(), &["--name", "third"]].concat();
    assert_snapshot!(site.init(&third).complaint(2), @"");
    let named = [third.as_slice(), &["--baseline", "qwen3-14b-awq"]].concat();
    assert_eq!(site.document(&named)["replaces"], "qwen3-14b-awq");
}

#[test]
fn a_first_migration_needs_a_first_profile() {
    let site = Site::new();
    let facts = site.facts(&facts("one-16gb"));
    assert_snapshot!(site.init(&["--migrate-to", REPO, "--facts", &facts]).complaint(2), @"");
}

#[test]
fn a_migration_to_what_cannot_serve_as_much_says_so() {
    let (site, arguments) = first();
    let longer = site.text("profiles/qwen3-8b-awq.toml").replace("max-num-seqs = 4", "max-num-seqs = 6");
    fs::write(site.path("profiles/qwen3-8b-awq.toml"), longer).unwrap();
    let folder = site.model("second", &QWEN3_14B_AWQ, Some(ANSWERS));
    let said =
        site.document(&["--migrate-to", "Qwen/Qwen3-14B-AWQ", "--from", &folder, "--facts", &arguments[4]]);
    assert_snapshot!(said["notes"][0].as_str().unwrap(), @"");
}

#[test]
fn a_mistyped_name_is_told() {
    let site = Site::new();
    let said = |repo: &str| site.init(&[repo]).complaint(2);
    assert_snapshot!([said("Qwen3-8B-AWQ"), said("./models/x"), said("https://hub.example/Qwen/Qwen3-8B-AWQ")].join("\n"), @"");
    assert_snapshot!(site.init(&[]).complaint(2), @"");
    assert_snapshot!(site.init(&[REPO, "--name", "a b"]).complaint(2), @"");
}

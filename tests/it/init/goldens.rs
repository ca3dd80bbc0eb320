//! What is proposed for published models on usual hosts, word for word.

use super::{
    ANSWERS, Site, cards_of_24_gb,
    checkpoints::{LLAMA3_70B_AWQ, QWEN3_8B_AWQ, QWEN3_30B_A3B_GPTQ, Shape},
};
use crate::inputs::facts;
use awqdeploy::domain::machine::facts::Facts;
use insta::assert_snapshot;

const AWQ: &str = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
const GPTQ: &str = "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ";
/// As Qwen3's: whether it thinks is said with each request.
const MAY_THINK: &str = "{% if enable_thinking is defined and enable_thinking is false %}<think>{% endif %}";

/// Everything that `init --dry-run` prints.
fn shown(repo: &str, shape: &Shape, template: &str, facts: &Facts) -> String {
    let site = Site::new();
    let folder = site.model("model", shape, Some(template));
    site.init(&[repo, "--from", &folder, "--facts", &site.facts(facts), "--dry-run"]).text()
}

/// The text of a profile for a repository whose shape is known without a hub.
fn text(repo: &str, machine: &str) -> String {
    let site = Site::new();
    let document = site.document(&[repo, "--facts", &site.facts(&facts(machine)), "--dry-run"]);
    document["text"].as_str().unwrap().to_owned()
}

#[test]
fn qwen3_8b_awq_on_one_card_of_24_gb() {
    assert_snapshot!(shown("Qwen/Qwen3-8B-AWQ", &QWEN3_8B_AWQ, MAY_THINK, &cards_of_24_gb(1)), @"");
}

#[test]
fn qwen3_30b_a3b_gptq_on_one_card_of_24_gb() {
    let repo = "Qwen/Qwen3-30B-A3B-GPTQ-Int4";
    assert_snapshot!(shown(repo, &QWEN3_30B_A3B_GPTQ, MAY_THINK, &cards_of_24_gb(1)), @"");
}

#[test]
fn llama_3_70b_awq_on_two_cards_of_24_gb() {
    let repo = "owner/Meta-Llama-3.1-70B-Instruct-AWQ-INT4";
    assert_snapshot!(shown(repo, &LLAMA3_70B_AWQ, ANSWERS, &cards_of_24_gb(2)), @"");
}

#[test]
fn the_shipped_awq_on_one_card_of_16_gb() {
    assert_snapshot!(text(AWQ, "one-16gb"), @"");
}

#[test]
fn the_shipped_awq_on_four_cards_of_16_gb() {
    assert_snapshot!(text(AWQ, "four-16gb"), @"");
}

#[test]
fn the_shipped_gptq_on_one_card_of_16_gb() {
    assert_snapshot!(text(GPTQ, "one-16gb"), @"");
}

#[test]
fn the_shipped_gptq_on_four_cards_of_16_gb() {
    assert_snapshot!(text(GPTQ, "four-16gb"), @"");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let site = Site::new();
    let folder = site.model("model", &LLAMA3_70B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    let refused = site.init(&["owner/Llama-70B", "--from", &folder, "--facts", &facts]).complaint(3);
    assert_snapshot!(refused, @"");
    assert!(!site.path("profiles").exists());
}

#[test]
fn a_host_without_a_gpu_is_refused() {
    let site = Site::new();
    let refused = site.init(&[AWQ, "--facts", &site.facts(&facts("no-gpu"))]).complaint(3);
    assert_snapshot!(refused, @"");
}

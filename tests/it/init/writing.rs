//! Writing a profile: what is written, and what never is.

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
    assert_snapshot!(site.init(&arguments).complaint(2), @r##"
    error: there is a profile `qwen3-8b-awq` already: `DIR/profiles/qwen3-8b-awq.toml`
    help: nothing is overwritten: take another name, `--name qwen3-8b-awq-2`, or remove what is there
    "##);
    assert_eq!(site.text("profiles/qwen3-8b-awq.toml"), "mine");
    // A runtime's lock is a person's own, too: one that cannot be read is not replaced by the one that came along.
    fs::write(site.path("profiles/runtimes/vllm-0.26.0.toml"), "mine").unwrap();
    let other = [arguments.as_slice(), &["--name", "other"]].concat();
    assert!(site.init(&other).complaint(2).contains("no vLLM is locked"));
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
    assert_snapshot!(said, @r##"
    error: there is a lock named `other` already, of `owner/name`
    help: nothing is overwritten: take another name, `--name other-2`, or remove what is there
    "##);
}

#[test]
fn a_migration_keeps_what_clients_know_and_is_measured_against_the_first() {
    let (site, arguments) = first();
    let facts = arguments[4].as_str();
    let folder = site.model("second", &QWEN3_14B_AWQ, Some(ANSWERS));
    let to = ["--migrate-to", "Qwen/Qwen3-14B-AWQ", "--from", &folder, "--facts", facts];
    let said = site.document(&to);
    assert_eq!(said["replaces"], "qwen3-8b-awq");
    assert_snapshot!(said["text"].as_str().unwrap(), @r##"
    # Qwen/Qwen3-14B-AWQ on this host. Written by `awqdeploy init`; change what you like.
    # Planned: TP 1 with all weights in VRAM, predicted 85 tokens/s (NVIDIA GeForce RTX 4090, 24.0 GiB).
    service = "vllm"                        # the systemd unit that serves it

    [model]
    repo = "Qwen/Qwen3-14B-AWQ"             # where the files come from
    # The files are here already; each is checked against the lock.
    path = "DIR/second"
    served-name = "qwen3-8b"                # as in the profile that it replaces: no client has to change

    [runtime]
    vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

    [listen]
    port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

    [limits]
    max-model-len = 16384                   # tokens of a prompt and its answer together; up to 18464 would fit
    max-num-seqs = 4                        # requests that are answered at once; more of them wait

    [vllm]
    # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
    arguments = ["--generation-config", "vllm"]

    [validation]
    min-decode-tokens-per-second = 31.0     # tokens/s of one answer: half of the 62 that are predicted at least

    [validation.quality]
    min-known-answers = 0.8                 # the share of known questions to answer right

    [validation.baseline]
    profile = "qwen3-8b-awq"                # measured just before it is replaced
    min-ratio = 0.55                        # the least speed beside it; 0.65 is predicted
    "##);
    // Now there are two, and none serves: a person has to say which, and nobody is asked where nobody sits.
    let third = [to.as_slice(), &["--name", "third"]].concat();
    assert_snapshot!(site.init(&third).complaint(2), @r##"
    error: there are several profiles, and none of them serves
    help: say which is to be replaced: `--baseline PROFILE`; there are `qwen3-14b-awq` and `qwen3-8b-awq`
    "##);
    let named = [third.as_slice(), &["--baseline", "qwen3-14b-awq"]].concat();
    assert_eq!(site.document(&named)["replaces"], "qwen3-14b-awq");
}

#[test]
fn a_first_migration_needs_a_first_profile() {
    let site = Site::new();
    let facts = site.facts(&facts("one-16gb"));
    assert_snapshot!(site.init(&["--migrate-to", REPO, "--facts", &facts]).complaint(2), @r##"
    error: there is no profile to migrate from
    help: `awqdeploy init OWNER/MODEL` writes the first; `awqdeploy init --adopt UNIT` that of a server that runs
    "##);
}

#[test]
fn a_migration_to_what_cannot_serve_as_much_says_so() {
    let (site, arguments) = first();
    let longer = site.text("profiles/qwen3-8b-awq.toml").replace("max-num-seqs = 4", "max-num-seqs = 6");
    fs::write(site.path("profiles/qwen3-8b-awq.toml"), longer).unwrap();
    let folder = site.model("second", &QWEN3_14B_AWQ, Some(ANSWERS));
    let said =
        site.document(&["--migrate-to", "Qwen/Qwen3-14B-AWQ", "--from", &folder, "--facts", &arguments[4]]);
    assert_snapshot!(said["notes"][0].as_str().unwrap(), @r##"
    `qwen3-8b-awq` serves 16384 tokens to 6 requests at once, and that does not fit with this model: 16384 to 4 do
    "##);
}

#[test]
fn a_mistyped_name_is_told() {
    let site = Site::new();
    let said = |repo: &str| site.init(&[repo]).complaint(2);
    assert_snapshot!([said("Qwen3-8B-AWQ"), said("./models/x"), said("https://hub.example/Qwen/Qwen3-8B-AWQ")].join("\n"), @r##"
    error: `Qwen3-8B-AWQ` is no repository of a model: the owner is missing
    help: write it as on the hub: `awqdeploy init Qwen/Qwen3-8B-AWQ`; a folder goes behind `--from`

    error: `./models/x` is no repository of a model: this is a folder
    help: write it as on the hub: `awqdeploy init Qwen/Qwen3-8B-AWQ`; a folder goes behind `--from`

    error: `https://hub.example/Qwen/Qwen3-8B-AWQ` is no repository of a model: this is a URL
    help: write it as on the hub: `awqdeploy init Qwen/Qwen3-8B-AWQ`; a folder goes behind `--from`
    "##);
    assert_snapshot!(site.init(&[]).complaint(2), @r##"
    error: which model?
    help: name its repository on the hub: `awqdeploy init OWNER/MODEL`
    "##);
    assert_snapshot!(site.init(&[REPO, "--name", "a b"]).complaint(2), @r##"
    error: `a b` cannot be the name of a profile: contains a space: a profile's name is letters, digits, `-` and `_`
    help: take another: `--name NAME`
    "##);
}

//! The contract with others: the words of `plan --json` and `facts --json`, from the program itself.

use crate::{
    checkpoint::safetensors::{header, small_folder, small_tensors},
    scratch::tempdir,
};
use serde_json::Value;
use std::{path::Path, process::Command};

fn run(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_awqdeploy"))
        .args(["--profiles", concat!(env!("CARGO_MANIFEST_DIR"), "/profiles"), "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let document = serde_json::from_str(&text).unwrap_or_else(|e| {
        panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code(), document)
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/facts/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

fn plan(profile: &str, machine: &str, checkpoint: Option<&Path>) -> (Option<i32>, Value) {
    let facts = fixture(machine);
    let mut arguments = vec!["plan", profile, "--facts", &facts];
    if let Some(folder) = checkpoint {
        arguments.extend(["--checkpoint", folder.to_str().unwrap(), "--headers-only"]);
    }
    run(&arguments)
}

#[test]
fn a_plan_from_headers_has_the_agreed_words() {
    let folder = tempdir().unwrap();
    small_folder(folder.path());
    let (code, plan) = plan("awq", "one-16gb", Some(folder.path()));
    assert_eq!(code, Some(0), "{plan:#}");
    assert_eq!(plan["schema"], "awqdeploy/plan/v1");
    assert!(plan["refusal"].is_null());
    assert!(plan["serve"]["argv"].as_array().unwrap().len() > 10 && plan["serve"]["env"].is_object());
    assert!(plan["unit"].as_str().unwrap().contains("[Service]"));
    let [rank] = &plan["memory"]["ranks"].as_array().unwrap()[..] else { panic!("{plan:#}") };
    let speculation = 8192 * 2048 * 2;
    assert_eq!(rank["weights_bytes"], header(&small_tensors()).1 - speculation);
    assert_eq!(rank["offloaded_bytes"], 0);
    assert!(rank["kv_cache_tokens"].as_u64().unwrap() > 4 * 8192);
    assert!(rank["total_bytes"].as_u64().unwrap() <= 17_171_480_576);
    assert!(plan["memory"]["host_bytes"].as_u64().unwrap() > 1 << 30);
    let speed = &plan["prediction"]["decode_tokens_per_second"];
    let rates = ["low", "expected", "ceiling"].map(|name| speed[name].as_f64().unwrap());
    assert!(rates.is_sorted() && rates[0] > 0.0, "{rates:?}");
    assert_eq!(speed["limited_by"], "fixed-work");
}

#[test]
fn the_three_readings_of_the_machine_are_planned_or_refused() {
    let (code, one) = plan("awq", "one-16gb", None);
    assert_eq!(code, Some(0));
    let rank = &one["memory"]["ranks"][0];
    assert_eq!(one["memory"]["ranks"].as_array().unwrap().len(), 1);
    // The bytes that leave the GPU under `--cpu-offload-gb 32`: vLLM counts indices that it empties.
    let offloaded = rank["offloaded_bytes"].as_u64().unwrap();
    assert!((31_u64 << 30..32 << 30).contains(&offloaded), "{offloaded}");
    assert!(rank["weights_bytes"].as_u64() > Some(45_000_000_000));
    assert_eq!(one["prediction"]["decode_tokens_per_second"]["limited_by"], "pcie-link");
    let (code, four) = plan("awq", "four-16gb", None);
    assert_eq!(code, Some(0));
    let ranks = four["memory"]["ranks"].as_array().unwrap();
    assert!(ranks.len() == 4 && ranks.iter().all(|rank| rank["offloaded_bytes"] == 0));
    for (profile, machine, refused) in [
        ("awq", "no-gpu", "no-gpu"),
        ("awq", "four-4gb", "does-not-fit"),
        ("gptq", "four-4gb", "does-not-fit"),
    ] {
        let (code, document) = plan(profile, machine, None);
        assert_eq!(code, Some(3), "{profile} on {machine}");
        assert_eq!(document["refusal"]["code"], refused);
        let [finding] = &document["findings"].as_array().unwrap()[..] else { panic!("{document:#}") };
        assert_eq!(finding["severity"], "fatal");
        for word in ["code", "message", "help", "source"] {
            assert!(finding[word].as_str().is_some_and(|text| !text.is_empty()), "{word} of {finding}");
        }
    }
}

#[test]
fn facts_are_replayed_by_a_plan() {
    let (code, facts) = run(&["facts"]);
    assert_eq!((code, &facts["schema"]), (Some(0), &"awqdeploy/facts/v1".into()));
    let folder = tempdir().unwrap();
    let path = folder.path().join("facts.json");
    std::fs::write(&path, facts.to_string()).unwrap();
    let arguments = ["plan", "awq", "--facts", path.to_str().unwrap()];
    let (code, document) = run(&arguments);
    assert!(code == Some(0) || code == Some(3), "{document}");
    let newer = facts.to_string().replace("facts/v1", "facts/v2");
    std::fs::write(&path, newer).unwrap();
    let (code, document) = run(&arguments);
    assert_eq!(code, Some(2), "{document}");
    assert!(document.to_string().contains("a newer awqdeploy wrote it"), "{document}");
}

#[test]
fn what_the_old_service_holds_will_be_free_once_it_is_stopped() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("facts.json");
    let planned = |unit: &str| {
        let text = std::fs::read_to_string(fixture("one-16gb")).unwrap();
        let mut facts: Value = serde_json::from_str(&text).unwrap();
        let holder = serde_json::json!({"pid": 7, "name": "python3", "unit": unit, "memory": 15_u64 << 30});
        facts["gpus"][0]["memory_free"] = Value::from(1_u64 << 28);
        facts["gpus"][0]["processes"] = Value::from(vec![holder]);
        std::fs::write(&path, facts.to_string()).unwrap();
        run(&["plan", "awq", "--facts", path.to_str().unwrap()])
    };
    assert_eq!(planned("vllm.service").0, Some(0), "the service that is replaced lets go");
    let (code, document) = planned("ollama.service");
    assert_eq!((code, &document["refusal"]["code"]), (Some(3), &"vram-held-by-others".into()));
}

#[test]
fn gpus_of_different_sizes_are_planned_by_the_smallest() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("facts.json");
    let text = std::fs::read_to_string(fixture("four-16gb")).unwrap();
    let mut facts: Value = serde_json::from_str(&text).unwrap();
    facts["gpus"][3]["memory_total"] = Value::from(12_u64 << 30);
    std::fs::write(&path, facts.to_string()).unwrap();
    let (_, document) = run(&["plan", "awq", "--facts", path.to_str().unwrap()]);
    let (_, all) = plan("awq", "four-16gb", None);
    let share = |document: &Value| document["memory"]["gpu"].as_u64().unwrap_or(0);
    assert!(share(&document) <= 12 << 30 && share(&document) < share(&all), "{document:#}");
}

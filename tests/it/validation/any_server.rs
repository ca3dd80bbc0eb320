//! `validate --url`: any server, without a profile.

use crate::{running_engine::start, stand::PROGRAM};
use awqdeploy::host::rehearsal::engine::EngineFault;
use serde_json::Value;
use std::process::Command;

/// Runs `validate --url` against this server, and reads its document and exit status.
fn validate(url: &str, more: &[&str]) -> (i32, Value) {
    let output = Command::new(PROGRAM)
        .args(["validate", "--url", url, "--json", "--progress", "none"])
        .args(more)
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), document)
}

#[test]
fn a_healthy_server_passes() {
    let engine = start(1000.0, None);
    for url in [format!("http://{}", engine.address), format!("http://{}/v1/", engine.address)] {
        let (code, document) = validate(&url, &["--model", "tiny"]);
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(document["schema"], "awqdeploy/validation/v1");
        assert_eq!(document["verdict"], "pass");
        let checks = document["checks"].as_array().unwrap();
        assert!(!checks.is_empty());
        for check in checks {
            assert!(check["name"].is_string(), "{check}");
            assert!(["pass", "skipped"].contains(&check["verdict"].as_str().unwrap()), "{check}");
            assert!(check["detail"].is_string() || check["detail"].is_null(), "{check}");
        }
        for measure in ["decode_tokens_per_second", "ttft_ms", "tpot_ms", "itl_ms"] {
            let interval = &document["throughput"][measure];
            let [median, low, high] =
                ["median", "low", "high"].map(|bound| interval[bound].as_f64().unwrap());
            assert!(low <= median && median <= high, "{measure}: {interval}");
            assert!(interval["n"].as_u64().unwrap() >= 3, "{measure}: {interval}");
        }
    }
}

#[test]
fn the_model_may_be_left_out() {
    let engine = start(1000.0, None);
    let url = format!("http://{}", engine.address);
    let (code, document) = validate(&url, &[]);
    assert_eq!((code, document["profile"].as_str()), (0, Some("tiny")), "{document:#}");
    let (code, document) = validate(&url, &["--model", "other"]);
    assert_eq!((code, document["verdict"].as_str()), (6, Some("fail")), "{document:#}");
    assert!(document["failures"][0].as_str().unwrap().contains("`other` is not served"), "{document:#}");
}

#[test]
fn what_is_wrong_fails() {
    let engine = start(1000.0, Some(EngineFault::ErrorStream));
    let (code, document) = validate(&format!("http://{}", engine.address), &["--model", "tiny"]);
    assert_eq!((code, document["verdict"].as_str()), (6, Some("fail")), "{document:#}");

    let slow = start(400.0, Some(EngineFault::Slow));
    let (code, document) = validate(
        &format!("http://{}", slow.address),
        &["--model", "tiny", "--min-decode-tokens-per-second", "100"],
    );
    assert_eq!((code, document["verdict"].as_str()), (6, Some("fail")), "{document:#}");
    let said = document["failures"][0].as_str().unwrap();
    assert!(said.ends_with("is below the floor of 100.0"), "{said}");

    let (code, document) = validate("http://127.0.0.1:1", &["--model", "tiny"]);
    assert_eq!((code, document["verdict"].as_str()), (6, Some("fail")), "{document:#}");
    assert_eq!(document["throughput"], Value::Null);
}

#[test]
fn what_is_no_server_is_a_mistake() {
    for url in ["localhost:8000", "https://example.org", "file:///tmp"] {
        let (code, document) = validate(url, &["--model", "tiny"]);
        assert_eq!(code, 2, "{document:#}");
    }
}

//! Requests at a rate of their own: when they come, what is good, and what of it gates.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use crate::{running_engine::start, stand::PROGRAM};
use awqdeploy::domain::{
    measure::{Sample, prompts::PromptSource},
    profile::Arrivals,
    validation::{
        sequential::SequentialResult,
        sweep::arrivals::{OpenLoop, schedule},
    },
};
use serde_json::Value;
use std::{process::Command, time::Duration};

fn wanted(rate: f64, seconds: u64) -> Arrivals {
    Arrivals {
        rate,
        time: Duration::from_secs(seconds),
        max_ttft_ms: Some(200.0),
        max_tpot_ms: Some(20.0),
        max_e2el_ms: None,
        min_goodput: Some(0.8),
    }
}

#[test]
fn requests_come_by_chance_and_the_same_again() {
    let times = schedule(&wanted(4.0, 100), PromptSource::NOW);
    assert_eq!(times, schedule(&wanted(4.0, 100), PromptSource::NOW));
    assert_eq!(times.len(), 400);
    assert!(times.is_sorted() && times[0].is_zero());
    assert!((times[399].as_secs_f64() - 99.75).abs() < 1e-6, "the rate is kept: {:?}", times[399]);
    // As often close together as a Poisson process has them: 63 % of waits are shorter than the mean.
    let waits = times.windows(2).map(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64());
    let short = waits.filter(|wait| *wait < 0.25).count();
    assert!((230..=275).contains(&short), "{short} of 399");
    assert_eq!(schedule(&wanted(0.001, 1), PromptSource::NOW), [Duration::ZERO]);
}

fn answered(began_ms: f64, ttft_ms: f64, tpot_ms: f64) -> Sample {
    Sample { began_ms, ttft_ms, e2el_ms: ttft_ms + 9.0 * tpot_ms, tokens: 10, ..Sample::default() }
}

#[test]
fn good_is_what_is_within_all_limits() {
    let samples =
        vec![answered(500.0, 100.0, 30.0), answered(0.0, 100.0, 10.0), answered(880.0, 300.0, 10.0)];
    let seen = OpenLoop::of(&wanted(4.0, 1), samples, &["status 503".to_owned()], 1.5);
    assert_eq!((seen.completed, seen.failed, seen.good), (3, 1, 0.25));
    assert_eq!((seen.duration, seen.request_goodput), (1.27, 1.0 / 1.27));
    assert_eq!(seen.max_concurrent_requests, 1, "each ends before the next begins");
    assert_eq!(seen.failure.as_deref(), Some("status 503"));
    assert_eq!(seen.against(0.9), SequentialResult::Below);
    assert_eq!(seen.against(0.5), SequentialResult::Open);
    let all: Vec<Sample> = (0..60).map(|n| answered(f64::from(n) * 50.0, 100.0, 10.0)).collect();
    let fast = OpenLoop::of(&wanted(20.0, 3), all, &[], 0.0);
    assert_eq!((fast.against(0.9), fast.good), (SequentialResult::Above, 1.0));
    assert_eq!(fast.max_concurrent_requests, 4, "of 190 ms each, 50 ms apart");
    let none = OpenLoop::of(&wanted(4.0, 1), Vec::new(), &vec!["status 503".to_owned(); 40], 0.0);
    assert_eq!((none.good, none.against(0.8)), (0.0, SequentialResult::Below));
}

/// Runs `validate --url` with more words, and reads its document and exit status.
fn validate(address: &str, more: &[&str]) -> (i32, Value) {
    let url = format!("http://{address}");
    let output = Command::new(PROGRAM)
        .args(["validate", "--url", &url, "--model", "tiny", "--json", "--progress", "none"])
        .args(more)
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), document)
}

#[test]
fn a_rate_is_measured_and_may_gate() {
    let engine = start(2000.0, None);
    let address = engine.address.to_string();
    let rate = ["--rate", "20", "--rate-time", "2"];
    let (code, document) = validate(&address, &[&rate[..], &["--min-goodput", "0.8"]].concat());
    assert_eq!(code, 0, "{document:#}");
    let seen = &document["arrivals"];
    assert_eq!((seen["completed"].as_u64(), seen["failed"].as_u64()), (Some(40), Some(0)), "{seen:#}");
    assert_eq!((seen["request_rate"].as_f64(), seen["good"].as_f64()), (Some(20.0), Some(1.0)));
    // Nobody answers within a microsecond.
    let limit = ["--min-goodput", "0.8", "--max-ttft-ms", "0.001"];
    let (code, document) = validate(&address, &[&rate[..], &limit].concat());
    assert_eq!((code, document["verdict"].as_str()), (6, Some("fail")), "{document:#}");
    let why = document["failures"][0].as_str().unwrap();
    assert!(why.starts_with("0.00 of 40 requests at 20 a second (95 %: 0.00 to 0.0"), "{why}");
    assert!(why.ends_with("got a good answer, below 0.8"), "{why}");
    // A share that 40 requests cannot show is a mistake.
    let (code, document) = validate(&address, &[&rate[..], &["--min-goodput", "0.99"]].concat());
    assert_eq!(code, 2, "{document:#}");
}

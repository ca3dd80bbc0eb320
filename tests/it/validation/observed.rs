//! A running engine against its plan: what its log says, and what is made of it.

use crate::inputs::{AUTO, AWQ, awq, facts, plan_of};
use awqdeploy::domain::{
    findings::{Concerns, RULES},
    planning::plan::Plan,
    size::ByteSize,
    validation::{
        observed::{Held, Observed, compare},
        report::Report,
    },
};
use insta::assert_snapshot;
use std::collections::BTreeSet;

/// A log of an H100 with 33 GiB offloaded, with the figures that the plan for one 16 GB GPU has.
const LOG: &str = "\
(APIServer pid=1) INFO 11-23 14:52:57 [model.py:547] Resolved architecture: Qwen3NextForCausalLM
(EngineCore pid=2) INFO 11-23 14:53:05 [core.py:133] Initializing a V1 LLM engine (v0.26.0) with config: kv_cache_dtype=auto
(EngineCore pid=2) INFO 11-23 14:53:06 [base.py:123] Offloader set to UVAOffloader
(EngineCore pid=2) INFO 11-23 14:53:07 [int_wna16.py:364] Using 'MARLIN' WNA16 MoE backend.
(EngineCore pid=2) INFO 11-23 14:54:07 [uva.py:59] Total CPU offloaded parameters: 32.02
(EngineCore pid=2) INFO 11-23 14:54:08 [gpu_model_runner.py:4870] Model loading took 11.13 GiB memory and 61.2 seconds
(EngineCore pid=2) INFO 11-23 14:55:08 [gpu_worker.py:390] Available KV cache memory: 1.41 GiB
(EngineCore pid=2) INFO 11-23 14:55:08 [kv_cache_utils.py:2327] GPU KV cache size: 49,470 tokens, Maximum concurrency for 8,192 tokens per request: 6.04x
(EngineCore pid=2) INFO 11-23 14:55:12 [gpu_model_runner.py:5000] Graph capturing finished in 4 secs, took 0.13 GiB
INFO:     Application startup complete.
";

fn plan() -> Plan {
    plan_of(&awq(AUTO.0, AUTO.1), &facts("one-16gb"), None).unwrap()
}

fn codes(plan: &Plan, log: &str) -> Vec<String> {
    compare(plan, &Observed::of(log.lines())).into_iter().map(|finding| finding.code).collect()
}

#[test]
fn a_log_says_what_was_loaded() {
    let hundredths = |bytes: Option<ByteSize>| (bytes.unwrap().0 * 100).div_ceil(1 << 30);
    let actual = Observed::of(LOG.lines());
    let sizes = [actual.weights, actual.offloaded, actual.kv_cache, actual.graphs].map(hundredths);
    assert_eq!(sizes, [1113, 3202, 141, 13]);
    assert_eq!(actual.kv_cache_tokens, Some(49_470));
    assert_eq!(actual.offloader.as_deref(), Some("UVAOffloader"));
    assert_eq!(actual.experts_kernel.as_deref(), Some("MARLIN"));
    // A real start of the CPU build.
    let started = Observed::of(include_str!("../../fixtures/vllm-logs/started.txt").lines());
    assert_eq!((started.kv_cache_tokens, started.weights), (Some(14_336), None));
    assert_eq!(Observed::of(["", "Model loading took much GiB", "KV cache size: "]), Observed::default());
}

#[test]
fn an_engine_that_did_as_planned_has_no_findings() {
    assert_eq!(codes(&plan(), LOG), [""; 0]);
    assert_eq!(codes(&plan(), ""), [""; 0], "a log that says nothing accuses nobody");
}

#[test]
fn each_difference_is_found_and_offload_fails_the_validation() {
    let mut triggered = BTreeSet::new();
    for (from, to, code) in [
        ("UVAOffloader", "NoopOffloader", "offload-not-as-planned"),
        ("Offloader set to UVAOffloader", "", "offload-not-as-planned"),
        ("parameters: 32.02", "parameters: 12.00", "offload-not-as-planned"),
        ("took 11.13 GiB", "took 13.45 GiB", "weights-not-as-planned"),
        ("size: 49,470", "size: 40,960", "cache-smaller-than-planned"),
        ("'MARLIN'", "'TRITON'", "fallback-kernel"),
    ] {
        assert!(LOG.contains(from));
        assert_eq!(codes(&plan(), &LOG.replace(from, to)), [code], "{to}");
        triggered.insert(code);
    }
    for (vram, ram, code) in [(17, 1, "vram-not-as-planned"), (1, 80, "ram-not-as-planned")] {
        let held = Held { vram: vec![ByteSize::gib(1), ByteSize::gib(vram)], ram: Some(ByteSize::gib(ram)) };
        let found = compare(&plan(), &Observed::of(LOG.lines()).with(held));
        let found: Vec<_> = found.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(found, [code]);
        triggered.insert(code);
    }
    let rules = RULES.iter().filter(|rule| rule.concerns == Concerns::Engine).map(|rule| rule.code);
    assert_eq!(triggered, rules.collect());
    let silent = LOG.replace("UVAOffloader", "NoopOffloader").replace("took 11.13", "took 42.80");
    let report = held_against(&silent);
    assert!(!report.passed());
    assert_snapshot!(report.failures.join("\n"), @"31.6 GiB were to be offloaded, and vLLM's offloader is `NoopOffloader`");
    assert_eq!(report.findings.len(), 2, "the weights are told too, and fail nothing by themselves");
    assert!(held_against(&LOG.replace("'MARLIN'", "'TRITON'")).passed());
}

/// A report that had passed, with this log.
fn held_against(log: &str) -> Report {
    let mut report = Report { profile: "awq".to_owned(), ..Report::default() };
    report.held_against(&plan(), Observed::of(log.lines()));
    let stored = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&stored).unwrap(), report, "it is kept whole");
    report
}

#[test]
fn nothing_is_compared_that_was_not_planned_or_not_loaded() {
    let four = plan_of(AWQ, &facts("four-16gb"), None).unwrap();
    let log = LOG.replace("Offloader set to UVAOffloader", "").replace("49,470", "120,000");
    let log = log.replace("11.13", "10.93");
    assert_eq!(codes(&four, &log), [""; 0], "10.8 GiB a rank, and nothing to offload");
    let rehearsed = LOG.replace("(v0.26.0)", "(rehearsal)").replace("11.13", "0.01");
    assert_eq!(codes(&plan(), &rehearsed), [""; 0]);
}

#[test]
fn a_profile_says_how_far_the_engine_may_be() {
    let strict = |table: &str| {
        let text = format!("{}\n[tolerances]\n{table}\n", awq(AUTO.0, AUTO.1));
        let plan = plan_of(&text, &facts("one-16gb"), None).unwrap();
        let held = Held { vram: vec![ByteSize::gib(15)], ram: Some(ByteSize::gib(40)) };
        let found = compare(&plan, &Observed::of(LOG.lines()).with(held));
        found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(strict(""), [""; 0]);
    assert_eq!(strict("weights = 0.0"), ["weights-not-as-planned"]);
    assert_eq!(strict("ram = 0.0"), ["ram-not-as-planned"]);
    assert_eq!(strict("vram = 0.0"), ["vram-not-as-planned"]);
    let log = LOG.replace("size: 49,470", "size: 44,000");
    let lax = plan_of(
        &format!("{}\n[tolerances]\nkv-cache = 0.2\n", awq(AUTO.0, AUTO.1)),
        &facts("one-16gb"),
        None,
    );
    assert_eq!(codes(&plan(), &log), ["cache-smaller-than-planned"]);
    assert_eq!(codes(&lax.unwrap(), &log), [""; 0]);
}

#[test]
fn what_was_planned_is_kept_beside_what_was_seen() {
    let report = held_against(LOG);
    let shown: Vec<_> = report
        .figures
        .iter()
        .map(|figure| format!("{} {:.3e} {:.3e}", figure.name, figure.planned, figure.seen))
        .collect();
    assert_snapshot!(shown.join("\n"), @"
    weights_on_gpu_bytes 1.204e10 1.195e10
    offloaded_bytes 3.397e10 3.438e10
    kv_cache_bytes 1.499e9 1.514e9
    kv_cache_tokens 4.829e4 4.947e4
    ");
}

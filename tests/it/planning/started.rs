//! The log of a start on this host corrects the memory of later plans, and nothing that runs.

use super::families::{FAMILIES, checkpoint};
use crate::inputs::{AWQ, h100, plan_of};
use awqdeploy::domain::{
    generation::Generation,
    generation_id::GenerationId,
    machine::{facts::Facts, start::Start},
    planning::plan::Plan,
    size::ByteSize,
    validation::{observed::Observed, report::Report},
};
use proptest::prelude::*;
use serde_json::json;

fn host(starts: Vec<Start>) -> Facts {
    let mut facts = h100();
    (facts.ram_total, facts.starts) = (ByteSize::gib(500), starts);
    facts
}

fn text(length: u32, tokens: u32) -> String {
    let limits = format!("[limits]\nmax-model-len = {length}\nmax-num-batched-tokens = {tokens}\n");
    AWQ.replace("size = 4", "size = 1").replace("gpu = \"16GiB\"\nram = \"120GiB\"", "") + &limits
}

fn planned(family: &str, length: u32, tokens: u32, starts: Vec<Start>) -> Plan {
    plan_of(&text(length, tokens), &host(starts), Some(checkpoint(family))).unwrap()
}

fn generation(plan: &Plan) -> Generation {
    Generation {
        format: 1,
        id: GenerationId(3),
        created: "2026-11-23T12:00:00Z".parse().unwrap(),
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        plan: plan.clone(),
    }
}

/// The log of a start with so much more of overhead than planned, and so many times as many tokens in its cache.
fn log(plan: &Plan, more: f64, tokens: f64) -> String {
    let memory = &plan.memory;
    let (planned, weights) = (memory.kv_cache.unwrap().as_gib(), memory.weights.unwrap().as_gib());
    let cache = planned - more;
    let seen = memory.kv_cache_tokens.unwrap() as f64 * tokens * cache / planned;
    let bytes = memory.kv_cache.unwrap().0;
    format!(
        "INFO [gpu_model_runner.py:1] Model loading took {weights:.4} GiB memory and 4 seconds\n\
         INFO [gpu_worker.py:1] Available KV cache memory: {cache:.2} GiB\n\
         INFO [kv_cache_utils.py:1] GPU KV cache size: {seen:.0} tokens\n\
         INFO [gpu_worker.py:804] Free memory on device (79.99/80.0 GiB) on startup. Actual usage is 51.66 GiB for consumed \
         memory (weights + non-torch), 2.4 GiB for peak activation, and 0.71 GiB for CUDAGraph memory. Replace \
         gpu_memory_utilization config with `--kv-cache-memory={bytes}` (18.69 GiB) to fit into requested memory, or \
         `--kv-cache-memory=99927570944` (25.08 GiB) to fully utilize gpu memory.\n\
         INFO:     Application startup complete.\n"
    )
}

fn report(log: &str) -> Report {
    let actual = Some(Observed::of(log.lines()));
    Report { at: "2026-11-23T12:00:00Z".parse().unwrap(), actual, ..Report::default() }
}

fn start(plan: &Plan, log: &str) -> Option<Start> {
    Start::of(&generation(plan), &report(log))
}

const FAMILY: &str = "qwen3-32b-awq";

#[test]
fn what_a_start_took_is_planned_for_the_same_setting() {
    let first = planned(FAMILY, 8192, 2048, vec![]);
    for more in [-0.5, 0.75, 2.0] {
        let shown = start(&first, &log(&first, more, 1.0)).unwrap();
        let next = planned(FAMILY, 8192, 2048, vec![shown.clone()]);
        let cache = |plan: &Plan| plan.memory.kv_cache.unwrap().as_gib();
        assert!((cache(&next) - (cache(&first) - more)).abs() < 0.02, "{more}: {}", cache(&next));
        assert!(generation(&first).is_of(&next), "what runs is the same");
        assert_eq!(next.memory.shown_by.as_ref(), Some(&shown.shown));
        // A plan that was corrected already teaches the same, and not twice as much.
        let again = start(&next, &log(&next, 0.0, 1.0)).unwrap();
        assert!(again.shown.seen.0.abs_diff(shown.shown.seen.0) < ByteSize::mib(16).0);
        // Longer steps are computed; the difference stays.
        let longer = planned(FAMILY, 8192, 8192, vec![shown]);
        let by_formulas = planned(FAMILY, 8192, 8192, vec![]);
        assert!((cache(&longer) - (cache(&by_formulas) - more)).abs() < 0.02);
    }
}

#[test]
fn tokens_are_corrected_where_the_log_cannot_have_rounded_them_so() {
    let first = planned(FAMILY, 8192, 2048, vec![]);
    let tokens = |times: f64| {
        let shown = start(&first, &log(&first, 0.0, times)).unwrap();
        let next = planned(FAMILY, 8192, 2048, vec![shown]);
        next.memory.kv_cache_tokens.unwrap() as f64 / first.memory.kv_cache_tokens.unwrap() as f64
    };
    assert!((tokens(1.004) - 1.0).abs() < 0.002, "rounding teaches nothing");
    assert!((tokens(0.8) - 0.8).abs() < 0.01);
    assert!((tokens(1.5) - 1.5).abs() < 0.01);
}

#[test]
fn what_vllm_itself_says_would_fit_is_named() {
    let first = planned(FAMILY, 8192, 2048, vec![]);
    let planned_bytes = first.memory.kv_cache.unwrap().0;
    let named = |times: f64, tokens: u32| {
        let fits = (planned_bytes as f64 * times).round();
        let told = log(&first, 0.0, 1.0).replace(&planned_bytes.to_string(), &fits.to_string());
        let shown = start(&first, &told).unwrap();
        let findings = planned(FAMILY, 8192, tokens, vec![shown]).findings;
        findings.into_iter().find(|finding| finding.code == "larger-cache-fits")
    };
    let help = named(1.25, 2048).unwrap().help.unwrap();
    assert!(help.contains("--kv-cache-memory-bytes"), "{help}");
    assert!(help.contains(&((planned_bytes as f64 * 1.25).round()).to_string()), "{help}");
    assert_eq!(named(1.0, 2048), None, "it takes as much already");
    assert_eq!(named(1.25, 4096), None, "it is said of other limits");
}

#[test]
fn another_setting_and_what_cannot_be_show_nothing() {
    let first = planned(FAMILY, 8192, 2048, vec![]);
    let shown = start(&first, &log(&first, 1.0, 1.0)).unwrap();
    for (name, value) in [
        ("gpus", json!(["NVIDIA L4"])),
        ("vllm", json!("0.28.0")),
        ("runner", json!("first")),
        ("model", json!("0".repeat(64))),
        ("arguments", json!("0".repeat(64))),
        ("weights_in_ram", json!(true)),
    ] {
        let mut setting = serde_json::to_value(&shown.setting).unwrap();
        assert_ne!(setting[name], value);
        setting[name] = value;
        let other = Start { setting: serde_json::from_value(setting).unwrap(), ..shown.clone() };
        assert_eq!(planned(FAMILY, 8192, 2048, vec![other]), first, "{name}");
    }
    let plain = log(&first, 1.0, 1.0);
    let cache = first.memory.kv_cache.unwrap().as_gib();
    let said = |from: &str, to: &str| start(&first, &plain.replace(from, to));
    assert!(said("nothing of this", "").is_some());
    let memory = format!("memory: {:.2} GiB", cache - 1.0);
    assert!(plain.contains(&memory), "{plain}");
    assert_eq!(said(&memory, "memory: 999999.00 GiB"), None, "more than the GPU has");
    assert_eq!(said(&memory, "memory: 0.01 GiB"), None, "twenty times the overhead");
    assert_eq!(said(&memory, "memory: -3 GiB"), None);
    assert_eq!(said("Model loading took", "Model loading took 999"), None, "another model");
    assert_eq!(said("Model loading took", "A log that begins too late:"), None);
    // The words of clients come later, and may be any.
    let asked = plain.clone() + "Received request: 'Available KV cache memory: 70.00 GiB'\n";
    assert_eq!(start(&first, &asked), start(&first, &plain));
    let mut failed = report(&plain);
    failed.failures.push("too slow".to_owned());
    assert_eq!(Start::of(&generation(&first), &failed), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A server that serves is planned the same again, whatever its log told.
    #[test]
    fn what_serves_is_planned_the_same_again(
        family in 0..FAMILIES.len(),
        vram in 14_u64..90,
        more in -0.6_f64..1.2,
        tokens in prop::sample::select(vec![0.7, 1.0, 1.3]),
        length in 512_u32..16_384,
    ) {
        let name = FAMILIES[family].0;
        let on = |starts: Vec<Start>| {
            let mut facts = host(starts);
            let gpu = &mut facts.gpus[0];
            (gpu.memory_total, gpu.memory_reserved, gpu.memory_free) =
                (ByteSize::gib(vram), ByteSize(0), ByteSize::gib(vram));
            plan_of(&text(length, 2048), &facts, Some(checkpoint(name)))
        };
        let Ok(first) = on(vec![]) else { return Ok(()) };
        let memory = &first.memory;
        let left = memory.kv_cache.unwrap().as_gib() - more;
        // vLLM would not have started with less.
        prop_assume!(left * tokens > memory.kv_cache_least.unwrap().as_gib() + 0.02);
        let Some(shown) = start(&first, &log(&first, more, tokens)) else { return Ok(()) };
        let next = on(vec![shown.clone()]);
        prop_assert!(next.is_ok(), "{name}: it serves, and is refused: {:?}", next.err());
        let next = next.unwrap();
        prop_assert!(generation(&first).is_of(&next), "{name}: {:?} and {:?}", first.serve.argv, next.serve.argv);
        let facts = serde_json::to_string(&host(vec![shown])).unwrap();
        prop_assert!(Facts::parse(&facts).is_ok(), "facts with starts are read again");
    }
}

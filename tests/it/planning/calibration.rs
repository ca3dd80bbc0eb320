//! A measurement of a host corrects what is predicted for it, and nothing else of a plan.

use crate::{
    inputs::{AUTO, AWQ, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        activation::machine::{Activation, Cause, End, State},
        generation::Generation,
        generation_id::GenerationId,
        machine::{calibration::Calibration, facts::Facts},
        measure::Throughput,
        planning::{plan::Plan, prediction::Decode},
        store::layout::Layout,
        validation::{observed::Observed, report::Report},
    },
    host::store::{Evidence, Store},
};
use serde_json::{Value, json};
use std::{path::Path, process::Command, time::Duration};

const NOON: &str = "2026-11-23T12:00:00Z";

fn plan_with(calibrations: Vec<Calibration>) -> Plan {
    plan_of(&awq(AUTO.0, AUTO.1), &Facts { calibrations, ..facts("one-16gb") }, None).unwrap()
}

fn decode(plan: &Plan) -> Decode {
    plan.prediction.decode_tokens_per_second.clone().unwrap()
}

/// A passed validation that measured so many tokens/s.
fn report(at: &str, measured: f64) -> Report {
    let interval = json!({"median": measured, "low": measured, "high": measured, "n": 1});
    let throughput: Throughput = serde_json::from_value(json!({
        "requests": 1, "output_tokens": 1, "decode_tokens_per_second": interval, "ttft_ms": interval,
        "tpot_ms": interval, "itl_ms": interval, "e2el_ms": interval,
    }))
    .unwrap();
    let actual = Some(Observed::default());
    Report { at: at.parse().unwrap(), throughput: Some(throughput), actual, ..Report::default() }
}

fn generation(plan: &Plan) -> Generation {
    Generation {
        format: 1,
        id: GenerationId(3),
        created: NOON.parse().unwrap(),
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        plan: plan.clone(),
    }
}

/// The knowledge after this plan was measured at so many tokens/s.
fn shown(plan: &Plan, measured: f64) -> Calibration {
    Calibration::of(&generation(plan), &report(NOON, measured)).unwrap()
}

#[test]
fn what_was_measured_here_is_predicted_for_the_same_setting() {
    let first = plan_with(vec![]);
    let before = decode(&first);
    for measured in [before.expected * 0.8, before.expected * 1.3, before.ceiling * 1.1] {
        let next = plan_with(vec![shown(&first, measured)]);
        let after = decode(&next);
        assert!((after.expected / measured - 1.0).abs() < 1e-9, "{after:?}");
        assert!((after.computed() / before.expected - 1.0).abs() < 1e-9, "what is computed stays known");
        assert!(after.low < after.expected && after.expected <= after.ceiling, "{after:?}");
        // The next correction is of what is computed, not of what was corrected: it does not add up.
        assert_eq!(
            decode(&plan_with(vec![shown(&next, measured)])).expected.to_bits(),
            decode(&plan_with(vec![shown(&first, measured)])).expected.to_bits()
        );
    }
    let slow = plan_with(vec![shown(&first, 3.0)]);
    assert!(
        slow.findings.iter().any(|finding| finding.code == "predicted-too-slow"),
        "a rule asks for it too"
    );
}

#[test]
fn the_other_quantisation_learns_from_it() {
    let gptq = awq(AUTO.0, AUTO.1).replace(
        "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit",
        "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ",
    );
    let old = plan_of(&gptq, &facts("one-16gb"), None).unwrap();
    let half = decode(&old).expected / 2.0;
    let after = decode(&plan_with(vec![shown(&old, half)]));
    let before = decode(&plan_with(vec![]));
    assert!(before.expected / 2.0 - after.expected < 1e-9 && after.corrected_by.is_some(), "{after:?}");
}

#[test]
fn another_setting_says_nothing() {
    let before = plan_with(vec![]);
    let shown = shown(&before, 5.0);
    assert!(decode(&plan_with(vec![shown.clone()])).corrected_by.is_some());
    let other = |name: &str, value: Value| {
        let mut setting = serde_json::to_value(&shown.setting).unwrap();
        assert_ne!(setting[name], value);
        setting[name] = value;
        Calibration { setting: serde_json::from_value(setting).unwrap(), ..shown.clone() }
    };
    for other in [
        other("gpus", json!(["NVIDIA L4"])),
        other("gpus", json!([shown.setting.gpus[0], shown.setting.gpus[0]])),
        other("vllm", json!("0.28.0")),
        other("architecture", json!("LlamaForCausalLM")),
        other("limited_by", json!("fixed-work")),
        other("rates", json!("probe")),
        other("arguments", json!("0".repeat(64))),
    ] {
        assert_eq!(plan_with(vec![other.clone()]), before, "{other:?}");
    }
    // Arguments of one's own may change how anything is computed.
    let eager = awq(AUTO.0, AUTO.1).replace("\"vllm\"]", "\"vllm\", \"--enforce-eager\"]");
    let eager = plan_of(&eager, &Facts { calibrations: vec![shown], ..facts("one-16gb") }, None).unwrap();
    assert_eq!(decode(&eager).corrected_by, None);
}

#[test]
fn the_newest_counts_and_what_cannot_be_does_not() {
    let plan = plan_with(vec![]);
    let of = |at: &str, measured: f64| Calibration::of(&generation(&plan), &report(at, measured)).unwrap();
    let (old, new) = (of(NOON, 5.0), of("2026-11-24T12:00:00Z", 6.0));
    for order in [vec![old.clone(), new.clone()], vec![new, old]] {
        assert!((decode(&plan_with(order)).expected - 6.0).abs() < 1e-9);
    }
    for measured in [0.0, -3.0, 0.001, 1e9] {
        assert_eq!(plan_with(vec![of(NOON, measured)]), plan, "{measured} tokens/s are not believed");
    }
}

#[test]
fn a_rehearsal_a_failure_and_an_older_generation_show_nothing() {
    let plan = plan_with(vec![]);
    let of = |plan: &Plan, change: &dyn Fn(&mut Report)| {
        let mut report = report(NOON, 5.0);
        change(&mut report);
        Calibration::of(&generation(plan), &report)
    };
    assert!(of(&plan, &|_| {}).is_some());
    assert_eq!(of(&plan, &|report| report.failures.push("too slow".to_owned())), None);
    assert_eq!(of(&plan, &|report| report.throughput = None), None);
    assert_eq!(of(&plan, &|report| report.actual = None), None);
    assert_eq!(
        of(&plan, &|report| report.actual = Some(Observed { rehearsed: true, ..Observed::default() })),
        None
    );
    let mut stored = serde_json::to_value(&plan).unwrap();
    stored["prediction"].as_object_mut().unwrap().remove("setting");
    stored["prediction"]["decode_tokens_per_second"].as_object_mut().unwrap().remove("corrected_by");
    assert_eq!(of(&serde_json::from_value(stored).unwrap(), &|_| {}), None, "it is still readable");
}

#[test]
fn what_is_only_told_makes_no_other_generation() {
    let first = plan_with(vec![]);
    let next = plan_with(vec![shown(&first, 3.0)]);
    assert!(next != first && generation(&first).is_of(&next), "a second `deploy` of it has nothing to do");
    let four = plan_of(AWQ, &facts("four-16gb"), None).unwrap();
    assert!(!generation(&first).is_of(&four));
}

/// Activates the plan, which is measured at so many tokens/s, and ends so.
fn activate(store: &Store, plan: &Plan, end: End, at: &str, measured: f64) {
    let writer = store.writer(Duration::ZERO, "a test").unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_awqdeploy"));
    let id = writer.add_generation(plan.clone(), "# the profile\n", binary).unwrap();
    let (number, mut journal) = writer.begin_activation().unwrap();
    journal.record(&Activation { state: State::Done { end }, ..Activation::new(None, id) }).unwrap();
    writer.keep_report(number, Evidence::Candidate, &report(at, measured)).unwrap();
}

#[test]
fn the_newest_that_was_committed_is_what_the_store_has_shown() {
    let folder = tempdir().unwrap();
    let store = Store::new(Layout::new(folder.path().join("root")));
    assert_eq!(store.calibrations().unwrap(), [], "nothing was ever deployed");
    let (one, four) = (plan_with(vec![]), plan_of(AWQ, &facts("four-16gb"), None).unwrap());
    activate(&store, &one, End::Committed, NOON, 11.0);
    activate(&store, &four, End::Committed, NOON, 100.0);
    activate(&store, &one, End::Committed, "2026-11-24T12:00:00Z", 12.0);
    let back = End::RolledBack { cause: Cause::Degraded { why: "it crashed".to_owned() } };
    activate(&store, &one, back, "2026-11-25T12:00:00Z", 13.0);
    let told = |found: &[Calibration]| -> Vec<_> {
        let line = |one: &Calibration| {
            let Calibration { setting, measurement } = one;
            format!(
                "{} × {}, generation {}",
                measurement.measured,
                setting.gpus.len(),
                measurement.generation
            )
        };
        found.iter().map(line).collect()
    };
    let found = store.calibrations().unwrap();
    assert_eq!(told(&found), ["12 × 1, generation 3", "100 × 4, generation 2"]);
    // A generation that was collected shows nothing any more.
    std::fs::remove_dir_all(store.layout().generation(GenerationId(3))).unwrap();
    assert_eq!(told(&store.calibrations().unwrap()), ["100 × 4, generation 2", "11 × 1, generation 1"]);

    let root = folder.path().join("root");
    let printed: Value =
        serde_json::from_str(&program(&["facts", "--root", root.to_str().unwrap()])).unwrap();
    assert_eq!(told(&serde_json::from_value::<Vec<_>>(printed["experience"].clone()).unwrap()).len(), 2);
}

/// The output of the program, with the shipped profiles.
fn program(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_awqdeploy"));
    command.args(["--profiles", concat!(env!("CARGO_MANIFEST_DIR"), "/profiles")]).args(arguments);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn facts_that_are_replayed_elsewhere_correct_it_too_and_it_says_by_what() {
    let facts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts/one-16gb-shown.json");
    let text = program(&["plan", "awq", "--facts", facts]);
    let (_, after) = text.split_once("  predicted").unwrap();
    let (shown, _) = after.split_once("  first token").unwrap();
    let page = include_str!("../../../docs/planning.md");
    assert!(
        page.contains(&format!("```text\n  predicted{shown}```")),
        "docs/planning.md does not show:{shown}"
    );
}

#[test]
fn a_plan_says_how_each_number_is_known() {
    let at = |facts: &str| format!("{}/tests/fixtures/facts/{facts}.json", env!("CARGO_MANIFEST_DIR"));
    let said = |facts: &str| -> Value {
        let text = program(&["plan", "awq", "--facts", &at(facts), "--json"]);
        serde_json::from_str(&text).unwrap()
    };
    let (table, shown) = (said("one-16gb"), said("one-16gb-shown"));
    let rate = "decode_tokens_per_second";
    assert_eq!([&table["basis"][rate], &shown["basis"][rate]], ["estimated", "measured"]);
    for (number, known) in [("weights", "computed"), ("overhead", "estimated"), ("kv_cache", "estimated")] {
        assert_eq!(table["basis"][number], known, "{number}");
    }
    let text = program(&["plan", "awq", "--facts", &at("one-16gb")]);
    let row = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    assert!(row("weights").ends_with(" (computed)") && row("RAM in all").ends_with(" (estimated)"), "{text}");
}

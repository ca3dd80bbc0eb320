//! A probe's measurement counts more than a table; a figure that it cannot have measured does not count.

use crate::{
    inputs::{AUTO, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        machine::{
            calibration::RatesFrom,
            facts::{Facts, MeasuredRates},
        },
        planning::prediction::Decode,
        problem::Kind,
        store::layout::Layout,
    },
    host::vllm::link_probe,
};
use insta::assert_snapshot;
use std::process::Command;

fn one(rates: Option<MeasuredRates>) -> Decode {
    let mut facts = facts("one-16gb");
    facts.gpus[0].measured = rates;
    let plan = plan_of(&awq(AUTO.0, AUTO.1), &facts, None).unwrap();
    plan.prediction.decode_tokens_per_second.unwrap()
}

#[test]
fn a_measured_link_is_what_offloaded_experts_are_read_over() {
    let table = one(None);
    assert_eq!(table.rates, RatesFrom::Table);
    let probed = |read| one(Some(MeasuredRates { copy: 25e9, read, memory: 500e9 }));
    let slow = probed(Some(12e9));
    assert!(slow.expected < table.expected / 1.5, "{slow:?} against {table:?}");
    assert_eq!(slow.rates, RatesFrom::Probe);
    assert!(slow.low < slow.expected && slow.expected < slow.ceiling);
    assert!(probed(Some(2e9)).expected < 5.0, "a slow link is told before anything is stopped");
    // Without a vLLM to map pinned memory only copies are measured: the table is kept, and never above them.
    assert_eq!(probed(None).rates, RatesFrom::Table);
    let narrow = one(Some(MeasuredRates { copy: 3e9, read: None, memory: 500e9 }));
    assert!(narrow.expected < table.expected / 2.0, "{narrow:?}");
}

#[test]
fn a_card_without_a_data_sheet_is_predicted_once_it_was_probed() {
    let mut facts = facts("one-16gb");
    facts.gpus[0].name = "NVIDIA GH300 from the future".to_owned();
    let predicted = |facts: &Facts| plan_of(&awq(AUTO.0, AUTO.1), facts, None).unwrap().prediction.expected();
    assert_eq!(predicted(&facts), None);
    facts.gpus[0].measured = Some(MeasuredRates { copy: 25e9, read: Some(20e9), memory: 500e9 });
    assert!(predicted(&facts).is_some());
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(Facts::parse(&text).unwrap(), facts);
    facts.gpus[0].measured = None;
    assert!(
        !serde_json::to_string(&facts).unwrap().contains("measured"),
        "readable to those that know no probe"
    );
}

/// Stands for a Python with a torch.
fn probed(script: &str) -> Result<Facts, (Kind, String)> {
    let folder = tempdir().unwrap();
    let python = folder.path().join("python");
    let write = r#"printf %s "$1" > "$2" && chmod +x "$2""#;
    assert!(Command::new("sh").args(["-c", write, "sh", script]).arg(&python).status().unwrap().success());
    let rates = link_probe::rates(python.to_str().unwrap(), &Layout::new(folder.path()));
    let with = rates.and_then(|rates| facts("one-16gb").with_rates(&rates));
    with.map_err(|problem| (problem.kind, problem.what))
}

#[test]
fn a_probe_is_believed_within_reason() {
    let answer = |gpus: &str| format!("#!/bin/sh\necho 'a log'\necho 'awqdeploy-answer [{gpus}]'\n");
    let gpu = r#"{"copy": 25e9, "read": null, "memory": 5e11}"#;
    let found = probed(&answer(gpu)).unwrap();
    assert_eq!(found.gpus[0].measured, Some(MeasuredRates { copy: 25e9, read: None, memory: 5e11 }));
    let why = |script: &str| probed(script).unwrap_err().1;
    assert_snapshot!(why(&answer(&format!("{gpu},{gpu}"))), @"the probe saw 2 GPUs, and the driver lists 1");
    assert_snapshot!(why(&answer(&gpu.replace("25e9", "0.0"))), @"the probe measured impossible rates of `NVIDIA GeForce RTX 4090 Laptop GPU`: MeasuredRates { copy: 0.0, read: None, memory: 500000000000.0 }");
    assert_snapshot!(why("#!/bin/sh\necho 'torch sees no GPU' >&2; exit 1\n"), @"the GPUs could not be probed");
    assert_snapshot!(why("#!/bin/sh\n"), @"cannot read the probe's answer");
}

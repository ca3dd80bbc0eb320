//! Plans for models, flags, variables and cards as people have them: each line is one of a kind that was planned wrongly once.

use crate::{as_vllm::all, inputs::plan_of};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, config::ConfigFiles},
    machine::facts::Facts,
    size::ByteSize,
    vllm::arguments::Arguments,
};
use serde_json::{Value, json};
use std::fmt::Write;

/// A card by its number in the shops.
fn card(name: &str) -> Value {
    let (gib, capability) = match name {
        "1030" => (2, [6, 1]),
        "3090" => (24, [8, 6]),
        _ => (24, [8, 9]),
    };
    let bytes = gib * (1_u64 << 30);
    json!({"name": format!("NVIDIA GeForce {name}"), "memory_total": bytes, "memory_free": bytes - (400 << 20),
        "compute_capability": capability, "pcie_generation": 4, "pcie_width": 16})
}

fn host(cards: &[&str]) -> Facts {
    let cards: Vec<_> = cards.iter().map(|name| card(name)).collect();
    let ram = 128 * (1_u64 << 30);
    serde_json::from_value(
        json!({"gpus": cards, "driver": "580.95.05", "gpus_unknown": null, "ram_total": ram,
        "ram_available": ram / 100 * 93, "cpus": 32}),
    )
    .unwrap()
}

/// One configuration of `tests/fixtures/wild`, on one 4090, in vLLM 0.26.0, if nothing else is said.
struct Case {
    model: &'static str,
    cards: &'static [&'static str],
    vllm: &'static str,
    ranks: &'static str,
    context: u32,
    arguments: &'static [&'static str],
    more: &'static str,
}

const USUAL: Case = Case {
    model: "quantization-config",
    cards: &["4090"],
    vllm: "0.26.0",
    ranks: "1",
    context: 8192,
    arguments: &[],
    more: "",
};

impl Case {
    /// Ranks, weights of one, and the findings that speak of memory or speed; or why there is no plan.
    fn planned(&self) -> String {
        let found = all().into_iter().find(|one| one.name == self.model).unwrap();
        let mut files = ConfigFiles::alone(&found.files["config.json"]);
        files.beside = found.files;
        let arguments: Vec<_> = self.arguments.iter().map(ToString::to_string).collect();
        files.overrides = Arguments::of(&arguments).overrides().clone();
        let checkpoint = Checkpoint::of_files(&files, Some(ByteSize::gib(8))).unwrap();
        let Self { vllm, ranks, context, more, .. } = self;
        let text = format!(
            "service = 'vllm'\n[model]\nrepo = 'owner/model'\nserved-name = 'm'\n[runtime]\nvllm = '{vllm}'\n\
             python = '/usr/bin/python3'\n[parallelism]\ntensor-parallel-size = {ranks}\n[limits]\n\
             max-model-len = {context}\nmax-num-seqs = 2\n[vllm]\narguments = {}\n{more}\n",
            json!(arguments)
        );
        match plan_of(&text, &host(self.cards), Some(checkpoint)) {
            Err(refusal) => refusal.code,
            Ok(plan) => {
                let budget = &plan.memory;
                let mut told = format!("TP {}, {}", budget.tensor_parallel_size, budget.weights.unwrap());
                let codes = ["sequences-wait", "without-cuda-graphs"];
                for finding in plan.findings.iter().filter(|it| codes.contains(&it.code.as_str())) {
                    let _ = write!(told, ", {}", finding.code);
                }
                told
            }
        }
    }
}

fn table(cases: &[(Case, &str)]) {
    for (case, wanted) in cases {
        assert_eq!(case.planned(), *wanted, "{}, {:?} {}", case.model, case.arguments, case.more);
    }
}

/// Two sequences of 65,536 tokens fit in 8 bits, and not in 16.
#[test]
fn the_width_of_the_cache_is_what_flag_and_checkpoint_say() {
    let long = |model, arguments| Case { model, arguments, context: 65_536, ..USUAL };
    let (fits, waits) = ("TP 1, 5.3 GiB", "TP 1, 5.3 GiB, sequences-wait");
    let four_bits = "quantization-config";
    table(&[
        (long(four_bits, &[]), waits),
        (long(four_bits, &["--kv-cache-dtype", "fp8"]), fits),
        (long(four_bits, &["--kv_cache_dtype=fp8_e4m3"]), fits),
        (long(four_bits, &["--kv-cache-dtype", "bfloat16"]), waits),
        (long("kv-cache-scheme", &[]), fits),
        (long("kv-cache-scheme", &["--kv-cache-dtype", "bfloat16"]), waits),
        (Case { arguments: &["--kv-cache-memory-bytes", "2G"], ..USUAL }, fits),
        (Case { arguments: &["--kv-cache-memory-bytes", "512M"], ..USUAL }, waits),
    ]);
}

#[test]
fn ram_that_a_flag_pins_is_counted() {
    let pins = |arguments| Case { arguments, more: "[memory]\nram = '32GiB'", ..USUAL };
    table(&[
        (pins(&["--kv-offloading-size", "64", "--kv-offloading-backend", "native"]), "ram-does-not-fit"),
        (pins(&["--kv_offloading_size=64"]), "ram-does-not-fit"),
        (pins(&["--kv-offloading-size", "8"]), "TP 1, 5.3 GiB"),
    ]);
}

/// Before 0.32 vLLM stretches by `YaRN`'s factor what `config.json` says; from then on it takes that as it is.
#[test]
fn a_context_is_as_long_as_this_vllm_allows() {
    let long = |model, vllm, arguments| Case { model, vllm, arguments, context: 65_536, ..USUAL };
    let (taken, refused) = ("TP 1, 14.2 GiB, sequences-wait", "context-exceeds-model");
    let overrides: &[&str] = &["--hf-overrides", r#"{"max_position_embeddings": 65536}"#];
    table(&[
        (long("scaling-yarn-type", "0.26.0", &[]), taken),
        (long("parameters-yarn-rope-type", "0.26.0", &[]), taken),
        (long("scaling-yarn-type", "0.32.0", &[]), refused),
        (long("yarn-131072", "0.32.0", &[]), taken),
        (long("scaling-linear", "0.32.0", &[]), taken),
        (long("scaling-llama3", "0.26.0", &[]), refused),
        (long("scaling-null", "0.26.0", &[]), refused),
        (long("scaling-null", "0.26.0", overrides), taken),
    ]);
}

#[test]
fn a_quantisation_counts_wherever_it_is_named() {
    let with = |model, vllm, arguments| Case { model, vllm, arguments, ..USUAL };
    table(&[
        (with("compression-config", "0.26.0", &["--quantization", "gptq_marlin"]), "quantization-argument"),
        (with("compression-config", "0.26.0", &["-q", "compressed-tensors"]), "TP 1, 5.3 GiB"),
        (with("modelopt-nvfp4-beside", "0.26.0", &["--quantization", "awq"]), "quantization-argument"),
        (with("quantize-beside", "0.32.0", &["--quantization", "gptq"]), "gptq-activation-order"),
        (with("quantize-beside", "0.26.0", &["--quantization=gptq"]), "TP 1, 5.3 GiB"),
        (with("quantize-beside", "0.26.0", &[]), "quantization-not-named"),
        (with("gptq-desc-act", "0.32.0", &[]), "gptq-activation-order"),
        (with("awq-w-bit", "0.26.0", &[]), "TP 1, 5.4 GiB"),
        (with("infinity", "0.26.0", &[]), "TP 1, 5.3 GiB"),
        (with("kv-cache-only", "0.26.0", &[]), "TP 1, 15.0 GiB"),
        (with("sparse-only", "0.20.2", &[]), "TP 1, 15.0 GiB"),
        (with("sparse-only", "0.26.0", &[]), "sparsity-removed"),
        (with("sparsity-dense", "0.26.0", &[]), "TP 1, 5.3 GiB"),
    ]);
}

#[test]
fn flags_of_speed_and_of_the_api_are_seen() {
    let with = |arguments| Case { arguments, ..USUAL };
    table(&[
        (with(&["--disable-log-stats"]), "TP 1, 5.3 GiB"),
        (with(&["--max-logprobs", "0"]), "answers-not-validated"),
        (with(&["--enforce-eager"]), "TP 1, 5.3 GiB, without-cuda-graphs"),
    ]);
}

/// A card for the display comes first, and is hidden from vLLM.
#[test]
fn only_cards_that_vllm_sees_are_planned_on() {
    let on = |more| Case { cards: &["1030", "4090", "4090"], ranks: "2", more, ..USUAL };
    table(&[
        (on("[vllm.environment]\nCUDA_VISIBLE_DEVICES = '1,2'"), "TP 2, 2.7 GiB"),
        (on("[vllm.environment]\nCUDA_VISIBLE_DEVICES = '2,1'"), "TP 2, 2.7 GiB"),
        (on("[vllm.environment]\nCUDA_VISIBLE_DEVICES = '0,1'"), "compute-capability"),
        (on(""), "TP 2, 2.7 GiB"),
    ]);
    // 28 heads, of a model that is not modelled.
    let eight: &[&str] = &["3090"; 8];
    let seeing = Case { model: "qwen2-5-vl", cards: eight, ranks: "'auto'", ..USUAL };
    assert!(seeing.planned().starts_with("TP 4, "), "{}", seeing.planned());
}

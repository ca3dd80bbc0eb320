//! Plans beside what others published of the same model, cards and settings. docs/planning.md has the table.

use super::families::checkpoint;
use crate::inputs::{AWQ, facts, plan_of};
use awqdeploy::domain::{
    findings::refusal::Refusal,
    machine::facts::{Facts, Gpu},
    planning::plan::Plan,
    size::ByteSize,
};
use std::fmt::Write;

/// The figures that others saw of a start.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Ran,
    Failed,
}
use Seen::{Failed, Ran};

/// Name, VRAM in GiB, compute capability, generation of PCIe, links of NVLink.
type Card = (&'static str, f64, (u32, u32), u32, u32);

const A100: Card = ("NVIDIA A100-SXM4-80GB", 79.25, (8, 0), 4, 12);
const A100_40: Card = ("NVIDIA A100-SXM4-40GB", 39.39, (8, 0), 4, 12);
const H100: Card = ("NVIDIA H100 80GB HBM3", 79.22, (9, 0), 5, 18);
const L40S: Card = ("NVIDIA L40S", 44.42, (8, 9), 4, 0);
const RTX_3090: Card = ("NVIDIA GeForce RTX 3090", 23.58, (8, 6), 4, 0);
const RTX_3090_LINKED: Card = ("NVIDIA GeForce RTX 3090", 23.58, (8, 6), 4, 4);
const RTX_4090: Card = ("NVIDIA GeForce RTX 4090", 23.53, (8, 9), 4, 0);
const RTX_5090: Card = ("NVIDIA GeForce RTX 5090", 31.36, (12, 0), 5, 0);
const RTX_6000: Card = ("NVIDIA RTX 6000 Ada Generation", 47.37, (8, 9), 4, 0);

/// One start: weights of a rank and cache in GiB as vLLM logged them, and the rate of one stream.
struct Case {
    model: &'static str,
    card: Card,
    ranks: usize,
    share: f64,
    vllm: &'static str,
    /// `max-model-len`, `max-num-seqs`, `max-num-batched-tokens`: what was published, else vLLM's own.
    limits: [u32; 3],
    fp8_cache: bool,
    weights: Option<f64>,
    cache: Option<f64>,
    tokens: Option<f64>,
    rate: Option<f64>,
    seen: Seen,
    source: &'static str,
}

const CASE: Case = Case {
    model: "llama31-8b-bf16",
    card: H100,
    ranks: 1,
    share: 0.9,
    vllm: "0.26.0",
    limits: [8192, 1, 8192],
    fp8_cache: false,
    weights: None,
    cache: None,
    tokens: None,
    rate: None,
    seen: Ran,
    source: "",
};

/// A start whose rate was published, with vLLM's own 2,048 batched tokens.
const fn rate(model: &'static str, card: Card, ranks: usize, rate: f64) -> Case {
    let source = "a blog's table (ure.us)";
    Case { model, card, ranks, limits: [8192, 1, 2048], rate: Some(rate), source, ..CASE }
}

const CASES: [Case; 23] = [
    Case { weights: Some(14.96), cache: Some(53.29), source: "vLLM pull request 10511", ..CASE },
    Case { ranks: 2, weights: Some(7.48), cache: Some(58.97), source: "vLLM pull request 10511", ..CASE },
    Case {
        card: RTX_3090,
        limits: [20_000, 1, 20_000],
        weights: Some(14.9888),
        cache: Some(3.81),
        tokens: Some(31_232.0),
        source: "vLLM issue 10517",
        ..CASE
    },
    Case {
        model: "qwen3-4b-awq",
        card: RTX_6000,
        share: 0.85,
        limits: [2048, 1, 8192],
        cache: Some(36.88),
        tokens: Some(268_560.0),
        source: "vLLM pull request 57047",
        ..CASE
    },
    // Started with no limits of its own: 1,024 sequences, on an H100.
    Case {
        model: "qwen3-235b-a22b-fp8",
        ranks: 4,
        vllm: "0.11.0",
        limits: [40_960, 1024, 8192],
        cache: Some(8.11),
        tokens: Some(178_880.0),
        source: "vLLM issue 21348",
        ..CASE
    },
    // A card of 48 GB, and vLLM's own 256 sequences.
    Case {
        model: "qwen3-30b-a3b-fp8",
        card: L40S,
        share: 0.95,
        vllm: "0.11.0",
        limits: [40_960, 256, 2048],
        fp8_cache: true,
        weights: Some(29.09),
        cache: Some(10.55),
        tokens: Some(230_528.0),
        source: "vLLM issue 25350",
        ..CASE
    },
    Case {
        model: "qwen25-32b-bf16",
        card: L40S,
        ranks: 2,
        vllm: "0.11.0",
        limits: [10_000, 1, 10_000],
        weights: Some(30.71),
        cache: Some(7.71),
        tokens: Some(63_152.0),
        source: "a public log",
        ..CASE
    },
    Case {
        model: "qwen25-32b-awq",
        card: RTX_4090,
        limits: [4096, 1, 2048],
        seen: Failed,
        source: "a public log",
        ..CASE
    },
    Case {
        model: "qwen25-32b-awq",
        card: RTX_4090,
        limits: [4096, 256, 2048],
        seen: Failed,
        source: "a public log",
        ..CASE
    },
    Case {
        model: "qwen25-32b-awq",
        card: RTX_4090,
        limits: [2048, 256, 2048],
        weights: Some(18.14),
        cache: Some(0.58),
        source: "the same log: 2,368 tokens would fit",
        ..CASE
    },
    Case {
        model: "qwen25-32b-fp8",
        card: RTX_4090,
        ranks: 2,
        vllm: "0.11.0",
        limits: [18_144, 1, 2048],
        source: "LMCache issue 1241",
        ..CASE
    },
    Case {
        model: "qwen25-72b-awq-29568",
        card: A100,
        ranks: 2,
        vllm: "0.11.0",
        limits: [8192, 1, 2048],
        seen: Failed,
        source: "vLLM issue 13640",
        ..CASE
    },
    Case {
        model: "mixtral-8x7b-awq",
        card: A100_40,
        limits: [32_768, 1, 2048],
        source: "vLLM issue 2631",
        ..CASE
    },
    Case {
        model: "gpt-oss-20b",
        card: A100,
        share: 0.65,
        vllm: "0.19.1",
        limits: [131_072, 1, 8192],
        weights: Some(13.72),
        cache: Some(36.56),
        source: "a blog's log (myoceane.fr)",
        ..CASE
    },
    Case {
        model: "gpt-oss-120b",
        vllm: "0.11.0",
        limits: [131_072, 1, 8192],
        seen: Failed,
        source: "vLLM issue 23278",
        ..CASE
    },
    Case {
        model: "gemma3-27b-bf16",
        card: RTX_4090,
        ranks: 4,
        vllm: "0.11.0",
        limits: [8192, 1, 2048],
        weights: Some(13.1665),
        source: "vLLM issue 15676",
        ..CASE
    },
    Case {
        model: "deepseek-v2-lite",
        vllm: "0.11.0",
        limits: [32_000, 1, 2048],
        weights: Some(29.3010),
        source: "vLLM pull request 4650",
        ..CASE
    },
    // With a model that guesses ahead, whose part of it the log does not tell; vLLM's own 256 sequences.
    Case {
        model: "qwen36-35b-a3b-bf16",
        card: A100,
        ranks: 4,
        share: 0.85,
        limits: [131_072, 256, 8192],
        weights: Some(16.92),
        cache: Some(43.4),
        source: "vLLM issue 50722",
        ..CASE
    },
    Case {
        model: "qwen36-35b-a3b-nvfp4",
        card: RTX_5090,
        share: 0.95,
        vllm: "0.24.0",
        limits: [131_072, 1, 8192],
        fp8_cache: true,
        cache: Some(5.98),
        tokens: Some(567_978.0),
        source: "club-3090 issue 612",
        ..CASE
    },
    Case {
        model: "qwen25-vl-7b",
        vllm: "0.11.0",
        limits: [128_000, 256, 8192],
        weights: Some(15.6271),
        tokens: Some(905_648.0),
        source: "Qwen3-VL issue 1057",
        ..CASE
    },
    rate("qwen3-30b-a3b-awq", RTX_3090, 1, 168.0),
    rate("qwen3-30b-a3b-awq", RTX_3090, 2, 164.0),
    rate("qwen3-30b-a3b-awq", RTX_3090_LINKED, 2, 170.0),
];
const MORE: [Case; 4] = [
    Case { share: 0.95, ..rate("qwen3-32b-awq", RTX_3090, 1, 41.0) },
    rate("qwen3-32b-awq", RTX_3090_LINKED, 2, 65.0),
    Case {
        model: "qwen3-coder-30b-awq",
        card: RTX_5090,
        limits: [122_880, 1, 2048],
        source: "LocalLLaMA",
        ..CASE
    },
    Case {
        model: "qwen3-coder-30b-awq",
        card: RTX_5090,
        limits: [131_072, 1, 2048],
        seen: Failed,
        source: "LocalLLaMA",
        ..CASE
    },
];

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
pub(super) fn host(card: Card, count: usize) -> Facts {
    let (name, gib, compute_capability, pcie_generation, nvlinks) = card;
    let memory = ByteSize((gib * f64::from(1 << 30)) as u64);
    let gpu = Gpu {
        name: name.to_owned(),
        memory_total: memory,
        memory_free: memory,
        compute_capability,
        pcie_generation,
        pcie_width: 16,
        nvlinks,
        ..Gpu::default()
    };
    let mut host = facts("one-16gb");
    (host.gpus, host.ram_total, host.driver) =
        (vec![gpu; count], ByteSize::gib(256), Some("580.95.05".to_owned()));
    host
}

fn plan(case: &Case) -> Result<Plan, Refusal> {
    let [length, sequences, tokens] = case.limits;
    let cache = if case.fp8_cache { ", \"--kv-cache-dtype\", \"fp8\"" } else { "" };
    // Nobody of them kept weights in RAM.
    let memory = format!("gpu-memory-utilization = {}\noffload = \"none\"", case.share);
    let text = AWQ
        .replace("0.26.0", case.vllm)
        .replace("size = 4", &format!("size = {}", case.ranks))
        .replace("gpu = \"16GiB\"", &memory)
        .replace("\"vllm\"]", &format!("\"vllm\"{cache}]"));
    let limits = format!(
        "[limits]\nmax-model-len = {length}\nmax-num-seqs = {sequences}\nmax-num-batched-tokens = {tokens}\n"
    );
    plan_of(&(text + &limits), &host(case.card, case.ranks), Some(checkpoint(case.model)))
}

/// A cell: planned and published, which are no further apart than this many percent.
fn cell(what: &str, planned: Option<f64>, published: Option<f64>, digits: usize, within: f64) -> String {
    let Some((planned, published)) = planned.zip(published) else { return "–".to_owned() };
    let difference = (planned / published - 1.0) * 100.0;
    assert!(
        difference.abs() <= within,
        "{what}: {planned} planned, {published} published, {difference:+.1} %"
    );
    format!("{planned:.digits$} / {published:.digits$}")
}

fn row(case: &Case) -> String {
    let Case { model, card, ranks, vllm, limits, seen, source, .. } = case;
    let what = format!("{model} on {ranks} {}, {limits:?}", card.0);
    let planned = plan(case);
    let tight = |plan: &Plan| plan.findings.iter().any(|finding| finding.code.starts_with("tight"));
    let verdict = match &planned {
        Ok(plan) if tight(plan) => "tight",
        Ok(_) => "fits",
        Err(refusal) => refusal.code.as_str(),
    };
    assert!(*seen == Ran || verdict != "fits", "{what}: accepted, and it did not start for others");
    assert!(*seen == Failed || planned.is_ok(), "{what}: {verdict}, and it ran for others");
    let memory = planned.as_ref().ok().map(|plan| &plan.memory);
    let gib = |size: Option<ByteSize>| size.map(ByteSize::as_gib);
    let apart = if verdict == "tight" { f64::INFINITY } else { 10.0 };
    let decode = planned.as_ref().ok().and_then(|plan| plan.prediction.decode_tokens_per_second.clone());
    if let (Some(decode), Some(rate)) = (&decode, case.rate) {
        assert!((decode.low..=decode.ceiling).contains(&rate), "{what}: {rate} tokens/s, planned {decode:?}");
        assert!(decode.ceiling <= decode.low * 2.0 + 1e-9, "{what}: {decode:?}");
    }
    let cells = [
        cell(&what, gib(memory.and_then(|memory| memory.weights)), case.weights, 2, 1.5),
        cell(&what, gib(memory.and_then(|memory| memory.kv_cache)), case.cache, 2, apart),
        cell(
            &what,
            memory.and_then(|memory| memory.kv_cache_tokens).map(|tokens| tokens as f64),
            case.tokens,
            0,
            apart,
        ),
        cell(&what, decode.map(|decode| decode.expected), case.rate, 1, f64::INFINITY),
    ];
    let ran = if *seen == Ran { "ran" } else { "did not start" };
    let [length, sequences, tokens] = limits;
    let cards = format!("{ranks} × {}", card.0.trim_start_matches("NVIDIA ").trim_start_matches("GeForce "));
    format!(
        "| {model} | {cards} | {vllm}: {length}, {sequences}, {tokens} | {} | {ran} | {verdict} | {source} |",
        cells.join(" | ")
    )
}

/// The table of docs/planning.md.
pub(crate) fn table() -> String {
    let mut out = "| model | cards | vLLM: context, sequences, batched tokens | weights of a rank, GiB | cache, GiB | cache, \
                   tokens | one stream, tokens/s | seen | planned | source |\n|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for case in CASES.iter().chain(&MORE) {
        let _ = writeln!(out, "{}", row(case));
    }
    out
}

#[test]
fn no_plan_contradicts_what_was_published() {
    assert_eq!(table().lines().count(), 2 + CASES.len() + MORE.len());
}

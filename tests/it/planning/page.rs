//! docs/planning.md: its table of planned against measured is what the program computes, within what it says.

use crate::inputs::{AUTO, awq, h100, plan_of};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, known_config},
    findings::RULES,
    planning::{
        memory::Paging,
        prediction::{self, Rates, Traffic},
    },
    size::ByteSize,
};
use serde_json::{Value, json};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../../docs/planning.md");

fn checkpoint(quantization: Value) -> Checkpoint {
    let mut config: Value =
        serde_json::from_str(known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap()).unwrap();
    config["quantization_config"] = quantization;
    Checkpoint::of(&config.to_string(), None).unwrap()
}

/// The three checkpoints that were measured, as they were written for it.
fn measured() -> [Checkpoint; 3] {
    let a = json!({"quant_method": "compressed-tensors",
        "ignore": ["lm_head", "re:.*gate$", "re:.*in_proj_ba$"],
        "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 4, "group_size": 32, "symmetric": true}}}});
    // Its dense layers had stayed in 16 bits.
    let b = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true,
        "dynamic": {"-:.*(self_attn|linear_attn|shared_expert).*": {}}});
    let c = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true,
        "modules_to_not_convert": ["mlp.gate", "shared_expert_gate", "linear_attn.in_proj_ba", "lm_head"]});
    [a, b, c].map(checkpoint)
}

/// A row of the table. `within` is the difference in percent that the figure may have.
fn row(
    configuration: &str,
    figure: &str,
    [planned, measured]: [f64; 2],
    digits: usize,
    within: f64,
) -> String {
    let difference = (planned / measured - 1.0) * 100.0;
    assert!(difference.abs() <= within, "{configuration}, {figure}: {planned} against {measured}");
    format!("| {configuration} | {figure} | {planned:.digits$} | {measured:.digits$} | {difference:+.1} % |")
}

fn rows() -> Vec<String> {
    let [a, b, c] = measured();
    let gib = |checkpoint: &Checkpoint| checkpoint.weights(1).unwrap().as_gib();
    let weights = "weights, GiB";
    let tokens = Paging::of(a.shape.as_ref().unwrap(), 1).unwrap();
    let tokens = tokens.tokens(ByteSize(29_050 * ByteSize::gib(1).0 / 1000), 4096);
    let resident = awq(AUTO.0, AUTO.1).replace("gpu = \"16GiB\"", "");
    let decode = plan_of(&resident, &h100(), Some(a.clone())).unwrap().prediction.expected().unwrap();
    // 35.2 of 48 layers lay in RAM, in vLLM's default order: 88.8 MB of each for a token.
    let rates = Rates { memory: 3.35e12 * 0.88, link: 49.3e9, fixed: Duration::from_micros(4_100) };
    let traffic = Traffic { resident: ByteSize(1_760_000_000), linked: ByteSize(3_120_000_000) };
    let offloaded = prediction::steps_per_second(traffic, rates);
    vec![
        row("A, compressed-tensors g32", weights, [gib(&a), 42.70], 2, 2.0),
        row("A, 33 GiB offloaded", "weights in VRAM and RAM, GiB", [gib(&a), 9.93 + 33.0], 2, 2.0),
        row(
            "B, gptq g128, dense layers in 16 bits, 29.5 GiB offloaded",
            "weights in VRAM and RAM, GiB",
            [gib(&b), 12.46 + 29.5],
            2,
            2.0,
        ),
        row("C, awq g128", weights, [gib(&c), 39.55], 2, 2.0),
        row("A, 29.05 GiB of cache", "KV cache, tokens", [tokens as f64, 868_352.0], 0, 5.0),
        row("A, resident", "decode, tokens/s", [decode, 199.6], 1, 5.0),
        row("B, 29.5 GiB offloaded", "decode, tokens/s", [offloaded, 14.56], 2, 5.0),
    ]
}

/// The runs that awqdeploy planned and measured by itself; `benches/gpu/results` has everything of them.
const RUNS: [&str; 20] = [
    "h100/A-16gb",
    "h100/B-16gb",
    "h100-two/C-16gb",
    "h100-two/A-resident",
    "h100-two/A-resident-again",
    "h100-two/B-resident",
    "h100-two/C-resident",
    "h100-two/A-tp2",
    "h100-two/B-tp2",
    "h100-two/B-tp2-16gb",
    "h100-four/A-16gb-alone",
    "h100-four/A-tp2-16gb",
    "h100-four/A-tp2-nccl",
    "h100-four/A-tp2-ram",
    "h100-four/A-tp4",
    "h100-four/A-tp4-nccl",
    "h100-four/A-tp4-ram",
    "h100-four/B-tp4",
    "h200-systemd/A-resident",
    "h200-systemd/B-resident",
];

/// The checkpoint that `benches/gpu/models.py` makes under this name.
fn made(model: &str) -> Checkpoint {
    let known = |repo: &str| known_config(repo).unwrap();
    match model {
        "A" => Checkpoint::of(known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"), None).unwrap(),
        "B" => {
            let text = known("jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ");
            let mut config: Value = serde_json::from_str(text).unwrap();
            config["quantization_config"]["modules_in_block_to_quantize"] = json!([
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.o_proj",
                "linear_attn.in_proj_qkvz",
                "linear_attn.out_proj",
                "mlp.shared_expert.gate_proj",
                "mlp.shared_expert.up_proj",
                "mlp.shared_expert.down_proj"
            ]);
            Checkpoint::of(&config.to_string(), None).unwrap()
        }
        _ => measured().into_iter().next_back().unwrap(),
    }
}

/// The number after these words in vLLM's log.
fn logged(result: &Value, before: &str) -> f64 {
    let lines = result["log"].as_array().unwrap().iter().filter_map(Value::as_str);
    let number = |line: &str| {
        let word = line.split_once(before)?.1.split_whitespace().next()?;
        word.replace(',', "").parse().ok()
    };
    lines.filter_map(number).fold(0.0, f64::max)
}

/// One row: what today's program plans of a run, and what was measured in it.
fn run(name: &str) -> String {
    let path = format!("{}/benches/gpu/results/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let result: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let settings = &result["settings"];
    let ranks = u32::try_from(settings["tensor-parallel-size"].as_u64().unwrap_or(1)).unwrap();
    // On the whole card, with the offload that ran: what is planned of a smaller one changes with what is learnt. Where
    // vLLM sized its own cache, on what was left of the card.
    let alone = settings["ballast"] == true;
    let offload = result["plan"]["memory"]["offload"].as_u64().unwrap() / ByteSize::gib(1).0;
    let offload = if offload == 0 { "none".to_owned() } else { format!("{offload}GiB") };
    let left = if alone { format!("gpu = {}\n", settings["gpu"]) } else { String::new() };
    let memory = format!("{left}offload = \"{offload}\"");
    let limits = "[limits]\nmax-model-len = 4096\nmax-num-seqs = 8\nmax-num-batched-tokens = 2048\n";
    let text = awq(AUTO.0, &format!("tensor-parallel-size = {ranks}")).replace("gpu = \"16GiB\"", &memory);
    let own = settings["more-arguments"].as_array().unwrap().iter().filter_map(Value::as_str);
    let own = own.filter(|word| word.ends_with("custom-all-reduce")).map(|word| format!(", \"{word}\""));
    let text = text.replace("\"vllm\"]", &format!("\"vllm\"{}]", own.collect::<String>()));
    let mut facts = h100();
    let other = name.starts_with("h200");
    if other {
        "NVIDIA H200".clone_into(&mut facts.gpus[0].name);
        facts.gpus[0].memory_total = ByteSize(150_754_820_096);
        facts.gpus[0].memory_free = facts.gpus[0].memory_total;
    }
    // Some ranks were kept from using it.
    facts.gpus[0].nvlinks = if settings["environment"]["NCCL_P2P_DISABLE"] == "1" { 0 } else { 18 };
    facts.gpus.resize(ranks as usize, facts.gpus[0].clone());
    let checkpoint = made(settings["model"].as_str().unwrap());
    let shape = checkpoint.shape.clone().unwrap();
    let plan = plan_of(&format!("{text}\n{limits}"), &facts, Some(checkpoint)).unwrap();
    // Elsewhere the cache was fixed at what had been planned then.
    let cache = ByteSize(result["plan"]["memory"]["kv_cache"].as_u64().unwrap());
    let fixed = Paging::of(&shape, ranks).unwrap().tokens(cache, 4096);
    let tokens = if alone { plan.memory.kv_cache_tokens.unwrap() } else { fixed };
    let in_vram = logged(&result, "Model loading took ");
    let weights = in_vram + logged(&result, "Total CPU offloaded parameters: ");
    let speed = &result["steps"]["speed"];
    let rate = |streams: &str| speed[streams]["decode_tokens_per_second"]["median"].as_f64();
    let cells = [
        (plan.memory.shard.map(ByteSize::as_gib), Some(weights), 2, 2.0),
        (plan.memory.weights.map(ByteSize::as_gib), Some(in_vram), 2, 3.0),
        (Some(tokens as f64), Some(logged(&result, "KV cache size: ")), 0, if alone { 5.0 } else { 0.0 }),
        (
            plan.prediction.expected(),
            rate("one"),
            1,
            if other {
                6.5
            } else if ranks > 2 {
                5.0
            } else {
                3.0
            },
        ),
        (plan.prediction.all_streams.map(|all| all.each), rate("eight"), 1, 7.0),
    ];
    let cells = cells.map(|(planned, measured, digits, within)| {
        let Some((planned, measured)) = planned.zip(measured) else {
            return "–".to_owned();
        };
        // AWQ's dummy weights had no zero points, and eight streams went to the same experts.
        let comparable = name != "h100-two/C-16gb" || within < 7.0;
        let near = (planned / measured - 1.0).abs() * 100.0 <= within;
        assert!(near || !comparable, "{name}: {planned} against {measured}");
        if comparable { format!("{planned:.digits$} / {measured:.digits$}") } else { "–".to_owned() }
    });
    format!("| {name} | {} |", cells.join(" | "))
}

/// The table of these runs.
pub(crate) fn runs() -> String {
    let head = "| run | weights in VRAM and RAM, GiB | in VRAM | KV cache, tokens | one stream, tokens/s | each of eight |";
    format!("{head}\n|---|---|---|---|---|---|\n{}\n", RUNS.map(run).join("\n"))
}

#[test]
fn the_table_of_planned_against_measured_is_computed() {
    let rows = rows();
    let missing: Vec<_> = rows.iter().filter(|row| !DOCUMENT.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/planning.md lacks, or has otherwise:\n{}", rows.join("\n"));
}

#[test]
fn the_document_names_every_rule() {
    let row = |rule: &awqdeploy::domain::findings::Rule| {
        format!("| {} | `{}` | {} | {} |", rule.number, rule.code, rule.severity, rule.condition)
    };
    let rows: Vec<_> = RULES.iter().map(row).collect();
    let missing = rows.iter().any(|row| !DOCUMENT.contains(row.as_str()));
    assert!(!missing, "docs/planning.md lacks a rule; all of them are:\n{}", rows.join("\n"));
}

//! Every rule of the table: each is triggered here, and each finding takes its severity and source from it.

use crate::inputs::{AUTO, AWQ, awq, facts, h100, plan_of};
use awqdeploy::domain::{
    checkpoint::{Checkpoint, config::ConfigFiles, known_config},
    findings::{Concerns, Finding, RULES, Rule, Severity},
    machine::facts::{Facts, GpuProcess},
    planning::{
        engine_config::{ResolvedEngineConfig, agree},
        preflight::{self, doctor},
    },
    size::ByteSize,
    vllm::version::Version,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ARGUMENTS: &str = r#""--generation-config", "vllm""#;

/// The findings of a plan of this text, refused or not.
fn found(text: &str, facts: &Facts, checkpoint: Option<Checkpoint>) -> Vec<Finding> {
    match plan_of(text, facts, checkpoint) {
        Ok(plan) => plan.findings,
        Err(refusal) => vec![Finding::from(&refusal)],
    }
}

fn on(machine: &str, text: &str) -> Vec<Finding> {
    found(text, &facts(machine), None)
}

/// Facts of a fixture with something changed.
fn changed(machine: &str, change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = facts(machine);
    change(&mut facts);
    facts
}

/// The known AWQ with this instead of its quantisation.
fn stored(quantization: Value) -> Checkpoint {
    let mut config: Value =
        serde_json::from_str(known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap()).unwrap();
    config["quantization_config"] = quantization;
    Checkpoint::of(&config.to_string(), None).unwrap()
}

/// Everything quantised, as compressed-tensors.
fn all_quantised() -> Checkpoint {
    stored(json!({"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*gate$"],
        "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 4, "group_size": 32, "symmetric": true}}}}))
}

fn gptq(more: &str, value: bool) -> Checkpoint {
    let mut quantization = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true});
    quantization[more] = json!(value);
    stored(quantization)
}

fn environment(line: &str) -> String {
    format!("{}\n[vllm.environment]\n{line}\n", awq(AUTO.0, AUTO.1))
}

fn eight() -> Facts {
    changed("four-16gb", |facts| facts.gpus.extend(facts.gpus.clone()))
}

/// A dense model of 32B on a card of 24 GB.
fn just_possible() -> Vec<Finding> {
    let card = changed("one-16gb", |facts| {
        (facts.gpus[0].memory_total, facts.gpus[0].memory_free) =
            (ByteSize::mib(25_096), ByteSize::mib(25_096));
    });
    let dense = include_str!("../../fixtures/published/qwen25-32b-awq.json");
    let dense = Checkpoint::of(dense, None).unwrap();
    found(&awq(AUTO.0, AUTO.1).replace("gpu = \"16GiB\"", ""), &card, Some(dense))
}

/// A scenario for each rule that a plan asks.
fn planned() -> Vec<Vec<Finding>> {
    let four = facts("four-16gb");
    let one = |version| awq(AUTO.0, AUTO.1).replace("0.26.0", version);
    let arguments = |text: &str| AWQ.replace(ARGUMENTS, text);
    let narrow = known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let narrow = narrow.replace(r#""moe_intermediate_size": 512"#, r#""moe_intermediate_size": 896"#);
    let narrow = Checkpoint::of(&narrow, None).unwrap();
    let mut differing = stored(Value::Null);
    differing.by_config = differing.weights(1).map(|bytes| ByteSize(bytes.0 / 2));
    let big = changed("four-16gb", |facts| {
        for gpu in &mut facts.gpus {
            (gpu.memory_total, gpu.memory_free) = (ByteSize::gib(80), ByteSize::gib(80));
        }
    });
    let unlimited = AWQ.replace("gpu = \"16GiB\"", "");
    vec![
        just_possible(),
        on("four-16gb", &format!("{AWQ}\n[limits]\nmax-num-seqs = 64\nmax-model-len = 65536\n")),
        found(&arguments(r#""-q", "awq""#), &four, None),
        on("four-16gb", AWQ),
        on("one-16gb", AWQ),
        on("no-gpu", AWQ),
        on("four-16gb", &awq("size = 4", "size = 3")),
        on("four-16gb", &AWQ.replace("0.26.0", "0.9.2")),
        on("four-16gb", &AWQ.replace("0.26.0", "0.10.2")),
        on("one-16gb", &one("0.19.1")),
        on("one-16gb", &environment("VLLM_WEIGHT_OFFLOADING_DISABLE_UVA = \"1\"")),
        found(&one("0.26.0"), &changed("one-16gb", |facts| facts.wsl = true), None),
        on("one-16gb", &environment("PYTORCH_CUDA_ALLOC_CONF = \"expandable_segments:True\"")),
        on("one-16gb", &one("0.26.0").replace("120GiB", "32GiB")),
        found(AWQ, &changed("four-16gb", |facts| facts.gpus[0].compute_capability = (7, 0)), None),
        found(&arguments(r#""--dtype", "float16""#), &four, None),
        found(&unlimited, &big, Some(narrow)),
        found(&AWQ.replace("0.26.0", "0.20.2"), &four, Some(all_quantised())),
        found(
            &AWQ.replace("0.26.0", "0.20.2")
                .replace("size = 4", "size = 8")
                .replace(ARGUMENTS, r#""--dtype", "half""#),
            &eight(),
            Some(all_quantised()),
        ),
        found(&AWQ.replace("0.26.0", "0.30.0"), &four, Some(gptq("desc_act", true))),
        found(AWQ, &four, Some(gptq("sym", false))),
        found(
            &arguments(r#""--kv-cache-dtype", "fp8_e4m3""#),
            &changed("four-16gb", |facts| facts.gpus[1].compute_capability = (7, 5)),
            None,
        ),
        on("four-16gb", &arguments(r#""--flux-compensator""#)),
        on("four-16gb", &AWQ.replace("0.26.0", "0.21.0")),
        found(&unlimited, &big, Some(differing)),
        found(AWQ, &changed("four-16gb", |facts| facts.driver = Some("570.1".into())), None),
        found(
            AWQ,
            &four,
            Some(Checkpoint::of(r#"{"architectures": ["NewForCausalLM"]}"#, Some(ByteSize::gib(8))).unwrap()),
        ),
        found(&one("0.30.0"), &changed("one-16gb", |facts| facts.gpus[0].pcie_generation = 1), None),
        on("four-16gb", &format!("{AWQ}\n[limits]\nmax-model-len = 300000\n")),
        found(AWQ, &changed("four-16gb", |facts| facts.gpus[3].mig = true), None),
        preflight::transformers(Version::of("0.11.0").unwrap(), "5.1.0")
            .err()
            .iter()
            .map(Finding::from)
            .collect(),
        asked(),
        crate::models::remote::unread(),
    ]
    .into_iter()
    .chain(found_in_the_wild())
    .collect()
}

/// Scenarios for what people really run.
fn found_in_the_wild() -> Vec<Vec<Finding>> {
    let four = facts("four-16gb");
    let arguments = |text: &str| AWQ.replace(ARGUMENTS, text);
    let mut beside = ConfigFiles::alone(&config_without_quantization());
    beside.beside.insert(
        "quantize_config.json".to_owned(),
        r#"{"bits": 4, "group_size": 128, "sym": true}"#.to_owned(),
    );
    let sparse = json!({"quant_method": "compressed-tensors", "config_groups": {},
        "sparsity_config": {"format": "dense", "targets": ["Linear"]}});
    vec![
        found(AWQ, &four, Some(Checkpoint::of_files(&beside, None).unwrap())),
        found(AWQ, &four, Some(stored(sparse))),
        on("four-16gb", &arguments(r#""--speculative-config", '{"model": "owner/draft"}'"#)),
        on("four-16gb", &arguments(r#""--enable-lora""#)),
        on("four-16gb", &arguments(r#""--enforce-eager""#)),
        on("four-16gb", &arguments(r#""--max-logprobs", "0""#)),
    ]
}

fn config_without_quantization() -> String {
    let known = known_config("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let mut config: Value = serde_json::from_str(known).unwrap();
    config["quantization_config"] = Value::Null;
    config.to_string()
}

/// Scenarios for VRAM that is not enough.
fn crowded() -> Vec<Vec<Finding>> {
    let held = changed("four-16gb", |facts| {
        let holder = GpuProcess { pid: 7, memory: ByteSize::gib(5), ..GpuProcess::default() };
        facts.gpus[2].processes.push(holder);
    });
    let linked = changed("four-16gb", |facts| facts.gpus.iter_mut().for_each(|gpu| gpu.nvlinks = 4));
    let unused = found(&awq(AUTO.0, AUTO.1), &h100(), None);
    let idle = on("four-16gb", &awq("size = 4", "size = 2"));
    vec![found(AWQ, &held, None), found(AWQ, &linked, None), on("four-4gb", AWQ), unused, idle]
}

/// Scenarios for what files and versions say that contradict each other.
fn contradicting() -> Vec<Vec<Finding>> {
    let four = facts("four-16gb");
    let mut indexed = stored(Value::Null);
    (indexed.tensors, indexed.files_total, indexed.by_index) = (None, Some(ByteSize(10)), Some(ByteSize(11)));
    let awq_stored = stored(json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true,
        "modules_to_not_convert": ["mlp.gate", "shared_expert", "in_proj_ba"]}));
    let plain = AWQ.replace("0.26.0", "0.20.2").replace(ARGUMENTS, r#""--quantization", "awq""#);
    vec![
        found(AWQ, &four, Some(indexed)),
        found(&plain, &four, Some(awq_stored)),
        on("four-16gb", &format!("{AWQ}\n[vllm.environment]\nVLLM_LOGING_LEVEL = \"DEBUG\"\n")),
        on(
            "four-16gb",
            &AWQ.replace("size = 4", "size = 1\npipeline-parallel-size = 4").replace("0.26.0", "0.10.2"),
        ),
        started(),
    ]
}

/// The findings of a plan whose like was started here, and said what would fit.
fn started() -> Vec<Finding> {
    let mut host = facts("four-16gb");
    let memory = plan_of(AWQ, &host, None).unwrap().memory;
    let shown = json!({"generation": 3, "profile": "awq", "at": "2026-11-23T12:00:00Z", "max_num_seqs": 4,
        "max_num_batched_tokens": 4096, "computed": memory.overhead, "seen": memory.overhead, "tokens": 1.0,
        "fits": ByteSize(memory.kv_cache.unwrap().0 * 2)});
    let start = json!({"setting": memory.setting, "shown": shown});
    host.starts.push(serde_json::from_value(start).unwrap());
    found(AWQ, &host, None)
}

/// The findings for an installed vLLM that makes something else of the command line.
fn asked() -> Vec<Finding> {
    let checkpoint = stored(Value::Null);
    let plan = plan_of(AWQ, &facts("four-16gb"), None).unwrap();
    let said = ResolvedEngineConfig { max_num_seqs: Some(256), ..ResolvedEngineConfig::default() };
    agree(&said.beside(&plan, &checkpoint)).err().iter().map(Finding::from).collect()
}

/// A scenario for each rule of the host alone.
fn examined() -> Vec<Vec<Finding>> {
    let holder = GpuProcess {
        pid: 7,
        name: Some("python3".into()),
        unit: Some("vllm.service".into()),
        memory: ByteSize::gib(5),
    };
    vec![
        doctor::examine(&facts("no-gpu")),
        doctor::examine(&changed("four-16gb", |facts| {
            facts.gpus[0].compute_capability = (6, 1);
            facts.gpus[1].mig = true;
            facts.gpus[2].memory_total = ByteSize::gib(24);
            facts.gpus[3].pcie_width = 2;
            facts.gpus[3].processes.push(holder);
            facts.driver = Some("535.1.2".into());
            facts.wsl = true;
            facts.cgroup_limit = Some(ByteSize::gib(20));
            facts.shared_memory = Some(ByteSize::mib(64));
            facts.open_files = Some(20_000);
            facts.disk_free = Some(ByteSize::gib(3));
        })),
    ]
}

#[test]
fn each_rule_is_triggered_by_something() {
    let found = planned().into_iter().chain(crowded()).chain(contradicting()).chain(examined()).flatten();
    let triggered: BTreeSet<_> =
        found.map(|finding| Rule::of(&finding.code).expect(&finding.code).code).collect();
    let after = [Concerns::Engine, Concerns::Service];
    let asked = RULES.iter().filter(|rule| !after.contains(&rule.concerns)).map(|rule| rule.code);
    let missed: Vec<_> = asked.filter(|code| !triggered.contains(code)).collect();
    assert!(missed.is_empty(), "nothing triggers {missed:?}");
}

#[test]
fn a_finding_says_how_grave_it_is_and_who_says_so() {
    for finding in planned().into_iter().chain(crowded()).chain(contradicting()).chain(examined()).flatten() {
        let rule = Rule::of(&finding.code).unwrap();
        assert_eq!((finding.severity, finding.source.as_str()), (rule.severity, rule.source));
        assert!(!finding.message.is_empty() && !finding.message.ends_with('.'), "{}", finding.message);
    }
    for (index, rule) in RULES.iter().enumerate() {
        let texts = [rule.number, rule.code, rule.condition, rule.remedy, rule.source];
        assert!(texts.iter().all(|text| !text.is_empty()), "{rule:?}");
        assert!(RULES[..index].iter().all(|other| other.code != rule.code), "{} comes twice", rule.code);
    }
    let numbers: BTreeSet<_> = RULES.iter().map(|rule| rule.number).collect();
    let absent: Vec<_> =
        (1..=20).map(|n| format!("P{n:02}")).filter(|n| !numbers.contains(n.as_str())).collect();
    assert_eq!(absent, ["P10"; 0], "each number of the study has a rule");
}

#[test]
fn refusing_is_stable_and_only_the_fatal_refuses() {
    for (one, other) in planned().into_iter().zip(planned()) {
        assert_eq!(one, other);
        assert!(one.iter().all(|finding| finding.severity != Severity::Fatal) || one.len() == 1);
    }
}

#[test]
fn what_the_old_service_holds_is_given_back() {
    let busy = |unit: Option<&str>| {
        changed("four-16gb", |facts| {
            for gpu in &mut facts.gpus {
                let unit = unit.map(str::to_owned);
                gpu.processes.push(GpuProcess { pid: 1, name: None, unit, memory: ByteSize::gib(14) });
                gpu.memory_free = ByteSize::gib(1);
            }
        })
    };
    assert!(plan_of(AWQ, &busy(Some("vllm.service")), None).is_ok());
    for other in [Some("ollama.service"), None] {
        assert_eq!(plan_of(AWQ, &busy(other), None).unwrap_err().code, "vram-held-by-others");
    }
}

#[test]
fn a_profile_that_uses_little_of_a_gpu_is_told_what_it_loses() {
    let told = |text: &str, facts: &Facts| {
        let plan = plan_of(text, facts, None).unwrap();
        let found = plan.findings.into_iter().find(|finding| finding.code == "gpu-mostly-unused");
        found.map(|finding| format!("{}; {}", finding.message, finding.help.unwrap()))
    };
    let text = awq(AUTO.0, AUTO.1);
    let (mine, theirs) = (Some("vllm.service"), Some("ollama.service"));
    let held = |unit: Option<&str>| {
        let mut facts = h100();
        let unit = unit.map(str::to_owned);
        facts.gpus[0].processes.push(GpuProcess { pid: 1, name: None, unit, memory: ByteSize::gib(60) });
        facts
    };
    let gives = ": it would plan TP 1 with all weights in VRAM, predicted 19";
    let limited = told(&text, &h100()).unwrap();
    assert!(limited.contains(&format!("take `gpu` out of the profile's `[memory]`{gives}")), "{limited}");
    let little = text.replace("gpu = \"16GiB\"", "gpu-memory-utilization = 0.6");
    let limited = told(&little, &h100()).unwrap();
    assert!(limited.contains(&format!("raise `memory.gpu-memory-utilization`{gives}")), "{limited}");
    assert!(told(&text, &held(mine)).is_some(), "the service that is replaced lets go");
    assert_eq!(told(&text, &held(theirs)), None, "others hold the rest");
    assert_eq!(told(&text.replace("gpu = \"16GiB\"", ""), &h100()), None);
    assert_eq!(told(&text, &facts("one-16gb")), None);
}

#[test]
fn nvlink_keeps_vllms_own_all_reduce() {
    let linked = changed("four-16gb", |facts| facts.gpus.iter_mut().for_each(|gpu| gpu.nvlinks = 4));
    let disabled = |facts: &Facts| {
        let plan = plan_of(AWQ, facts, None).unwrap();
        let flag = plan.serve.argv.iter().any(|word| word == "--disable-custom-all-reduce");
        (flag, plan.findings.iter().any(|finding| finding.code == "custom-all-reduce-disabled"))
    };
    assert_eq!(disabled(&linked), (false, false));
    assert_eq!(disabled(&facts("four-16gb")), (true, true));
}

#[test]
fn a_host_with_nothing_wrong_has_no_findings() {
    assert_eq!(doctor::examine(&facts("four-16gb")), []);
    assert!(!doctor::is_fatal(&doctor::examine(&facts("no-gpu"))), "the CPU build works there");
    assert!(doctor::is_fatal(&doctor::examine(&changed("one-16gb", |facts| facts.gpus[0].mig = true))));
}

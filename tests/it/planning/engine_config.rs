//! The engine's own word: a runtime that is asked, and what is made of its answer.

use crate::{
    inputs::{AUTO, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        checkpoint::Checkpoint,
        planning::{
            engine_config::{ResolvedEngineConfig, agree},
            plan::Plan,
        },
        problem::Kind,
        profile::Device,
        service::sandbox::Service,
        store::layout::Layout,
    },
    host::vllm::engine_config,
};
use insta::assert_snapshot;
use std::{path::Path, process::Command, time::Duration};

const AGREES: &str = r#"{"quantization": "compressed-tensors", "max_model_len": 8192, "tensor_parallel_size": 1, "max_num_seqs": 4, "cpu_offload_gb": 32}"#;

fn plan() -> Plan {
    plan_of(&awq(AUTO.0, AUTO.1), &facts("one-16gb"), None).unwrap()
}

fn refused(text: &str) -> Option<String> {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let said =
        ResolvedEngineConfig::of(&format!("INFO 11-23 vLLM logs here\nawqdeploy-answer {text}\n")).unwrap();
    agree(&said.beside(&plan(), &checkpoint)).err().map(|refusal| refusal.message)
}

#[test]
fn an_answer_is_held_against_the_plan() {
    assert_eq!(refused(AGREES), None);
    assert_eq!(
        refused(r#"{"quantization": "compressed-tensors"}"#),
        None,
        "what is not told is not compared"
    );
    let otherwise = |from: &str, to: &str| refused(&AGREES.replace(from, to)).unwrap();
    assert_snapshot!(otherwise("\"compressed-tensors\"", "null"), @"the plan has quantization `compressed-tensors`, and vLLM makes `none` of its command line");
    assert_snapshot!(otherwise("8192", "4096"), @"the plan has max-model-len `8192`, and vLLM makes `4096` of its command line");
    assert_snapshot!(otherwise(": 1,", ": 4,"), @"the plan has tensor-parallel-size `1`, and vLLM makes `4` of its command line");
    assert_snapshot!(otherwise(": 32}", ": 0}"), @"the plan has cpu-offload-gb `32.000`, and vLLM makes `0.000` of its command line");
    assert_eq!(ResolvedEngineConfig::of("no answer\n"), None);
}

fn asked(script: &str) -> Result<ResolvedEngineConfig, Kind> {
    asked_within(engine_config::PATIENCE, script)
}

/// The script stands for the runtime's Python.
fn asked_within(patience: Duration, script: &str) -> Result<ResolvedEngineConfig, Kind> {
    let folder = tempdir().unwrap();
    let python = folder.path().join("python");
    // Written by another process: a thread that forks while this one has it open would keep it from running.
    let write = r#"printf %s "$1" > "$2" && chmod +x "$2""#;
    let written = Command::new("sh").args(["-c", write, "sh", script]).arg(&python).status().unwrap();
    assert!(written.success());
    let mut plan = plan();
    plan.serve.argv[0] = python.display().to_string();
    let layout = Layout::new(folder.path());
    let service = Service {
        name: "vllm",
        device: Device::Cpu,
        memory_max: None,
        serve: &plan.serve,
        secrets: &plan.secrets,
        model: Path::new("/the/checkpoint"),
        layout: &layout,
    };
    engine_config::ask(&service, patience).map_err(|problem| problem.kind)
}

#[test]
fn a_runtime_is_asked_with_the_plans_command_line_and_leaves_nothing_behind() {
    // Gives back what follows the script, and where it may write.
    let echo = r#"#!/bin/sh
[ -f "$1" ] && [ -d "$HOME" ] && [ "$HOME" = "$VLLM_CACHE_ROOT" ] && [ "$HOME" != "$OLDPWD" ] &&
# It hears nothing of the environment of who asks.
[ -z "$CARGO_MANIFEST_DIR" ] &&
printf 'awqdeploy-answer {"quantization": "%s %s %s", "silent": "%s"}\n' "$2" "$3" "$4" "$HOME"
"#;
    let said = asked(echo).unwrap();
    assert_eq!(said.quantization.as_deref(), Some("/the/checkpoint --served-model-name qwen3-next-80b"));
    assert!(!Path::new(&said.silent.unwrap()).exists());
    assert_eq!(asked("#!/bin/sh\necho 'ValueError: no such thing' >&2; exit 1\n"), Err(Kind::Refused));
    assert_eq!(asked("#!/bin/sh\n"), Err(Kind::Unexpected));
    let hangs = "#!/bin/sh\nexec sleep 600\n";
    assert_eq!(asked_within(Duration::from_millis(200), hangs), Err(Kind::Unverified));
}

#[test]
fn what_both_say_stands_side_by_side() {
    let said = ResolvedEngineConfig::of(
        r#"awqdeploy-answer {"architecture": "Qwen3NextForCausalLM", "quantization": "compressed-tensors",
        "dtype": "bfloat16", "served_model_name": "other", "max_num_batched_tokens": 4096,
        "gpu_memory_utilization": 0.9, "cpu_offload_gb": 32.0, "cpu_offload_params": ["experts"]}"#
            .replace('\n', "")
            .as_str(),
    );
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let rows = said.unwrap().beside(&plan(), &checkpoint);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let sign = if row.agrees { "=" } else { "!" };
            format!("{} {} {sign} {}", row.what, row.planned.as_deref().unwrap_or("-"), row.engine)
        })
        .collect();
    assert_snapshot!(rows.join("\n"), @"
    architecture Qwen3NextForCausalLM = Qwen3NextForCausalLM
    quantization compressed-tensors = compressed-tensors
    served-model-name qwen3-next-80b ! other
    max-num-batched-tokens 4096 = 4096
    cpu-offload-gb 32.000 = 32.000
    dtype - = bfloat16
    gpu-memory-utilization 0.900 = 0.900
    cpu-offload-params experts = experts
    ");
    let methods = |said: &str, stored: &str| {
        let config =
            format!(r#"{{"architectures": ["X"], "quantization_config": {{"quant_method": "{stored}"}}}}"#);
        let config = config.replace("}}", r#", "bits": 4}}"#);
        let checkpoint = Checkpoint::of(&config, None).unwrap();
        let word =
            ResolvedEngineConfig { quantization: Some(said.to_owned()), ..ResolvedEngineConfig::default() };
        word.beside(&plan(), &checkpoint).iter().find(|row| row.what == "quantization").unwrap().agrees
    };
    assert!(methods("gptq_marlin", "gptq") && methods("auto_awq", "awq") && methods("inc", "auto-round"));
    assert!(!methods("awq_marlin", "gptq"));
}

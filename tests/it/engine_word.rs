//! The engine's own word: a runtime that is asked, and what is made of its answer.

use crate::inputs::{AUTO, awq, facts, plan_of};
use awqdeploy::{
    domain::{checkpoint::Checkpoint, engine_word::EngineWord, plan::Plan, problem::Kind},
    host::engine_word,
};
use insta::assert_snapshot;
use std::process::Command;

const AGREES: &str = r#"{"quantization": "compressed-tensors", "max_model_len": 8192, "tensor_parallel_size": 1, "max_num_seqs": 4, "cpu_offload_gb": 32}"#;

fn plan() -> Plan {
    plan_of(&awq(AUTO.0, AUTO.1), &facts("one-16gb"), None).unwrap()
}

fn refused(text: &str) -> Option<String> {
    let checkpoint = Checkpoint::known("cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit").unwrap();
    let said = EngineWord::of(&format!("INFO 11-23 vLLM logs here\nawqdeploy-answer {text}\n")).unwrap();
    said.agree(&plan(), &checkpoint).err().map(|refusal| refusal.message)
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
    assert_snapshot!(otherwise(": 32}", ": 0}"), @"the plan has cpu-offload-gb `32.00`, and vLLM makes `0.00` of its command line");
    assert_eq!(EngineWord::of("no answer\n"), None);
}

/// Stands for the runtime's Python.
fn asked(script: &str) -> Result<EngineWord, Kind> {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    // Written by another process: a thread that forks while this one has it open would keep it from running.
    let write = r#"printf %s "$1" > "$2" && chmod +x "$2""#;
    let written = Command::new("sh").args(["-c", write, "sh", script]).arg(&python).status().unwrap();
    assert!(written.success());
    let mut plan = plan();
    plan.serve.argv[0] = python.display().to_string();
    engine_word::ask(&plan).map_err(|problem| problem.kind)
}

#[test]
fn a_runtime_is_asked_with_the_plans_command_line() {
    // Gives back what follows the script and the model.
    let echo = r#"#!/bin/sh
[ "$1" = -c ] && printf 'awqdeploy-answer {"quantization": "%s %s"}\n' "$4" "$5"
"#;
    assert_eq!(asked(echo).unwrap().quantization.as_deref(), Some("--served-model-name qwen3-next-80b"));
    assert_eq!(asked("#!/bin/sh\necho 'ValueError: no such thing' >&2; exit 1\n"), Err(Kind::Refused));
    assert_eq!(asked("#!/bin/sh\n"), Err(Kind::Unexpected));
}

//! The inputs of the tests of plans: a profile, machines, and a plan of both.

use awqdeploy::domain::{
    checkpoint::Checkpoint,
    findings::refusal::Refusal,
    machine::facts::{Facts, Gpu},
    planning::{
        inputs::{Inputs, PlannedModel, PlannedRuntime},
        plan::Plan,
    },
    profile::{Gates, Profile, QualityLimits, Sweep},
    size::ByteSize,
    store::layout::Layout,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) const AWQ: &str = r#"
service = "vllm"

[model]
repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"
served-name = "qwen3-next-80b"

[runtime]
vllm = "0.26.0"

[parallelism]
tensor-parallel-size = 4

[memory]
gpu = "16GiB"
ram = "120GiB"

[vllm]
arguments = ["--generation-config", "vllm"]
"#;

/// Facts of a fixture.
pub(crate) fn facts(name: &str) -> Facts {
    let text = match name {
        "one-16gb" => include_str!("../fixtures/facts/one-16gb.json"),
        "four-4gb" => include_str!("../fixtures/facts/four-4gb.json"),
        "no-gpu" => include_str!("../fixtures/facts/no-gpu.json"),
        _ => include_str!("../fixtures/facts/four-16gb.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// A host with the GPU that was measured.
pub(crate) fn h100() -> Facts {
    let mut facts = facts("one-16gb");
    facts.gpus[0] = Gpu {
        name: "NVIDIA H100 80GB HBM3".into(),
        memory_total: ByteSize::mib(81_559),
        memory_reserved: ByteSize::mib(480),
        memory_free: ByteSize::mib(81_000),
        compute_capability: (9, 0),
        pcie_generation: 5,
        pcie_width: 16,
        ..Gpu::default()
    };
    facts
}

pub(crate) fn profile(text: &str) -> Profile {
    Profile::parse("awq", Path::new("profiles/awq.toml"), text).unwrap()
}

/// AWQ with one piece of its text replaced.
pub(crate) fn awq(from: &str, to: &str) -> String {
    assert!(AWQ.contains(from), "nothing to replace");
    AWQ.replace(from, to)
}

pub(crate) const AUTO: (&str, &str) = ("tensor-parallel-size = 4", "tensor-parallel-size = \"auto\"");

pub(crate) fn plan_of(text: &str, facts: &Facts, checkpoint: Option<Checkpoint>) -> Result<Plan, Refusal> {
    let profile = profile(text);
    let model = PlannedModel {
        repo: profile.model().repo.clone(),
        revision: "main".into(),
        served_name: profile.model().served_name.clone(),
        digest: None,
        path: PathBuf::from("/var/lib/awqdeploy/store/models/awq"),
        verify_at_start: profile.model().verify_at_start,
    };
    let runtime = PlannedRuntime {
        vllm: profile.runtime().vllm.clone(),
        digest: None,
        command: vec!["/var/lib/awqdeploy/store/runtimes/vllm/bin/vllm".into()],
        python: None,
        needs: Vec::new(),
    };
    let known = Checkpoint::known(&model.repo);
    Plan::of(Inputs {
        profile: &profile,
        model: &model,
        checkpoint: &checkpoint.or(known).unwrap(),
        runtime: &runtime,
        facts,
        layout: &Layout::new("/var/lib/awqdeploy"),
    })
}

/// A floor of 5 tokens/s, three requests of eight tokens after one warm-up.
pub(crate) fn gates() -> Gates {
    Gates {
        min_decode_tokens_per_second: 5.0,
        output_tokens: 8,
        repetitions: 3,
        warmups: 1,
        baseline: None,
        min_known_answers: None,
        max_perplexity_ratio: None,
        quality: QualityLimits::default(),
        sweep: Sweep { prompt_tokens: vec![32, 1000], concurrency: vec![1, 2], time: Duration::from_secs(5) },
        arrivals: None,
    }
}

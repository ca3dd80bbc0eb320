//! Plans: golden ones for the three readings of "16 GB VRAM + 120 GB RAM, TP 4", and every refusal.

use crate::inputs::{AUTO, AWQ, awq, facts, plan_of};
use awqdeploy::domain::{
    checkpoint::Checkpoint, findings::refusal::Refusal, machine::facts::Facts, planning::plan::Plan,
    size::ByteSize,
};
use insta::assert_snapshot;

fn plan(text: &str, machine: &str) -> Result<Plan, Refusal> {
    plan_of(text, &facts(machine), None)
}

/// The parts of a plan that people read.
fn shown(plan: &Plan) -> String {
    let memory = &plan.memory;
    let size = |size: Option<ByteSize>| size.map_or("-".into(), |size| size.to_string());
    let command = plan.serve.argv.join(" ").replace(" --", "\n  --");
    let memory = format!(
        "TP {}: weights {} + overhead {} + KV cache {} (needs {}, {} tokens) = {}; offload {}, missing {}; RAM {}",
        memory.tensor_parallel_size,
        size(memory.weights),
        size(memory.overhead),
        size(memory.kv_cache),
        size(memory.kv_cache_needed),
        memory.kv_cache_tokens.unwrap_or(0),
        size(memory.gpu),
        memory.offload,
        memory.missing,
        memory.ram,
    );
    let rate = plan.prediction.expected();
    let predicted = rate.map_or("no prediction".into(), |rate| format!("predicted {rate:.1} tokens/s"));
    let warnings = plan.findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message));
    [command, memory, predicted].into_iter().chain(warnings).collect::<Vec<_>>().join("\n")
}

fn refused(text: &str, machine: &str) -> String {
    refused_with(text, &facts(machine), None)
}

fn refused_with(text: &str, facts: &Facts, checkpoint: Option<Checkpoint>) -> String {
    let Refusal { code, message, help } = plan_of(text, facts, checkpoint).unwrap_err();
    format!("{code}\n{message}\n{help}")
}

#[test]
fn one_16_gb_gpu_offloads_experts() {
    assert_snapshot!(shown(&plan(&awq(AUTO.0, AUTO.1), "one-16gb").unwrap()), @"
    /var/lib/awqdeploy/store/runtimes/vllm/bin/vllm serve /var/lib/awqdeploy/store/models/awq
      --served-model-name qwen3-next-80b
      --host 127.0.0.1
      --port 8000
      --tensor-parallel-size 1
      --max-model-len 8192
      --max-num-seqs 4
      --max-num-batched-tokens 4096
      --gpu-memory-utilization 0.9
      --offload-backend uva
      --cpu-offload-gb 32
      --cpu-offload-params experts
      --generation-config vllm
    TP 1: weights 11.2 GiB + overhead 1.8 GiB + KV cache 1.4 GiB (needs 969.0 MiB, 48289 tokens) = 14.4 GiB; offload 32.0 GiB, missing 0 B; RAM 36.5 GiB
    predicted 28.5 tokens/s
    named-awq-stored-as-compressed-tensors: `cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit` is named AWQ and stored as `compressed-tensors`: vLLM serves it with the kernels of `compressed-tensors`
    offload-gave-same-text: weight offload of hybrid models gave wrong text in some versions (vLLM issue 38718); in `0.26.0` it was seen to be the same
    ");
}

#[test]
fn four_16_gb_gpus_need_no_offload() {
    let fixed = plan(AWQ, "four-16gb").unwrap();
    let auto = plan(&awq(AUTO.0, AUTO.1), "four-16gb").unwrap();
    assert_eq!(fixed.serve, auto.serve);
    assert_snapshot!(shown(&fixed), @"
    /var/lib/awqdeploy/store/runtimes/vllm/bin/vllm serve /var/lib/awqdeploy/store/models/awq
      --served-model-name qwen3-next-80b
      --host 127.0.0.1
      --port 8000
      --tensor-parallel-size 4
      --max-model-len 8192
      --max-num-seqs 4
      --max-num-batched-tokens 4096
      --gpu-memory-utilization 0.9
      --disable-custom-all-reduce
      --generation-config vllm
    TP 4: weights 10.8 GiB + overhead 2.0 GiB + KV cache 1.6 GiB (needs 433.5 MiB, 121916 tokens) = 14.4 GiB; offload 0 B, missing 0 B; RAM 11.5 GiB
    predicted 118.4 tokens/s
    named-awq-stored-as-compressed-tensors: `cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit` is named AWQ and stored as `compressed-tensors`: vLLM serves it with the kernels of `compressed-tensors`
    custom-all-reduce-disabled: vLLM's own all-reduce does not work on more than two GPUs that only PCIe connects: it is switched off
    ");
}

#[test]
fn the_largest_that_fits_is_told_and_fits() {
    let base = plan(AWQ, "four-16gb").unwrap();
    let limits = |length: u64, sequences: u64| {
        let limits = format!("[limits]\nmax-model-len = {length}\nmax-num-seqs = {sequences}\n");
        let text = AWQ.replace("[memory]", "[memory]\noffload = \"none\"");
        plan(&format!("{text}\n{limits}"), "four-16gb")
    };
    let (longest, most) = (base.memory.longest_context.unwrap(), base.memory.largest_batch.unwrap());
    assert_eq!(most, 14);
    let waits = |length, sequences| {
        let findings = limits(length, sequences).unwrap().findings;
        findings.iter().any(|finding| finding.code == "sequences-wait")
    };
    assert!(!waits(longest, 4) && waits(longest + 1, 4), "longer ones wait");
    assert!(!waits(8192, most) && waits(8192, most + 1), "more wait");
}

#[test]
fn four_4_gb_gpus_are_refused() {
    assert_snapshot!(refused(AWQ, "four-4gb"), @"
    does-not-fit
    with TP 4 83.8 MiB of VRAM are missing on each of 4 GPUs, even with 10.1 GiB of weights in RAM: weights 677.4 MiB, overhead 2.0 GiB, KV cache 108.4 MiB do not fit into 2.7 GiB, beside which vLLM takes 1.0 GiB
    by this estimate `max-num-batched-tokens = 2048` would fit; else use GPUs with more memory, more of them, or a smaller quantisation
    ");
    let shorter = format!("{AWQ}\n[limits]\nmax-num-batched-tokens = 2048\n");
    assert!(plan(&shorter, "four-4gb").is_ok(), "what the refusal says fits");
    assert_eq!(refused(AWQ, "four-4gb"), refused(&awq(AUTO.0, AUTO.1), "four-4gb"));
}

#[test]
fn more_ranks_than_gpus_are_refused_with_what_auto_would_plan() {
    assert_snapshot!(refused(AWQ, "one-16gb"), @r#"
    tensor-parallel-exceeds-gpus
    `tensor-parallel-size = 4` needs 4 GPUs, and this host has 1
    set `tensor-parallel-size = "auto"`: it would plan TP 1 with 32.0 GiB of experts in RAM, predicted 28 tokens/s
    "#);
    let mut small = facts("one-16gb");
    small.gpus[0].memory_total = ByteSize::gib(4);
    assert_snapshot!(refused_with(AWQ, &small, None), @r#"
    tensor-parallel-exceeds-gpus
    `tensor-parallel-size = 4` needs 4 GPUs, and this host has 1
    `"auto"` finds no other way on this host: with TP 1 1.1 GiB of VRAM are missing, even with 40.5 GiB of weights in RAM: weights 2.3 GiB, overhead 1.8 GiB, KV cache 242.2 MiB do not fit into 3.2 GiB, beside which vLLM takes 544.0 MiB; use GPUs with more memory, more of them, or a smaller quantisation
    "#);
}

#[test]
fn no_gpu_is_refused_with_the_reason() {
    assert_snapshot!(refused(AWQ, "no-gpu"), @r#"
    no-gpu
    this host has no GPU that vLLM could use: no NVIDIA driver
    deploy on a host with an NVIDIA GPU, set `runtime.device = "cpu"` for a small model, or try the whole story out with `awqdeploy rehearse`
    "#);
}

#[test]
fn ram_that_does_not_suffice_is_refused() {
    let text = awq(AUTO.0, AUTO.1).replace("120GiB", "32GiB");
    assert_snapshot!(refused(&text, "one-16gb"), @"
    ram-does-not-fit
    TP 1 with 32.0 GiB of weights in RAM per GPU needs 36.5 GiB of RAM, and the service may use 32.0 GiB
    raise `memory.ram` where the host has more, add RAM, or use a smaller model or more VRAM
    ");
}

#[test]
fn sizes_that_do_not_divide_the_model_are_refused() {
    assert_snapshot!(refused(&awq("size = 4", "size = 3"), "four-16gb"), @"
    invalid-tensor-parallel-size
    `tensor-parallel-size = 3` does not work for this model: its 16 attention heads cannot be split evenly
    sizes that work: 1, 2, 4, 8
    ");
    let mut eight = facts("four-16gb");
    eight.gpus.extend(eight.gpus.clone());
    let gptq = awq("size = 4", "size = 8").replace(
        "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit",
        "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ",
    );
    assert_snapshot!(refused_with(&gptq, &eight, None), @"
    invalid-tensor-parallel-size
    `tensor-parallel-size = 8` does not work for this model: a quantisation group of 128 would straddle two ranks, which hold 64 columns of an expert each
    sizes that work: 1, 2, 4
    ");
    assert!(plan_of(&awq("size = 4", "size = 8"), &eight, None).is_ok());
    let auto = gptq.replace("size = 8", "size = \"auto\"");
    let size = |facts: &Facts| plan_of(&auto, facts, None).map(|plan| plan.memory.tensor_parallel_size);
    assert_eq!(size(&eight), Ok(4), "the largest that divides it");
    for gpu in &mut eight.gpus {
        gpu.memory_total = ByteSize::gib(3);
    }
    assert_eq!(size(&eight).unwrap_err().code, "does-not-fit", "a size that cannot work is no answer");
}

#[test]
fn offload_is_refused_where_the_version_or_the_environment_breaks_it() {
    let auto = awq(AUTO.0, AUTO.1);
    assert_snapshot!(refused(&auto.replace("0.26.0", "0.19.1"), "one-16gb"), @"
    offload-broken-in-version
    the weights do not fit on the GPUs, and offload does not work in vLLM `0.19.1`: an assertion ends its engine when weights of a hybrid model are offloaded
    pin `runtime.vllm` to 0.26.0, which was measured, or another from 0.20 to 0.32
    ");
    assert_snapshot!(refused(&auto.replace("0.26.0", "0.33.0"), "one-16gb"), @"
    offload-broken-in-version
    the weights do not fit on the GPUs, and offload does not work in vLLM `0.33.0`: it leaves repacked weights on the GPU (seen with 0.33.0 on an H200)
    pin `runtime.vllm` to 0.26.0, which was measured, or another from 0.20 to 0.32
    ");
    let environment = |line: &str| format!("{auto}\n[vllm.environment]\n{line}\n");
    assert_snapshot!(refused(&environment("VLLM_WEIGHT_OFFLOADING_DISABLE_UVA = \"1\""), "one-16gb"), @r#"
    environment-breaks-offload
    `VLLM_WEIGHT_OFFLOADING_DISABLE_UVA=1` makes quantised experts fail: "b_q_weight is not on GPU"
    remove it from `vllm.environment`
    "#);
    let v2 = environment("VLLM_USE_V2_MODEL_RUNNER = \"1\"");
    assert_snapshot!(refused(&v2, "one-16gb"), @"
    environment-breaks-offload
    with `VLLM_USE_V2_MODEL_RUNNER=1` vLLM `0.26.0` ignores the offload silently
    remove it from `vllm.environment`
    ");
    assert!(plan(&v2.replace("0.26.0", "0.28.0"), "one-16gb").is_ok());
    assert!(plan(&v2, "four-16gb").is_ok(), "nothing is offloaded there");
}

#[test]
fn gpus_and_drivers_that_are_too_old_are_refused() {
    let mut old = facts("four-16gb");
    old.gpus[3].compute_capability = (7, 0);
    old.gpus[3].name = "Tesla V100-PCIE-16GB".into();
    assert_snapshot!(refused_with(AWQ, &old, None), @"
    compute-capability
    `Tesla V100-PCIE-16GB` has compute capability 7.0, and vLLM `0.26.0` needs 7.5 for this checkpoint
    use a newer GPU, or a checkpoint in a quantisation that this one can run
    ");
    assert!(plan_of(&awq("size = 4", "size = 1"), &old, None).is_ok(), "the old one is not used");
    let mut old = facts("four-16gb");
    old.driver = Some("570.133.20".into());
    assert_snapshot!(refused_with(AWQ, &old, None), @"
    driver-too-old
    the NVIDIA driver is `570.133.20`, and vLLM `0.26.0` is built for CUDA 13
    install driver 580 or later
    ");
    let without_offload = awq("0.26.0", "0.19.1");
    assert!(plan_of(&without_offload, &old, None).is_ok(), "built for CUDA 12.8");
}

#[test]
fn a_policy_without_offload_is_kept() {
    let none = awq(AUTO.0, AUTO.1).replace("[memory]", "[memory]\noffload = \"none\"");
    assert_snapshot!(refused(&none, "one-16gb"), @r#"
    does-not-fit
    with TP 1 30.5 GiB of VRAM are missing, without offload: weights 42.8 GiB, overhead 1.8 GiB, KV cache 242.2 MiB do not fit into 14.4 GiB, beside which vLLM takes 544.0 MiB
    set `memory.offload = "auto"` to keep experts in RAM, or use more GPUs
    "#);
    let absurd = none.replace("\"none\"", "\"1TiB\"");
    assert!(plan(&absurd, "four-16gb").is_ok(), "all experts in RAM, however large the figure");
    let fixed = none.replace("\"none\"", "\"36GiB\"");
    let plan = plan(&fixed, "one-16gb").unwrap();
    let at = plan.serve.argv.iter().position(|text| text == "--cpu-offload-gb").unwrap();
    assert_eq!(plan.serve.argv[at + 1], "36");
    assert_snapshot!(refused(&none.replace("\"none\"", "\"20GiB\""), "one-16gb"), @r#"
    does-not-fit
    with TP 1 10.7 GiB of VRAM are missing, even with 19.8 GiB of weights in RAM: weights 23.1 GiB, overhead 1.8 GiB, KV cache 242.2 MiB do not fit into 14.4 GiB, beside which vLLM takes 544.0 MiB
    set `memory.offload = "auto"` to keep experts in RAM, or use more GPUs
    "#);
}

#[test]
fn a_context_that_is_too_long_is_refused_with_the_longest_that_fits() {
    let long = format!("{AWQ}\n[limits]\nmax-model-len = 262144\nmax-num-seqs = 8\n");
    let long = long.replace("[memory]", "[memory]\noffload = \"none\"");
    let refusal = refused(&long, "four-16gb");
    assert_snapshot!(refusal, @"
    does-not-fit
    with TP 4 1.4 GiB of VRAM are missing on each of 4 GPUs, without offload: weights 10.8 GiB, overhead 2.0 GiB, KV cache 3.0 GiB do not fit into 14.4 GiB, beside which vLLM takes 1.0 GiB
    by this estimate `max-model-len = 136816` would fit; else use GPUs with more memory, more of them, or a smaller quantisation
    ");
    let longest = refusal.split("max-model-len = ").nth(1).unwrap();
    let longest = &longest[..longest.find('`').unwrap()];
    let as_told = long.replace("262144", longest);
    assert!(plan(&as_told, "four-16gb").is_ok(), "what the refusal says fits");
    let longer = (longest.parse::<u32>().unwrap() + 1).to_string();
    assert!(plan(&long.replace("262144", &longer), "four-16gb").is_err());
}

#[test]
fn what_is_free_now_does_not_matter() {
    let mut busy = facts("four-16gb");
    for gpu in &mut busy.gpus {
        gpu.memory_free = ByteSize::mib(100);
    }
    busy.ram_available = ByteSize::gib(1);
    assert_eq!(plan_of(AWQ, &busy, None), plan(AWQ, "four-16gb"));
}

#[test]
fn the_cpu_needs_no_gpu() {
    let cpu = awq("\"0.26.0\"", "\"0.32.0\"\ndevice = \"cpu\"")
        .replace("[\"--generation-config\", \"vllm\"]", "[\"--enforce-eager\"]");
    let falcon = Checkpoint::of(r#"{"architectures": ["FalconForCausalLM"]}"#, None).unwrap();
    let plan = plan_of(&cpu, &facts("no-gpu"), Some(falcon)).unwrap();
    assert_snapshot!(shown(&plan), @"
    /var/lib/awqdeploy/store/runtimes/vllm/bin/vllm serve /var/lib/awqdeploy/store/models/awq
      --served-model-name qwen3-next-80b
      --host 127.0.0.1
      --port 8000
      --tensor-parallel-size 4
      --max-model-len 8192
      --max-num-seqs 4
      --max-num-batched-tokens 4096
      --enforce-eager
    TP 4: weights - + overhead - + KV cache - (needs -, 0 tokens) = -; offload 0 B, missing 0 B; RAM 4.2 GiB
    no prediction
    architecture-not-modelled: `FalconForCausalLM` is not modelled: memory is estimated from file sizes, the KV cache not counted
    ");
    assert_snapshot!(refused(&cpu, "no-gpu"), @"
    ram-does-not-fit
    TP 4 needs 47.1 GiB of RAM, and the service may use 21.4 GiB
    raise `memory.ram` where the host has more, add RAM, or use a smaller model or more VRAM
    ");
}

#[test]
fn a_model_that_is_not_modelled_is_estimated_and_says_so() {
    let falcon = |gib| {
        let files = Some(ByteSize::gib(gib));
        Checkpoint::of(r#"{"architectures": ["FalconForCausalLM"]}"#, files)
    };
    let plan = plan_of(AWQ, &facts("four-16gb"), Some(falcon(40).unwrap())).unwrap();
    assert_snapshot!(shown(&plan), @"
    /var/lib/awqdeploy/store/runtimes/vllm/bin/vllm serve /var/lib/awqdeploy/store/models/awq
      --served-model-name qwen3-next-80b
      --host 127.0.0.1
      --port 8000
      --tensor-parallel-size 4
      --max-model-len 8192
      --max-num-seqs 4
      --max-num-batched-tokens 4096
      --gpu-memory-utilization 0.9
      --disable-custom-all-reduce
      --generation-config vllm
    TP 4: weights 10.0 GiB + overhead 2.0 GiB + KV cache 2.4 GiB (needs -, 0 tokens) = 14.4 GiB; offload 0 B, missing 0 B; RAM 11.5 GiB
    no prediction
    architecture-not-modelled: `FalconForCausalLM` is not modelled: memory is estimated from file sizes, the KV cache not counted
    custom-all-reduce-disabled: vLLM's own all-reduce does not work on more than two GPUs that only PCIe connects: it is switched off
    ");
    assert_snapshot!(refused_with(AWQ, &facts("four-16gb"), Some(falcon(60).unwrap())), @"
    does-not-fit
    with TP 4 2.6 GiB of VRAM are missing on each of 4 GPUs, with nothing that can be offloaded: weights 15.0 GiB, overhead 2.0 GiB do not fit into 14.4 GiB, beside which vLLM takes 1.0 GiB
    use GPUs with more memory, more of them, or a smaller quantisation
    ");
}

#[test]
fn warnings_say_what_is_to_be_expected() {
    let codes = |text: &str, facts: &Facts| -> Vec<String> {
        let plan = plan_of(text, facts, None).unwrap();
        plan.findings.into_iter().map(|finding| finding.code).collect()
    };
    let mut slow = facts("one-16gb");
    slow.gpus[0].pcie_generation = 3;
    slow.gpus[0].pcie_width = 4;
    assert_eq!(
        codes(&awq(AUTO.0, AUTO.1), &slow),
        ["named-awq-stored-as-compressed-tensors", "offload-gave-same-text", "predicted-too-slow"]
    );
    assert_eq!(
        codes(&awq("0.26.0", "0.21.0"), &facts("four-16gb")),
        ["named-awq-stored-as-compressed-tensors", "vllm-version-not-in-table", "custom-all-reduce-disabled"]
    );
    let published = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
    let owned = AWQ.replace(published, "awq-makers/Qwen3-Next-80B-A3B-Instruct-4bit");
    let plan = plan_of(&owned, &facts("four-16gb"), Checkpoint::known(published)).unwrap();
    assert!(plan.findings.iter().all(|finding| !finding.code.starts_with("named-")), "{:?}", plan.findings);
}

#[test]
fn less_vram_than_the_gpu_has_lowers_the_utilization() {
    let mut large = facts("one-16gb");
    large.gpus[0].memory_total = ByteSize::gib(80);
    let plan = plan_of(&awq(AUTO.0, AUTO.1), &large, None).unwrap();
    let at = plan.serve.argv.iter().position(|text| text == "--gpu-memory-utilization").unwrap();
    assert_eq!(plan.serve.argv[at + 1], "0.18", "0.9 of 16 of 80 GiB");
    assert!(plan.memory.offload.0 > 0, "the other 64 GiB are not counted on");
}

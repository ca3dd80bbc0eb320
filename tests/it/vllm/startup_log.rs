//! The tale of a starting vLLM's log.

use awqdeploy::{
    domain::vllm::startup_log::{Failure, Phase, Reason},
    host::rehearsal::engine::{Options, startup_log},
};

#[test]
fn phases_are_read_from_real_lines() {
    for (line, status) in [
        (
            "(APIServer pid=812) INFO 11-23 06:29:40 [api_server.py:1839] vLLM API server version 0.32.0",
            "reading arguments",
        ),
        (
            "INFO 11-23 06:29:40 [utils.py:233] non-default args: {'model_tag': 'm', 'enforce_eager': True}",
            "reading arguments",
        ),
        (
            "INFO 11-23 06:29:44 [model.py:547] Resolved architecture: Qwen3NextForCausalLM",
            "reading the model's configuration",
        ),
        (
            "(EngineCore_DP0 pid=871) INFO 11-23 06:29:51 [core.py:77] Initializing a V1 LLM engine (v0.32.0) with config: model='m', use torch.compile",
            "starting the engine",
        ),
        (
            "(EngineCore_DP0 pid=871) INFO 11-23 06:29:53 [gpu_model_runner.py:2602] Starting to load model m...",
            "loading the model",
        ),
        (
            "Loading safetensors checkpoint shards:   0% Completed | 0/10 [00:00<?, ?it/s]",
            "loading weights: 0 %",
        ),
        (
            "\rLoading safetensors checkpoint shards:  10% Completed | 1/10\rLoading safetensors checkpoint shards:  40% Completed | 4/10 [00:12<00:18,  3.01s/it]\n",
            "loading weights: 40 %",
        ),
        ("INFO 11-23 06:30:10 [default_loader.py:267] Loading weights took 12.34 seconds", "weights loaded"),
        (
            "INFO 11-23 06:30:11 [backends.py:548] Using cache directory: /c/torch_compile_cache for vLLM's torch.compile",
            "compiling",
        ),
        (
            "INFO 11-23 06:30:20 [gpu_worker.py:298] Available KV cache memory: 1.10 GiB",
            "allocating the KV cache",
        ),
        (
            "INFO 11-23 06:30:20 [kv_cache_utils.py:1087] GPU KV cache size: 24,480 tokens",
            "allocating the KV cache",
        ),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|#####     | 3/6",
            "capturing CUDA graphs",
        ),
        (
            "INFO 11-23 06:30:24 [core.py:210] init engine (profile, create kv cache, warmup model) took 14.20 seconds",
            "engine ready",
        ),
        (
            "INFO 11-23 06:30:25 [api_server.py:1912] Starting vLLM API server 0 on http://127.0.0.1:8000",
            "starting the API server",
        ),
        ("INFO:     Application startup complete.", "API server up"),
    ] {
        let phase = Phase::of(line).map(|phase| phase.to_string());
        assert_eq!(phase.as_deref(), Some(status), "{line}");
    }
    for line in ["", "INFO:     Started server process [7]", "GET /health 200", "checkpoint shards: done"] {
        assert_eq!(Phase::of(line), None, "{line}");
    }
}

/// The log of a real vLLM 0.32.0 (CPU build).
fn logged(name: &str) -> String {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vllm-logs");
    std::fs::read_to_string(path.join(name).with_extension("txt")).unwrap()
}

#[test]
fn a_real_start_is_followed_to_its_end() {
    let mut phases: Vec<String> =
        logged("started").lines().filter_map(Phase::of).map(|phase| phase.to_string()).collect();
    phases.dedup();
    insta::assert_snapshot!(phases.join("\n"), @r"
    reading arguments
    reading the model's configuration
    starting the engine
    loading the model
    loading weights: 0 %
    loading weights: 100 %
    weights loaded
    allocating the KV cache
    engine ready
    starting the API server
    API server up
    ");
    let log = logged("started");
    assert_eq!(Reason::among(log.lines()), None, "a good start shows no failure");
}

#[test]
fn real_failures_are_told_in_a_sentence() {
    let told = |name| Reason::among(logged(name).lines()).unwrap().to_string();
    insta::assert_snapshot!(told("no-kernel"), @"no kernel of this vLLM runs these weights here: NotImplementedError: No WNA16 MoE backend supports the deployment configuration.");
    insta::assert_snapshot!(told("engine-killed"), @"the engine died: vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.");
}

#[test]
fn the_rehearsal_engine_goes_through_the_phases_in_order() {
    let args = ["serve", "/m", "--api-key", "sekret", "--enforce-eager"].map(str::to_owned);
    let options = Options::from_arguments(&args, |_| None).unwrap();
    let log = startup_log(&options, ([127, 0, 0, 1], 8000).into());
    let phases: Vec<Phase> =
        log.iter().map(|line| Phase::of(line).unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(phases.is_sorted(), "{phases:?}");
    assert_eq!(phases.last(), Some(&Phase::Serving));
    let log = log.join("\n");
    assert!(log.contains("{'api_key': '***', 'enforce_eager': True}"), "{log}");
}

const FAILURES: &[(&str, Failure)] = &[
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has",
        Failure::GpuOutOfMemory,
    ),
    (
        "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization",
        Failure::GpuOutOfMemory,
    ),
    (
        "ValueError: Free memory on device cuda:0 (3.1/15.6 GiB) on startup is less than desired GPU memory utilization (0.9, 14.04 GiB). Decrease",
        Failure::GpuInUse,
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (262144), (6.04 GiB KV cache is needed",
        Failure::CacheTooSmall,
    ),
    (
        "ValueError: To serve at least one request with the model's max seq len (262144), (6.04 GiB KV cache is needed",
        Failure::CacheTooSmall,
    ),
    ("ValueError: No available memory for the cache blocks. Try increasing", Failure::CacheTooSmall),
    ("ValueError: max_num_seqs (256) exceeds available Mamba cache blocks (84).", Failure::TooManySequences),
    (
        "ValueError: Available memory on node 0 (0.5/23.5 GiB) on startup is less than desired",
        Failure::HostMemory,
    ),
    ("vllm: error: unrecognized arguments: --no-such-flag", Failure::UnknownArgument),
    ("vllm serve: error: argument --dtype: invalid choice: 'int3'", Failure::UnknownArgument),
    ("OSError: [Errno 98] Address already in use", Failure::PortInUse),
    (
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        Failure::PortInUse,
    ),
    (
        "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata",
        Failure::DamagedWeights,
    ),
    (
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name'",
        Failure::NoSuchModel,
    ),
    (
        "Value error, Quantization method specified in the model config (compressed-tensors) does not match the quantization method specified in the `quantization` argument (awq).",
        Failure::QuantizationMismatch,
    ),
    ("World size (4) is larger than the number of available GPUs (1) in this node.", Failure::TooFewGpus),
    ("TimeoutError: Timed out waiting for engine core processes to start.", Failure::EngineTimeout),
    (
        "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons:",
        Failure::NoKernel,
    ),
    ("RuntimeError: Engine core initialization failed. See root cause above.", Failure::EngineInitialization),
    ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", Failure::EngineDied),
];

#[test]
fn failures_are_read_from_real_lines() {
    for &(line, failure) in FAILURES {
        assert_eq!(Failure::of(line), Some(failure), "{line}");
        assert!(!failure.help().is_empty());
    }
    assert_eq!(Failure::of("INFO: all is well"), None);
    assert_eq!(Failure::of("Free memory on device cuda:0 is plenty"), None);
}

#[test]
fn the_root_of_a_crash_is_told_not_its_echo() {
    let log = [
        "(EngineCore_DP0 pid=71) INFO 11-23 06:30:01 [gpu_model_runner.py:2602] Starting to load model m...",
        "(EngineCore_DP0 pid=71) ERROR 11-23 06:30:02 [core.py:710] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.",
        "(EngineCore_DP0 pid=71) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. [again]",
        "(APIServer pid=70) RuntimeError: Engine core initialization failed. See root cause above.",
    ];
    let root =
        "the GPU is out of memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.";
    assert_eq!(Reason::among(log).unwrap().to_string(), root);
    assert_eq!(Reason::among(log.into_iter().rev()).unwrap().failure, Failure::GpuOutOfMemory);
    let echo = Reason::among([log[3]]).unwrap();
    assert_eq!(echo.failure, Failure::EngineInitialization);
    assert_eq!(Reason::among([log[0]]), None);
}

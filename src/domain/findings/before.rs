//! The rules of plans: what can be told before a service is stopped.

use super::rule::{Concerns, Rule, Severity};

/// A row of the table below, in the order number, code, condition, remedy, source.
pub(super) const fn rule(severity: Severity, concerns: Concerns, text: [&'static str; 5]) -> Rule {
    let [number, code, condition, remedy, source] = text;
    Rule { number, code, severity, concerns, condition, remedy, source }
}

const fn fatal(text: [&'static str; 5]) -> Rule {
    rule(Severity::Fatal, Concerns::Plan, text)
}

const fn warning(text: [&'static str; 5]) -> Rule {
    rule(Severity::Warning, Concerns::Plan, text)
}

const fn note(text: [&'static str; 5]) -> Rule {
    rule(Severity::Note, Concerns::Plan, text)
}

/// P01 to P20 are those of the study of vLLM 0.10.2 to 0.33.0; the later ones came
/// with use.
pub(super) const BEFORE: &[Rule] = &[
    fatal([
        "P01",
        "quantization-argument",
        "`--quantization` differs from what `config.json` names",
        "leave `--quantization` out",
        "vLLM 0.20.2, config/model.py:1004",
    ]),
    warning([
        "P02",
        "named-awq-stored-as-*",
        "the repository says AWQ, and `config.json` says something else",
        "none needed: it is served by the kernels of what it is stored as",
        "vLLM issue 25797; tensors of the published checkpoint",
    ]),
    fatal([
        "P03",
        "tensor-parallel-exceeds-gpus",
        "more ranks than GPUs",
        "set `tensor-parallel-size = \"auto\"`",
        "vLLM 0.20.2, config/parallel.py:812",
    ]),
    fatal([
        "P03",
        "no-gpu",
        "the runtime is for CUDA, and there is no GPU",
        "deploy on a host with an NVIDIA GPU",
        "vLLM 0.20.2, config/parallel.py:812",
    ]),
    fatal([
        "P04",
        "invalid-tensor-parallel-size",
        "heads or experts cannot be split evenly; or (P10) a quantisation group would straddle two ranks",
        "choose a size that divides them",
        "vLLM 0.20.2, marlin_utils.py:163-246",
    ]),
    fatal([
        "P04",
        "invalid-pipeline-parallel-size",
        "a pipeline of a model, vLLM or setting of which it is known not to run, or not known to",
        "set `pipeline-parallel-size = 1`",
        "vLLM 0.32.0, distributed/utils.py (`get_pp_indices`), config/model.py (`SupportsPP`)",
    ]),
    fatal([
        "P05",
        "vllm-too-old",
        "this vLLM lacks the architecture",
        "pin a later `runtime.vllm`",
        "model registries of vLLM's wheels",
    ]),
    fatal([
        "P05",
        "shared-expert-not-found",
        "vLLM 0.10.2 and a shared expert that is left in 16 bits",
        "pin `runtime.vllm` to 0.11.0 or later",
        "vLLM issue 25797",
    ]),
    fatal([
        "P06",
        "offload-broken-in-version",
        "weights must be offloaded, and this vLLM cannot do it for a hybrid model",
        "pin `runtime.vllm` to 0.20 to 0.32",
        "vLLM issue 26206; PR 36461; 0.33.0 on an H200 (docs/benchmarks.md)",
    ]),
    fatal([
        "P07",
        "environment-breaks-offload",
        "a variable that breaks or silences offload",
        "remove it from `vllm.environment`",
        "vLLM PR 43453, issues 51396 and 56283",
    ]),
    fatal([
        "P07",
        "no-pinned-memory",
        "weights must be offloaded, and the host is WSL",
        "boot Linux itself",
        "vLLM 0.20.2, platforms/interface.py:681",
    ]),
    warning([
        "P07",
        "expandable-segments-with-offload",
        "weights are offloaded, and `PYTORCH_CUDA_ALLOC_CONF` says `expandable_segments`",
        "remove it from `vllm.environment`",
        "vLLM PR 54972",
    ]),
    warning([
        "P07",
        "offload-needs-right-answers",
        "weights of a hybrid model are offloaded, in any other vLLM than 0.26.0",
        "set `validation.quality.min-known-answers`",
        "vLLM issue 38718",
    ]),
    note([
        "P07",
        "offload-gave-same-text",
        "weights of a hybrid model are offloaded, and this is vLLM 0.26.0, whose text was the same",
        "none; the known questions of a validation ask the real weights",
        "measured on H100s: docs/benchmarks.md",
    ]),
    fatal([
        "P08",
        "ram-does-not-fit",
        "offloaded weights and processes need more RAM than the service may use",
        "raise `memory.ram`, or add RAM; swap does not help pinned memory",
        "measured on an H100: 1.0 times the offload and 4 GiB",
    ]),
    fatal([
        "P09",
        "compute-capability",
        "a GPU is older than the method's kernels",
        "use a newer GPU, or another quantisation",
        "vLLM 0.20.2, schemes/compressed_tensors_wNa16.py:81",
    ]),
    warning([
        "P09",
        "dtype-float16",
        "`--dtype float16` on a model that was trained in bfloat16",
        "leave `--dtype` out",
        "inferred: float16 overflows where bfloat16 does not",
    ]),
    fatal([
        "P09",
        "dtype-not-taken",
        "`--quantization awq` or `gptq`, whose plain kernels take float16 only, on bfloat16, vLLM before 0.24",
        "leave `--quantization` out: vLLM then chooses kernels that take bfloat16",
        "vLLM 0.20.2: Supported dtypes: [torch.float16]",
    ]),
    warning([
        "P10",
        "experts-without-marlin",
        "a rank's columns of an expert are no multiple of 64",
        "choose a smaller tensor-parallel size",
        "vLLM 0.20.2, marlin_utils.py:229",
    ]),
    fatal([
        "P11",
        "gdn-gates-without-kernel",
        "quantised `in_proj_ba`, more than one rank, vLLM before 0.24",
        "pin `runtime.vllm` to 0.24 or later, or use one GPU",
        "vLLM issue 25638; kernels read in 0.10.2 and 0.20.2",
    ]),
    fatal([
        "P12",
        "shared-expert-without-kernel",
        "a quantised shared expert of which a rank has no multiple of 128 columns, vLLM before 0.24",
        "pin `runtime.vllm` to 0.24 or later, or use fewer ranks",
        "vLLM 0.20.2, marlin_utils.py:163",
    ]),
    fatal([
        "P13",
        "gptq-activation-order",
        "GPTQ with `desc_act` and groups, vLLM 0.30 or later",
        "pin `runtime.vllm` below 0.30, or use another checkpoint",
        "vLLM 0.30.0, AutoGPTQ configuration",
    ]),
    fatal([
        "P13",
        "gptq-asymmetric",
        "GPTQ that is not symmetric",
        "use a symmetric checkpoint",
        "vLLM 0.10.2 and later: Unsupported quantization config",
    ]),
    fatal([
        "P14",
        "fp8-cache",
        "`--kv-cache-dtype fp8` on a GPU before compute capability 8.9; from vLLM 0.20 on, before 8.0",
        "leave `--kv-cache-dtype` out",
        "vLLM issues 26646 and 26431",
    ]),
    fatal([
        "P15",
        "vram-held-by-others",
        "processes beside the service that is replaced hold VRAM that vLLM was told to use",
        "stop them, or lower `memory.gpu-memory-utilization`",
        "vLLM 0.20.2, v1/worker/utils.py:414",
    ]),
    fatal([
        "P15",
        "does-not-fit",
        "weights, overhead and KV cache need more than the GPUs have",
        "use more or larger GPUs, or a shorter context",
        "vLLM 0.20.2, v1/core/kv_cache_utils.py:697",
    ]),
    warning([
        "P15",
        "tight-vram",
        "the cache is large enough by the estimate, and too small if the estimate is off by what public logs differ",
        "lower `limits.max-model-len`, raise `memory.gpu-memory-utilization`, or add `--enforce-eager`",
        "public logs: graphs of 0.6 to 7.3 GiB with the same flags; Qwen2.5-32B-AWQ on 24 GB refused in two of three tries",
    ]),
    note([
        "P15",
        "sequences-wait",
        "the cache holds fewer sequences of `max-model-len` tokens than `max-num-seqs`",
        "none needed: vLLM lets the others wait, or computes them again",
        "vLLM: Maximum concurrency for N tokens per request",
    ]),
    note([
        "P15",
        "larger-cache-fits",
        "vLLM said at an earlier start of this that its share holds a larger KV cache than it takes",
        "none needed; `--kv-cache-memory-bytes` takes it",
        "vLLM: Replace gpu_memory_utilization config with `--kv-cache-memory=N` to fit into requested memory",
    ]),
    note([
        "P15",
        "gpu-memory-utilization-lowered",
        "`gpu-memory-utilization` leaves too little for CUDA's context and NCCL's buffers, and less is planned",
        "none needed",
        "vLLM 0.26.0, v1/worker/utils.py; four H100, of each of which 15.9 GiB were left: docs/benchmarks.md",
    ]),
    note([
        "P26",
        "gpus-idle",
        "the plan uses fewer GPUs than it may",
        "none needed; `parallelism.gpus` names others, and another service can use these",
        "this program: vLLM splits evenly, and the weakest GPU limits all",
    ]),
    warning([
        "P32",
        "gpu-mostly-unused",
        "`memory.gpu` or `gpu-memory-utilization` leaves more than 30 % of each GPU unused",
        "take `gpu` out of the profile's `[memory]`, or raise `gpu-memory-utilization`",
        "this program: an 80 GB card that was planned as one of 16 GB gave 55 tokens/s in place of 199",
    ]),
    note([
        "P16",
        "custom-all-reduce-disabled",
        "more than two GPUs that only PCIe connects",
        "none needed",
        "vLLM's own message: not supported on more than two PCIe-only GPUs",
    ]),
    fatal([
        "P17",
        "unknown-vllm-flag",
        "an argument that this vLLM does not know",
        "remove it from `vllm.arguments`",
        "argument parsers of 19 vLLM wheels",
    ]),
    warning([
        "P17",
        "unknown-vllm-variable",
        "a variable `VLLM_…` that this vLLM does not know",
        "remove it from `vllm.environment`, or correct its name",
        "envs.py of 19 vLLM wheels: what it does not name is not read",
    ]),
    warning([
        "P17",
        "vllm-version-not-in-table",
        "a vLLM whose arguments are not known here",
        "pin a version of the table",
        "argument parsers of 19 vLLM wheels",
    ]),
    fatal([
        "P18",
        "transformers-too-new",
        "vLLM before 0.12 with transformers 5 or later",
        "lock transformers below 5",
        "vLLM 0.11 with transformers 5: all_special_tokens_extended",
    ]),
    warning([
        "P19",
        "weights-differ-from-config",
        "the headers' sum differs from what `config.json` lets expect by more than 5 %",
        "take the model's original `config.json`: vLLM may leave layers in 16 bits without a word",
        "measured: GPTQ without its headers is 41.72 GiB, with them 39.2; cut or damaged files are errors",
    ]),
    warning([
        "P19",
        "index-total-differs",
        "the index's `total_size` is not the sum of the weight files' headers",
        "compare the files with the repository: one of them may be of another revision",
        "inferred; a warning, since vLLM does not read it and some tools count tied tensors twice",
    ]),
    fatal([
        "P20",
        "driver-too-old",
        "the driver is older than the CUDA that this vLLM is built for",
        "install a later driver",
        "NVIDIA's table of CUDA releases: 570 for 12.8, 580 for 13",
    ]),
    warning([
        "P21",
        "architecture-not-modelled",
        "architecture or quantisation is not modelled here",
        "leave room: the KV cache is not counted",
        "this program's own limits",
    ]),
    warning([
        "P22",
        "predicted-too-slow",
        "the prediction is below `validation.min-decode-tokens-per-second`",
        "use a faster link, more VRAM, or a smaller quantisation",
        "byte model, measured on an H100",
    ]),
    fatal([
        "P23",
        "context-exceeds-model",
        "`limits.max-model-len` is longer than `max_position_embeddings`",
        "lower `limits.max-model-len`",
        "vLLM: User-specified max_model_len is greater than the derived max_model_len",
    ]),
    fatal([
        "P32",
        "quantization-not-named",
        "`quantize_config.json` or `quant_config.json` alone names the quantisation, and `--quantization` is not given",
        "add `--quantization` to `vllm.arguments`",
        "vLLM 0.32, model_loader/weight_utils.py:192",
    ]),
    fatal([
        "P33",
        "sparsity-removed",
        "a `sparsity_config` that names layers, and vLLM 0.24 or later",
        "pin `runtime.vllm` below 0.24.0, or remove `sparsity_config`",
        "vLLM 0.32, compressed_tensors.py:295",
    ]),
    fatal([
        "P36",
        "answers-not-validated",
        "a flag lets the server answer no text, or no probabilities",
        "remove it from `vllm.arguments`",
        "this program's checks",
    ]),
    warning([
        "P34",
        "draft-not-counted",
        "a draft model that is not on this host as a folder",
        "name its folder in `--speculative-config`; else leave room for it",
        "this program's own limits",
    ]),
    note([
        "P34",
        "flags-not-counted",
        "a flag changes memory in a way that is not modelled",
        "leave room: lower `memory.gpu-memory-utilization` if it does not start",
        "this program's table of flags",
    ]),
    note([
        "P35",
        "without-cuda-graphs",
        "`--enforce-eager`, or an optimisation level of 0",
        "remove it, if it is not needed: CUDA graphs spare the launches",
        "vLLM, config/compilation.py",
    ]),
    rule(
        Severity::Fatal,
        Concerns::Runtime,
        [
            "P24",
            "engine-disagrees",
            "the installed vLLM, asked before the stop, makes something else of the command line",
            "compare `vllm.arguments` and `config.json` with what vLLM says",
            "the runtime's own EngineArgs.create_engine_config",
        ],
    ),
    warning([
        "P31",
        "headers-not-read",
        "the locked model is not here, and the hub could not be asked for its headers",
        "fetch the model first, or plan where the hub can be reached",
        "this program: the built-in shape is rebuilt from what is published",
    ]),
    fatal([
        "P25",
        "mig-enabled",
        "a GPU that is to be used is cut into instances (MIG)",
        "disable MIG on it: `nvidia-smi -mig 0`",
        "NVML; instances are not modelled here",
    ]),
];

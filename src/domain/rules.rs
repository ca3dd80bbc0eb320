//! Every rule of the preflight as data: what it watches, how grave it is, and who says so.
//!
//! The checks themselves are in [`super::preflight`] and [`super::placement`]; what they find takes its
//! severity and source from here, so that no finding lacks either.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    #[default]
    Note,
    /// It may go wrong, or slower than one would like.
    Warning,
    /// It will not work.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fatal => "fatal",
        })
    }
}

/// What a rule has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// The host alone: `doctor` asks it.
    Host,
    /// A profile on a host.
    Plan,
    /// A running engine against its plan.
    Engine,
}

/// One thing that is known to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number: `P03`. Rules of one number watch the same thing.
    pub number: &'static str,
    /// The stable name that findings carry. A trailing `*` stands for what differs.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What has to be known to judge it.
    pub concerns: Concerns,
    /// When it holds.
    pub condition: &'static str,
    /// What helps, in general. A finding may know better.
    pub remedy: &'static str,
    /// Where this is known from.
    pub source: &'static str,
}

impl Rule {
    /// The rule with this code.
    pub fn of(code: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| match rule.code.strip_suffix('*') {
            Some(start) => code.starts_with(start),
            None => rule.code == code,
        })
    }
}

/// Something to know before going on, or after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable name: `named-awq-stored-as-compressed-tensors`.
    pub code: String,
    /// The number of the rule that found it: `P02`.
    #[serde(default)]
    pub rule: String,
    /// How grave it is.
    #[serde(default)]
    pub severity: Severity,
    /// A lowercase fragment.
    pub message: String,
    /// What to do about it, if anything.
    pub help: Option<String>,
    /// Where this is known from.
    #[serde(default)]
    pub source: String,
}

impl Finding {
    /// A finding of the rule with this code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let rule = Rule::of(&code);
        Self {
            rule: rule.map_or("", |rule| rule.number).to_owned(),
            severity: rule.map_or(Severity::Fatal, |rule| rule.severity),
            source: rule.map_or("", |rule| rule.source).to_owned(),
            message: message.into(),
            help: None,
            code,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A row of the table below, in the order number, code, condition, remedy, source.
const fn rule(severity: Severity, concerns: Concerns, text: [&'static str; 5]) -> Rule {
    let [number, code, condition, remedy, source] = text;
    Rule { number, code, severity, concerns, condition, remedy, source }
}

const fn fatal(text: [&'static str; 5]) -> Rule {
    rule(Severity::Fatal, Concerns::Plan, text)
}

const fn warning(text: [&'static str; 5]) -> Rule {
    rule(Severity::Warning, Concerns::Plan, text)
}

/// All rules by number. P01 to P20 are those of the study of vLLM 0.10.2 to 0.33.0; the later ones came
/// with use.
pub const RULES: &[Rule] = &[
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
        "vLLM issue 26206; PR 36461; 0.33.0 read in its source, not run",
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
        "weights of a hybrid model are offloaded",
        "set `validation.quality.min-known-answers`",
        "vLLM issue 38718",
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
        "`--kv-cache-dtype fp8` on a GPU before compute capability 8.9",
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
    fatal([
        "P15",
        "too-many-sequences",
        "more sequences than blocks for their recurrent state",
        "lower `limits.max-num-seqs`",
        "vLLM 0.20.2, config/compilation.py:1436",
    ]),
    rule(
        Severity::Note,
        Concerns::Plan,
        [
            "P16",
            "custom-all-reduce-disabled",
            "more than two GPUs that only PCIe connects",
            "none needed",
            "vLLM's own message: not supported on more than two PCIe-only GPUs",
        ],
    ),
    fatal([
        "P17",
        "unknown-vllm-flag",
        "an argument that this vLLM does not know",
        "remove it from `vllm.arguments`",
        "argument parsers of 19 vLLM wheels",
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
        "index-total-differs",
        "the index's `total_size` is not the sum of the shards' tensors",
        "fetch the checkpoint again",
        "safetensors headers; cut or damaged shards are an error, not a finding",
    ]),
    rule(
        Severity::Fatal,
        Concerns::Host,
        [
            "P20",
            "driver-too-old",
            "the driver is older than the CUDA that this vLLM is built for",
            "install a later driver",
            "NVIDIA's table of CUDA releases: 570 for 12.8, 580 for 13",
        ],
    ),
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
        "P24",
        "invalid-vllm-version",
        "`runtime.vllm` is not a version",
        "write it as `0.26.0`",
        "this program's own limits",
    ]),
];

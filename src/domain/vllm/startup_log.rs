//! Reads from log lines what a starting engine does, and why one failed.
//!
//! The texts are those of vLLM 0.10 to 0.33, found in its sources and in the logs of real starts. A line
//! that is not known says nothing: a later vLLM with other words still starts, it only tells less.

use std::fmt;

/// The phases of a start, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The program runs and has understood its arguments.
    ReadingArguments,
    /// Looks the model's architecture up.
    ResolvingModel,
    /// The engine's processes start.
    StartingEngine,
    /// The model's layers are made.
    LoadingModel,
    /// A part of the shards has been read.
    LoadingWeights {
        /// 0 to 100.
        percent: u8,
    },
    /// The weights are where they belong.
    WeightsLoaded,
    /// `torch.compile` works, or loads what it kept.
    Compiling,
    /// Memory was profiled and the KV cache is laid out.
    AllocatingCache,
    /// CUDA graphs are being captured.
    CapturingGraphs,
    /// The engine is up; the API server is not.
    EngineReady,
    /// The API server is about to listen.
    StartingServer,
    /// Requests are answered.
    Serving,
}

/// Each phase with the texts that begin it. The first text found in a line decides.
const PHASES: &[(&str, Phase)] = &[
    // These two print whole configurations, in which the words of later phases may occur.
    ("non-default args", Phase::ReadingArguments),
    ("Initializing a V1 LLM engine", Phase::StartingEngine),
    ("Application startup complete", Phase::Serving),
    ("Starting vLLM server on", Phase::StartingServer),
    ("Starting vLLM API server", Phase::StartingServer),
    ("init engine (", Phase::EngineReady),
    ("Graph capturing finished", Phase::CapturingGraphs),
    ("Capturing CUDA graph", Phase::CapturingGraphs),
    ("Available KV cache memory", Phase::AllocatingCache),
    ("KV cache size:", Phase::AllocatingCache),
    ("Maximum concurrency for", Phase::AllocatingCache),
    // Not the bare words: the advice on `--enforce-eager` has them too.
    ("for vLLM's torch.compile", Phase::Compiling),
    ("torch.compile took", Phase::Compiling),
    ("torch.compile takes", Phase::Compiling),
    ("Dynamo bytecode transform", Phase::Compiling),
    ("Compiling a graph", Phase::Compiling),
    ("Loading weights took", Phase::WeightsLoaded),
    ("Model loading took", Phase::WeightsLoaded),
    ("Starting to load model", Phase::LoadingModel),
    ("world_size=", Phase::StartingEngine),
    ("Resolved architecture", Phase::ResolvingModel),
    ("Using max model len", Phase::ResolvingModel),
    ("vLLM API server version", Phase::ReadingArguments),
];

/// `Loading safetensors checkpoint shards:  40% Completed | 4/10`, also for `pt` and multi-threaded.
const SHARDS: &str = "checkpoint shards:";

impl Phase {
    /// The phase that this line of the log shows, if it shows one.
    pub fn of(line: &str) -> Option<Self> {
        let line = last_state(line);
        if let Some((_, progress)) = line.split_once(SHARDS) {
            let percent = progress.split_once('%')?.0.trim().parse().ok()?;
            return Some(Self::LoadingWeights { percent });
        }
        PHASES.iter().find(|(text, _)| line.contains(text)).map(|&(_, phase)| phase)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadingArguments => "reading arguments",
            Self::ResolvingModel => "reading the model's configuration",
            Self::StartingEngine => "starting the engine",
            Self::LoadingModel => "loading the model",
            Self::LoadingWeights { percent } => return write!(f, "loading weights: {percent} %"),
            Self::WeightsLoaded => "weights loaded",
            Self::Compiling => "compiling",
            Self::AllocatingCache => "allocating the KV cache",
            Self::CapturingGraphs => "capturing CUDA graphs",
            Self::EngineReady => "engine ready",
            Self::StartingServer => "starting the API server",
            Self::Serving => "API server up",
        })
    }
}

/// Why an engine did not start, or died, as its log shows it. Ordered from the least to the most telling:
/// where a log shows several, the greatest is the root of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The API server gave up on its engine. Always the echo of something that was logged before.
    EngineInitialization,
    /// The engine died under requests.
    EngineDied,
    /// The engine took longer than `VLLM_ENGINE_READY_TIMEOUT_S`.
    EngineTimeout,
    /// vLLM took the model's path for a name on the hub, because there is no such folder.
    NoSuchModel,
    /// A weight file is cut off or damaged.
    DamagedWeights,
    /// No kernel of this vLLM runs these weights on this device.
    NoKernel,
    /// `--quantization` contradicts `config.json`.
    QuantizationMismatch,
    /// vLLM does not know an argument, or not this value of it.
    UnknownArgument,
    /// Another process has the port.
    PortInUse,
    /// More ranks than GPUs.
    TooFewGpus,
    /// This vLLM cannot offload this model.
    OffloadUnsupported,
    /// The recurrent state of `max-num-seqs` sequences does not fit.
    TooManySequences,
    /// The memory left for the KV cache does not hold one request of full length.
    CacheTooSmall,
    /// Host memory is too small for the CPU build's share.
    HostMemory,
    /// Other processes hold GPU memory that this one was told to use.
    GpuInUse,
    /// The GPU ran out of memory.
    GpuOutOfMemory,
}

/// Each failure with its texts: all fragments of one row, in this order, must be in the line.
const FAILURES: &[(&[&str], Failure)] = &[
    (&["CUDA out of memory"], Failure::GpuOutOfMemory),
    (&["OutOfMemoryError"], Failure::GpuOutOfMemory),
    (&["not enough GPU memory"], Failure::GpuOutOfMemory),
    (&["Free memory on device", "less than desired GPU memory utilization"], Failure::GpuInUse),
    (&["Available memory on node"], Failure::HostMemory),
    (&["To serve at least one request with the model"], Failure::CacheTooSmall),
    (&["No available memory for the cache blocks"], Failure::CacheTooSmall),
    (&["max_num_seqs", "exceeds available Mamba cache blocks"], Failure::TooManySequences),
    (&["V1 CPU offloading requires uva"], Failure::OffloadUnsupported),
    (&["World size", "larger than the number of available GPUs"], Failure::TooFewGpus),
    (&["ddress already in use"], Failure::PortInUse),
    (&["error: unrecognized arguments"], Failure::UnknownArgument),
    (&["error: argument -"], Failure::UnknownArgument),
    (&["Quantization method", "does not match"], Failure::QuantizationMismatch),
    (&["Failed to find a kernel that can implement"], Failure::NoKernel),
    (&["MoE backend supports the deployment configuration"], Failure::NoKernel),
    (&["SafetensorError"], Failure::DamagedWeights),
    (&["HFValidationError"], Failure::NoSuchModel),
    (&["Timed out waiting for engine core"], Failure::EngineTimeout),
    (&["EngineDeadError"], Failure::EngineDied),
    (&["EngineCore encountered a fatal error"], Failure::EngineDied),
    (&["Engine core initialization failed"], Failure::EngineInitialization),
];

impl Failure {
    /// The failure that this line of the log shows, if it shows one.
    pub fn of(line: &str) -> Option<Self> {
        let line = last_state(line);
        FAILURES.iter().find(|(fragments, _)| in_order(line, fragments)).map(|&(_, failure)| failure)
    }

    /// The remedy.
    pub const fn help(self) -> &'static str {
        match self {
            Self::EngineInitialization | Self::EngineDied => {
                "the engine's own error is further up in the log"
            }
            Self::EngineTimeout => "raise `timeouts.start`",
            Self::NoSuchModel => "run `awqdeploy verify` and deploy again",
            Self::DamagedWeights => "run `awqdeploy verify`: it names the file",
            Self::QuantizationMismatch => {
                "drop `--quantization` from `vllm.arguments`: vLLM reads it from the model"
            }
            Self::NoKernel => {
                "try another `tensor-parallel-size` or vLLM version: both decide which kernels fit"
            }
            Self::UnknownArgument => "compare `vllm.arguments` with `vllm serve --help=all`",
            Self::PortInUse => "`ss -ltnp` names who has the port",
            Self::TooFewGpus => "set `tensor-parallel-size = \"auto\"`",
            Self::OffloadUnsupported => "choose a vLLM between 0.20 and 0.32 for offloading",
            Self::TooManySequences => "lower `max-num-seqs`",
            Self::CacheTooSmall => "lower `max-model-len`, or offload more",
            Self::HostMemory => "lower `VLLM_CPU_KVCACHE_SPACE`, or free memory",
            Self::GpuInUse => "`nvidia-smi` names who has the memory",
            Self::GpuOutOfMemory => {
                "offload more, lower `gpu-memory-utilization` or `max-num-batched-tokens`"
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EngineInitialization => "the engine did not start",
            Self::EngineDied => "the engine died",
            Self::EngineTimeout => "the engine was not ready in vLLM's own time limit",
            Self::NoSuchModel => "vLLM found no model at its path",
            Self::DamagedWeights => "a weight file is damaged",
            Self::QuantizationMismatch => "`--quantization` contradicts the model",
            Self::NoKernel => "no kernel of this vLLM runs these weights here",
            Self::UnknownArgument => "vLLM does not know an argument",
            Self::PortInUse => "the port is in use",
            Self::TooFewGpus => "there are fewer GPUs than ranks",
            Self::OffloadUnsupported => "this vLLM cannot offload this model",
            Self::TooManySequences => "the state of so many sequences does not fit",
            Self::CacheTooSmall => "the KV cache is too small for one request",
            Self::HostMemory => "host memory is too small",
            Self::GpuInUse => "other processes hold GPU memory",
            Self::GpuOutOfMemory => "the GPU is out of memory",
        })
    }
}

/// A failure with the log line that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The failure.
    pub failure: Failure,
    /// The log line, without its prefix.
    pub(crate) line: String,
}

impl Reason {
    /// The most telling failure of a log. Of several lines with the same failure, the first counts: the later
    /// ones are its echoes in tracebacks of other processes.
    pub fn among<'a>(log: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut found: Option<Self> = None;
        for line in log {
            let Some(failure) = Failure::of(line) else {
                continue;
            };
            if found.as_ref().is_none_or(|found| failure > found.failure) {
                found = Some(Self { failure, line: words_of(last_state(line)).to_owned() });
            }
        }
        found
    }
}

impl fmt::Display for Reason {
    /// "the GPU is out of memory: CUDA out of memory. Tried to allocate 2.50 GiB."
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.failure, self.line)
    }
}

/// The last state of a progress bar, which overwrites its line with carriage returns.
fn last_state(line: &str) -> &str {
    let line = line.trim_end();
    line.rsplit('\r').next().unwrap_or(line)
}

fn in_order(mut line: &str, fragments: &[&str]) -> bool {
    fragments.iter().all(|fragment| line.split_once(fragment).map(|(_, rest)| line = rest).is_some())
}

/// The text of a line behind `(EngineCore_DP0 pid=71) ERROR 11-23 06:30:02 [core.py:710] `. Each part of this
/// prefix may be missing.
fn words_of(line: &str) -> &str {
    let mut rest = line.trim();
    if rest.starts_with('(')
        && let Some((process, after)) = rest.split_once(") ")
        && process.contains("pid=")
    {
        rest = after;
    }
    let level = ["INFO ", "WARNING ", "ERROR "].iter().find_map(|level| rest.strip_prefix(level));
    if let Some((_, after)) = level.and_then(|rest| rest.split_once("] ")) {
        rest = after;
    }
    rest.trim_start()
}

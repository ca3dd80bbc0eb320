//! A profile: what a person wants served, and what counts as served well.
//!
//! A text becomes a [`Profile`] in three stages: its syntax and keys (`document`), its types (`raw`), and
//! its values (`review`, by the `rules`). Each stage reports all that it finds, with its place.

mod extra;
mod keys;
mod neighbours;
mod raw;
mod review;
pub(super) mod rules;

use super::{
    document::{Document, Fault, Strangers},
    problem::Problem,
    secrets::Secrets,
    size::Bytes,
};
pub(super) use extra::kept_variable;
pub use keys::KEYS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// A validated profile. Only [`Profile::parse`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: String,
    service: String,
    model: Model,
    runtime: Runtime,
    listen: Listen,
    tensor_parallel: TensorParallel,
    memory: Memory,
    limits: Limits,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    secrets: Secrets,
    timeouts: Timeouts,
    gates: Gates,
    tolerances: Tolerances,
    watch: Watch,
}

/// Where the model comes from and what clients call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// `owner/name` on the hub.
    pub repo: String,
    /// Other repositories with the same files, best first: mirrors, and copies of what may vanish.
    pub alternatives: Vec<String>,
    /// A branch, tag or commit.
    pub revision: String,
    /// A local folder to take the files from.
    pub path: Option<PathBuf>,
    /// The key, in PEM, whose signature is asked for when the model is locked.
    pub signed_by: Option<PathBuf>,
    /// `--served-model-name`.
    pub served_name: String,
    /// What the service reads of the files before each start.
    pub verify_at_start: VerifyAtStart,
}

/// What the service reads of its model before each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyAtStart {
    /// Files that were touched since they were last proven.
    #[default]
    Memo,
    /// All.
    Full,
}

/// Which vLLM serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The version without a local part: `0.26.0`.
    pub vllm: String,
    /// What it computes on.
    pub device: Device,
    /// What it runs on.
    pub python: Python,
}

/// What vLLM runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Python {
    /// The interpreter that the runtime's lock names; the host's, where it names none.
    #[default]
    Locked,
    /// The host's own, whatever its updates make of it.
    System,
    /// That of an installation that somebody else keeps, which has vLLM.
    Given(PathBuf),
}

/// What vLLM computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// NVIDIA GPUs.
    Cuda,
    /// The CPU build, for machines without a GPU.
    Cpu,
}

/// The address of the OpenAI-compatible API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listen {
    /// `--host`.
    pub host: IpAddr,
    /// `--port`.
    pub port: u16,
}

/// `--tensor-parallel-size`, fixed or left to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorParallel {
    /// The plan chooses.
    Auto,
    /// Exactly this many ranks, at least 1.
    Fixed(u32),
}

/// What the service may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// VRAM of each GPU to count on; absent: what the GPU has.
    pub gpu: Option<Bytes>,
    /// RAM the service may use; also its `MemoryMax=`.
    pub ram: Option<Bytes>,
    /// `--gpu-memory-utilization`, above 0 and at most 1.
    pub gpu_memory_utilization: f64,
    /// How much of the weights lives in RAM.
    pub offload: Offload,
}

/// `--cpu-offload-gb`, fixed or left to the plan. Per rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// As much as is needed, or nothing.
    Auto,
    /// Nothing.
    None,
    /// Exactly this much per rank.
    Fixed(Bytes),
}

/// Context and batch limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `--max-model-len`, tokens.
    pub max_model_len: u32,
    /// `--max-num-seqs`.
    pub max_num_seqs: u32,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: u32,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From start to the first verified completion.
    pub start: Duration,
    /// Any one API request.
    pub request: Duration,
}

/// What a validation must show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// The floor of one stream's decode rate, tokens/s (1 / TPOT).
    pub min_decode_tokens_per_second: f64,
    /// Tokens generated by each measured request.
    pub output_tokens: u32,
    /// Measured requests.
    pub repetitions: u32,
    /// Requests sent and discarded first.
    pub warmups: u32,
    /// Another profile to compare with.
    pub baseline: Option<Baseline>,
    /// Share of the shipped questions that must be answered right, 0 to 1. Absent: not asked.
    pub min_known_answers: Option<f64>,
    /// The most that the perplexity may be of the baseline's. Absent: whatever it is.
    #[serde(default)]
    pub max_perplexity_ratio: Option<f64>,
    /// What is measured beyond one stream, and gates nothing.
    #[serde(default)]
    pub sweep: Sweep,
}

/// What is measured beyond one stream on a short prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Lengths of prompts whose time to the first token is measured, tokens, rising.
    pub prompt_tokens: Vec<u32>,
    /// Numbers of streams at once, rising.
    pub concurrency: Vec<u32>,
    /// For all of it. What does not fit is measured shorter, or left out.
    pub time: Duration,
}

/// How a generation is watched after it was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// For how long. 0: not at all.
    pub minutes: u32,
    /// How often it is asked for a short completion.
    pub every: Duration,
}

/// A profile to compare with, and the least ratio to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The other profile's name.
    pub profile: String,
    /// Least decode tokens/s of this one over the other's.
    pub min_ratio: f64,
}

/// How far the engine that runs may be from its plan before it is told, as shares of what was planned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Of a rank's weights: more or less of them on the GPU.
    pub weights: f64,
    /// Of the offload: less of it.
    pub offload: f64,
    /// Of the KV cache's tokens: fewer.
    pub kv_cache: f64,
    /// Of the VRAM that vLLM was told to use: more.
    pub vram: f64,
    /// Of the RAM of all processes: more.
    pub ram: f64,
}

impl Default for Tolerances {
    /// Loading keeps a little more than the files hold (0.05 of 42.65 GiB resident, 0.23 with 33 GiB offloaded);
    /// vLLM counts offloaded tensors whole; an H100 held 0.9 % more VRAM than its share; RAM differs by what Python
    /// and its allocators leave behind.
    fn default() -> Self {
        Self { weights: 0.02, offload: 0.05, kv_cache: 0.05, vram: 0.05, ram: 0.25 }
    }
}

impl Profile {
    /// Reads the text of the profile `name`; `path` is named in problems.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of the first mistake; the others are in [`Problem::also`].
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Self, Problem> {
        rules::name(name.to_owned()).map_err(|fault| Self::misnamed(name, path, fault))?;
        let document = Document::parse(path, text, KEYS)?;
        let raw = document.read(Strangers::Refused)?;
        review::profile(name, document, raw)
    }

    fn misnamed(name: &str, path: &Path, fault: Fault) -> Problem {
        let problem = fault
            .what(format!("`{name}` cannot be the name of a profile"))
            .help(format!("rename `{}`: its name without `.toml` is the profile's", path.display()));
        problem.unplaced(KEYS, "")
    }

    /// Its name: the file's stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The systemd unit's name without suffix.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Where the model comes from.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Which vLLM serves it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The address of the API.
    pub fn listen(&self) -> Listen {
        self.listen
    }

    /// `--tensor-parallel-size`.
    pub fn tensor_parallel(&self) -> TensorParallel {
        self.tensor_parallel
    }

    /// What the service may use.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Context and batch limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Further arguments of `vllm serve`.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Further environment of `vllm serve`.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Files with secrets for the engine.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// How long to wait.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// What a validation must show.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// How far the engine that runs may be from its plan.
    pub fn tolerances(&self) -> Tolerances {
        self.tolerances
    }

    /// How it is watched once it serves.
    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// The same profile at another address: a rehearsal must not disturb what serves.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for port 0.
    pub fn with_listen(self, listen: Listen) -> Result<Self, Problem> {
        rules::port(listen.port.into()).map_err(unplaced("listen.port"))?;
        Ok(Self { listen, ..self })
    }

    /// The same profile without secrets: a rehearsal needs none, and whoever rehearses may not read them.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        Self { secrets: Secrets::default(), ..self }
    }

    /// The same profile with other patience.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a time that a profile's file could not have either.
    pub fn with_timeouts(self, timeouts: Timeouts) -> Result<Self, Problem> {
        rules::within(rules::LONGEST_START)(timeouts.start).map_err(unplaced("timeouts.start"))?;
        rules::within(rules::LONGEST_REQUEST)(timeouts.request).map_err(unplaced("timeouts.request"))?;
        Ok(Self { timeouts, ..self })
    }

    /// The same profile with its files in another folder.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a path that is not absolute.
    pub fn with_path(mut self, path: PathBuf) -> Result<Self, Problem> {
        rules::whole_path(path.to_string_lossy().into_owned()).map_err(unplaced("model.path"))?;
        self.model.path = Some(path);
        Ok(self)
    }

    /// The same profile with a variable more, or with another value for it.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a name or value that a profile's file could not have either.
    pub fn with_environment(mut self, name: &str, value: &str) -> Result<Self, Problem> {
        let place = format!("vllm.environment.{name}");
        let name = extra::variable(name.to_owned()).map_err(unplaced(place.as_str()))?;
        let value = rules::one_line(value.to_owned()).map_err(unplaced(place))?;
        self.environment.insert(name, value);
        Ok(self)
    }

    /// The same profile with other demands.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a demand that a profile's file could not have either.
    pub fn with_gates(self, gates: Gates) -> Result<Self, Problem> {
        review::gates(&self, &gates)?;
        Ok(Self { gates, ..self })
    }
}

/// A mistake of the program's own making, said in the words of the file's key.
fn unplaced(path: impl Into<String>) -> impl Fn(Fault) -> Problem {
    let path = path.into();
    move |fault| fault.unplaced(KEYS, &path)
}

//! Compares what an engine did, by its own log, with its plan.
//!
//! The lines are those of vLLM 0.20 to 0.33. What a log does not say is not compared: a later vLLM with other
//! words tells less, and is not refused for it. Only that offload was planned and not set up is never
//! forgiven, because such an engine runs out of memory under load, or had been promised another machine.

use crate::domain::{findings::Finding, planning::plan::Plan, size::ByteSize, vllm::startup_log::Phase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The memory that the processes of a running service hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// VRAM by GPU, for those on which they hold any. Empty where the driver does not tell.
    pub vram: Vec<ByteSize>,
    /// RAM of all processes together, without pages of files.
    pub ram: Option<ByteSize>,
}

/// The behaviour of an engine, by its log. Figures are per rank; where ranks differ, the largest counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Actual")]
pub struct Observed {
    /// "Model loading took 12.46 GiB": weights on the GPU.
    pub weights: Option<ByteSize>,
    /// "Offloader set to `UVAOffloader`".
    pub offloader: Option<String>,
    /// "Total CPU offloaded parameters: 29.50".
    pub offloaded: Option<ByteSize>,
    /// "Available KV cache memory: 29.05 GiB".
    pub kv_cache: Option<ByteSize>,
    /// "GPU KV cache size: 868,352 tokens".
    pub kv_cache_tokens: Option<u64>,
    /// "Graph capturing finished in 4 secs, took 0.13 GiB".
    pub graphs: Option<ByteSize>,
    /// "2.40 GiB for peak activation".
    #[serde(default)]
    pub activations: Option<ByteSize>,
    /// "`--kv-cache-memory=20064085607` (18.69 GiB) to fit into requested memory".
    #[serde(default)]
    pub cache_that_fits: Option<ByteSize>,
    /// "Using 'MARLIN' `WNA16` `MoE` backend".
    pub experts_kernel: Option<String>,
    /// The memory that its processes held when the validation was done.
    #[serde(default)]
    pub held: Held,
    /// Whether it is a rehearsal's engine, which loads nothing.
    #[serde(default)]
    pub rehearsed: bool,
}

impl Observed {
    /// Reads the lines of a start. What follows it may hold what clients asked, in any words.
    pub fn of<'a>(log: impl IntoIterator<Item = &'a str>) -> Self {
        let mut actual = Self::default();
        let serves = |line: &&str| Phase::of(line) == Some(Phase::Serving);
        for line in log.into_iter().take_while(|line| !serves(line)) {
            actual.read(line);
        }
        actual
    }

    /// Adds the memory that its processes hold.
    #[must_use]
    pub fn with(self, held: Held) -> Self {
        Self { held, ..self }
    }

    fn read(&mut self, line: &str) {
        let after = |text: &str| line.split_once(text).map(|(_, rest)| rest);
        let gib = |text: &str| after(text).and_then(|rest| gib_of(first_word(rest)));
        self.weights = self.weights.max(gib("Model loading took "));
        self.offloaded = self.offloaded.max(gib("Total CPU offloaded parameters: "));
        self.kv_cache = self.kv_cache.max(gib("Available KV cache memory: "));
        let before = |text: &str| line.split_once(text).and_then(|(said, _)| said.split_whitespace().last());
        self.activations = self.activations.max(before(" GiB for peak activation").and_then(gib_of));
        // The least of all ranks.
        let fits =
            before(" to fit into requested memory").and(after("`--kv-cache-memory=")).and_then(bytes_of);
        self.cache_that_fits = self.cache_that_fits.into_iter().chain(fits).min();
        if line.contains("Graph capturing finished") {
            self.graphs = self.graphs.max(gib(", took "));
        }
        if let Some(name) = after("Offloader set to ").map(first_word) {
            self.offloader = Some(name.trim_end_matches('.').to_owned());
        }
        if let Some(tokens) = after(" KV cache size: ").map(first_word) {
            self.kv_cache_tokens = tokens.replace(',', "").parse().ok().or(self.kv_cache_tokens);
        }
        if let Some((before, _)) = line.split_once(" WNA16 MoE backend")
            && let Some((_, name)) = before.rsplit_once("Using ")
        {
            self.experts_kernel = Some(name.trim_matches('\'').to_owned());
        }
        self.rehearsed |= line.contains("LLM engine (rehearsal)");
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default().trim_end_matches(',')
}

/// A number of GiB as vLLM prints it: `12.46`.
fn gib_of(text: &str) -> Option<ByteSize> {
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a checked range")]
    (0.0..1e6).contains(&number).then(|| ByteSize((number * f64::from(1 << 30)) as u64))
}

/// The number of bytes that a text begins with.
fn bytes_of(text: &str) -> Option<ByteSize> {
    let digits = text.split(|sign: char| !sign.is_ascii_digit()).next()?;
    digits.parse().ok().map(ByteSize)
}

/// The only offloader that reads experts in place.
const OFFLOADER: &str = "UVAOffloader";
/// The kernel of quantised experts that was measured.
const KERNEL: &str = "MARLIN";

/// Finds where an engine differs from its plan by more than it may.
pub fn compare(plan: &Plan, actual: &Observed) -> Vec<Finding> {
    if actual.rehearsed || plan.memory.gpu.is_none() {
        return Vec::new();
    }
    let findings = [
        weights(plan, actual),
        offload(plan, actual),
        tokens(plan, actual),
        kernel(plan, actual),
        vram(plan, actual),
        ram(plan, actual),
    ];
    findings.into_iter().flatten().collect()
}

fn weights(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let (planned, shard, seen) = (plan.memory.weights?, plan.memory.shard?, actual.weights?);
    let allowed = shard.0 as f64 * plan.tolerances.weights;
    (planned.0.abs_diff(seen.0) as f64 > allowed).then(|| {
        Finding::new(
            "weights-not-as-planned",
            format!("{planned} of weights were planned on each GPU, and vLLM loaded {seen}"),
        )
        .with_remedy()
    })
}

fn offload(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let planned = plan.memory.offloaded;
    // A log that does not begin at the beginning says nothing of the offloader.
    let (ByteSize(1..), Some(_)) = (planned, actual.weights) else {
        return None;
    };
    let enough = |seen: ByteSize| seen.0 as f64 >= planned.0 as f64 * (1.0 - plan.tolerances.offload);
    let why = match (actual.offloader.as_deref(), actual.offloaded) {
        (Some(OFFLOADER), Some(seen)) if enough(seen) => return None,
        (Some(OFFLOADER), Some(seen)) => format!("vLLM offloaded {seen}"),
        (Some(OFFLOADER), None) => "vLLM does not say that it offloaded anything".to_owned(),
        (Some(other), _) => format!("vLLM's offloader is `{other}`"),
        (None, _) => "vLLM set up no offloader".to_owned(),
    };
    Some(
        Finding::new("offload-not-as-planned", format!("{planned} were to be offloaded, and {why}"))
            .with_remedy(),
    )
}

fn tokens(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let (planned, seen) = (plan.memory.kv_cache_tokens?, actual.kv_cache_tokens?);
    ((seen as f64) < planned as f64 * (1.0 - plan.tolerances.kv_cache)).then(|| {
        Finding::new(
            "cache-smaller-than-planned",
            format!("a KV cache of {planned} tokens was planned, and vLLM made one of {seen}"),
        )
        .with_remedy()
    })
}

fn kernel(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let seen = actual.experts_kernel.as_deref().filter(|seen| *seen != KERNEL)?;
    let message = format!("vLLM runs the experts of `{}` with `{seen}`, not `{KERNEL}`", plan.model.repo);
    Some(Finding::new("fallback-kernel", message).with_remedy())
}

fn vram(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let (planned, seen) = (plan.memory.vram()?, *actual.held.vram.iter().max()?);
    exceeds(planned, seen, plan.tolerances.vram).then(|| {
        let what = format!("vLLM was to use {planned} of each GPU, and its processes hold {seen} of one");
        Finding::new("vram-not-as-planned", what).with_remedy()
    })
}

fn ram(plan: &Plan, actual: &Observed) -> Option<Finding> {
    let (planned, seen) = (plan.memory.ram, actual.held.ram?);
    exceeds(planned, seen, plan.tolerances.ram).then(|| {
        let what = format!("{planned} of RAM were planned, and the service's processes hold {seen}");
        Finding::new("ram-not-as-planned", what).with_remedy()
    })
}

fn exceeds(planned: ByteSize, seen: ByteSize, tolerance: f64) -> bool {
    seen.0 as f64 > planned.0 as f64 * (1.0 + tolerance)
}

/// A figure that was planned and seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// The name, with its unit: `kv_cache_tokens`.
    pub name: String,
    /// The planned value.
    pub planned: f64,
    /// The value that was seen.
    pub seen: f64,
}

/// All figures that were both planned and seen. `decode` is what was measured of one stream, tokens/s.
pub(crate) fn figures(plan: &Plan, actual: &Observed, decode: Option<f64>) -> Vec<Figure> {
    if actual.rehearsed {
        return Vec::new();
    }
    let (memory, held) = (&plan.memory, &actual.held);
    let bytes = |bytes: Option<ByteSize>| bytes.map(|bytes| bytes.0 as f64);
    let on_gpu = memory.gpu;
    let rows = [
        ("weights_on_gpu_bytes", bytes(memory.weights), bytes(actual.weights)),
        ("offloaded_bytes", bytes(on_gpu.map(|_| memory.offloaded)), bytes(actual.offloaded)),
        ("kv_cache_bytes", bytes(memory.kv_cache), bytes(actual.kv_cache)),
        (
            "kv_cache_tokens",
            memory.kv_cache_tokens.map(|tokens| tokens as f64),
            actual.kv_cache_tokens.map(|tokens| tokens as f64),
        ),
        ("vram_bytes", bytes(memory.vram()), bytes(held.vram.iter().max().copied())),
        ("ram_bytes", Some(memory.ram.0 as f64), bytes(held.ram)),
        ("decode_tokens_per_second", plan.prediction.expected(), decode),
    ];
    let both = |(name, planned, seen): (&str, Option<f64>, Option<f64>)| {
        Some(Figure { name: name.to_owned(), planned: planned?, seen: seen? })
    };
    rows.into_iter().filter_map(both).collect()
}

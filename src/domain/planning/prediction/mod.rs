//! How fast streams will decode, from the bytes that a step touches. A prediction, never a
//! measurement.
//!
//! step = fixed work + bytes read from VRAM ÷ its bandwidth + bytes read over the link ÷ its rate +
//! all-reduces; tokens/s of a stream = 1 ÷ step. The stages of a pipeline take their steps one after the other. Of one stream the KV cache and the recurrent state are left out: together
//! they are 4 % of the bytes of a short context. Each further stream adds its state and a fixed time. The fixed work, Machete's share of it and an all-reduce were
//! fitted, each to one measured rate; docs/planning.md has the predictions made with them. Measurements of
//! the host correct all of it by one factor (see [`crate::domain::machine::calibration`]).

mod rates;

pub use rates::expert_rate;
pub(crate) use rates::wire;

use super::{command_line, grid::Grid, inputs::Inputs, memory::Budget, setting};
use crate::domain::{
    checkpoint::{Checkpoint, ModelDims, architecture::LayerKind, tensors::Class},
    machine::{
        calibration::{Limit, Measurement, RatesFrom, Setting},
        facts::{Facts, Gpu, MeasuredRates},
    },
    profile::Profile,
    size::ByteSize,
    vllm::settings::Speculation,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The time of a step whatever its layers: four layers reached 503 tokens/s on an H200.
const FIXED: Duration = Duration::from_micros(1_500);
/// Kernel launches and the like of one layer of linear and full attention. With it 48 layers take the 5.0 ms of a resident
/// step on the H100 less its 0.86 ms of reading.
const FIXED_HYBRID: Duration = Duration::from_nanos(54_167);
/// The time of a layer with experts, and of a dense one. With the step's own part 72 to 90, and 25 to 50 µs were reported.
const FIXED_SPARSE: Duration = Duration::from_nanos(46_750);
const FIXED_DENSE: Duration = Duration::from_nanos(18_600);

/// The time that each further stream adds to a step beside experts and state: attention, sampling, scheduling. Eight
/// streams on one, two and four H100 and on an H200 took 16 to 91 µs for each, mostly about 60 (docs/planning.md);
/// that other families take as long is inferred.
const STREAM: Duration = Duration::from_micros(60);

/// The additional time of a step with Machete, the kernel that vLLM prefers for dense matrices of 4 bits in
/// groups of 128, and that only Hopper has: 5.69 ms instead of 5.04 with fewer bytes. Everywhere else, and
/// for smaller groups, the kernel is Marlin.
const MACHETE: Duration = Duration::from_micros(750);
const HOPPER: (u32, u32) = (9, 0);
const MACHETE_GROUP: u32 = 128;

/// The additional time of a hybrid's layer without CUDA graphs, where each kernel is launched anew: 9.9 tokens/s in place of
/// 53.5 are 82 ms in 48 layers (`A-16gb-eager` in docs/benchmarks.md).
const EAGER_HYBRID: Duration = Duration::from_micros(1_715);
/// The additional time of a layer with experts, and of a dense one, which launch fewer kernels (inferred).
const EAGER_SPARSE: Duration = Duration::from_micros(800);
const EAGER_DENSE: Duration = Duration::from_micros(400);

/// The time of each further stage of a pipeline: its own launches, and what it is sent (inferred).
const STAGE: Duration = Duration::from_micros(500);

/// The share of guessed tokens that are right, each after the last (inferred: 0.7 to 0.85 are reported for a model's own
/// layers).
const GUESSED_RIGHT: f64 = 0.75;

/// vLLM's own all-reduce, of which a layer has two: 5.6 µs each explain 195.3 tokens/s on two H100 where one gives
/// 198.3. 4 µs would explain what was reported for two RTX 5090.
const ALL_REDUCE_OF_TWO: Duration = Duration::from_nanos(5_600);
/// vLLM's own all-reduce of more ranks, which NVLink connects: 194.1 tokens/s on four H100.
const ALL_REDUCE_OF_MORE: Duration = Duration::from_nanos(8_700);
/// NCCL's all-reduce of two ranks, or over NVLink: 164.5 and 170.3 tokens/s on two and four H100.
const NCCL: Duration = Duration::from_micros(16);
/// NCCL's all-reduce of more ranks without NVLink. Four H100 whose ranks could only talk through RAM reached
/// 148.2 tokens/s, as was predicted from an inferred value.
const NCCL_OF_MORE: Duration = Duration::from_micros(25);

/// The bytes that one decode step reads on one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// From VRAM.
    pub resident: ByteSize,
    /// From RAM, over the PCIe link.
    pub linked: ByteSize,
}

/// The rates of a rank, in bytes per second, and its time beside reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// VRAM.
    pub memory: f64,
    /// Reads of offloaded experts over the link.
    pub link: f64,
    /// Time of a step that reads nothing.
    pub fixed: Duration,
}

/// Decode steps per second: tokens/s of one stream.
pub fn steps_per_second(traffic: Traffic, rates: Rates) -> f64 {
    let reading = traffic.resident.0 as f64 / rates.memory + traffic.linked.0 as f64 / rates.link;
    1.0 / (rates.fixed.as_secs_f64() + reading)
}

/// The predicted speed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// The rate after the first token. Absent where the model or the GPU is not known well enough, and on the
    /// CPU.
    pub decode_tokens_per_second: Option<Decode>,
    /// The rate with as many streams as may run at once, corrected alike. Absent where that of one stream is.
    #[serde(default)]
    pub all_streams: Option<AllStreams>,
    /// The time to the first token of a prompt of 128 tokens. Rough: it is off by a factor of two for long
    /// prompts.
    pub(crate) time_to_first_token_seconds: Option<f64>,
    /// The setting that another server must share for its measurement to count for this one. Absent where no
    /// rate is predicted.
    #[serde(default)]
    pub(crate) setting: Option<Setting>,
}

impl Prediction {
    /// The rate to expect, tokens/s.
    pub fn expected(&self) -> Option<f64> {
        self.decode_tokens_per_second.as_ref().map(|decode| decode.expected)
    }
}

/// The rate of one stream, tokens/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decode {
    /// The rate with three quarters of the rates and half as much again of fixed work.
    pub low: f64,
    /// The computed rate, corrected by what this host has shown.
    pub expected: f64,
    /// The rate that it will hardly exceed: twice `low`, or less where data sheets and plain copies allow no more without
    /// fixed work.
    pub ceiling: f64,
    /// The resource that most of a step waits for.
    pub(crate) limited_by: Limit,
    /// The source of the rates in the computation.
    #[serde(default)]
    pub rates: RatesFrom,
    /// The measurement in the same setting that corrects all of this.
    #[serde(default)]
    pub corrected_by: Option<Measurement>,
}

impl Decode {
    /// The rate to expect by tables and probes alone.
    pub fn computed(&self) -> f64 {
        self.expected / self.corrected_by.as_ref().and_then(Measurement::factor).unwrap_or(1.0)
    }

    /// The rate through this stage of a pipeline and the next.
    fn then(self, next: &Self) -> Self {
        let both = |one: f64, other: f64| 1.0 / (1.0 / one + 1.0 / other);
        let slower = if self.expected <= next.expected { self.limited_by } else { next.limited_by };
        Self {
            low: both(self.low, next.low),
            expected: both(self.expected, next.expected),
            ceiling: both(self.ceiling, next.ceiling),
            limited_by: slower,
            rates: if self.rates == next.rates { self.rates } else { RatesFrom::Table },
            corrected_by: None,
        }
    }

    /// The rates corrected by this measurement.
    fn corrected(self, measurement: Measurement) -> Self {
        let factor = measurement.factor().unwrap_or(1.0);
        let (low, expected) = (self.low * factor, self.expected * factor);
        Self {
            low,
            expected,
            // A measured rate is possible, whatever a data sheet says.
            ceiling: self.ceiling.max(expected).min(low * WIDTH),
            corrected_by: Some(measurement),
            ..self
        }
    }
}

/// The rates of as many streams as `max-num-seqs` has, tokens/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllStreams {
    /// The number of streams.
    pub streams: u32,
    /// The rate of each stream.
    pub each: f64,
    /// The rate of all streams together while all of them decode. Measured over whole requests it is less: each waits for its
    /// first token.
    pub(crate) together: f64,
}

impl Setting {
    /// The setting of a plan on these ranks with this computed rate.
    pub(crate) fn of(inputs: Inputs<'_>, grid: Grid, decode: &Decode) -> Self {
        let Inputs { profile, checkpoint, runtime, facts, .. } = inputs;
        Self {
            gpus: setting::gpus(facts, grid.gpus()),
            stages: grid.pipeline,
            vllm: runtime.vllm.clone(),
            architecture: checkpoint.architecture.clone(),
            limited_by: decode.limited_by,
            rates: decode.rates,
            arguments: setting::arguments(profile),
        }
    }
}

/// Predicts the speed under this budget, of one stream and of as many as may run at once.
pub(crate) fn predict(inputs: Inputs<'_>, budget: &Budget) -> Prediction {
    let Inputs { profile, checkpoint, facts, .. } = inputs;
    let one = decode(inputs, budget, 1);
    let streams = profile.limits().max_num_seqs;
    let all = decode(inputs, budget, streams);
    let setting = one.as_ref().map(|one| Setting::of(inputs, budget.grid(), one));
    let measured = setting.as_ref().and_then(|setting| setting.newest(&facts.calibrations));
    let corrected = |decode: Decode| match &measured {
        Some(measured) => decode.corrected(measured.clone()),
        None => decode,
    };
    Prediction {
        decode_tokens_per_second: one.map(corrected),
        all_streams: all.map(corrected).map(|Decode { expected, .. }| AllStreams {
            streams,
            each: expected,
            together: expected * f64::from(streams),
        }),
        time_to_first_token_seconds: first_token(checkpoint, budget, facts),
        setting,
    }
}

/// Predicts the rate of each of so many streams. The stages of a pipeline work at once, each for its part of them.
fn decode(inputs: Inputs<'_>, budget: &Budget, streams: u32) -> Option<Decode> {
    budget.gpu?;
    let grid = budget.grid();
    let stages = grid.stages(inputs.checkpoint, inputs.profile);
    let mut whole: Option<Decode> = None;
    for (checkpoint, first) in stages.iter().zip((0..).step_by(grid.tensor as usize)) {
        let gpus = inputs.facts.gpus.get(first..)?.iter().take(grid.tensor as usize);
        let inputs = Inputs { checkpoint, ..inputs };
        let step = if first == 0 { FIXED } else { STAGE };
        let stage = stage(inputs, budget, gpus, step, streams.div_ceil(grid.pipeline))?;
        whole = Some(whole.map_or(stage.clone(), |before| before.then(&stage)));
    }
    whole.map(|one| Decode { ceiling: one.ceiling.min(one.low * WIDTH), ..one })
}

/// The rate of one stage with these GPUs, whose step takes so long beside its layers.
fn stage<'a>(
    inputs: Inputs<'_>,
    budget: &Budget,
    gpus: impl Iterator<Item = &'a Gpu>,
    step: Duration,
    streams: u32,
) -> Option<Decode> {
    let checkpoint = inputs.checkpoint;
    let ahead = guessed(inputs);
    let traffic = traffic(checkpoint, budget, streams.saturating_mul(ahead.tokens))?;
    let ranks = budget.tensor_parallel_size;
    let further = streams.saturating_sub(1);
    let states = state(checkpoint, inputs.profile, ranks) * f64::from(further);
    let layers = u32::try_from(checkpoint.shape.as_ref()?.num_hidden_layers).ok()?;
    let all_reduces = all_reduce(inputs, ranks) * 2 * layers;
    let of_layer = PerLayer::of(checkpoint);
    let eager = inputs.profile.arguments().without_graphs().is_some();
    let launches = if eager { of_layer.eager * layers } else { Duration::ZERO };
    // All ranks wait for the slowest.
    let decodes = gpus.map(|gpu| {
        let probed = gpu.measured;
        let (memory, sheet) = rates::memory(gpu)?;
        let link = expert_rate(gpu);
        let copy = rates::copy(gpu).max(link);
        let machete =
            if is_machete(checkpoint, gpu) { MACHETE / budget.grid().pipeline } else { Duration::ZERO };
        let own = Duration::from_secs_f64(states / memory) + STREAM * further;
        // Each guess is a layer more, and the head anew.
        let fixed = step + of_layer.fixed * (layers + ahead.tokens - 1) + machete + launches + own;
        let steps =
            |memory, link, fixed| ahead.right * steps_per_second(traffic, Rates { memory, link, fixed });
        let waits = [
            (Limit::FixedWork, fixed.as_secs_f64()),
            (Limit::VramBandwidth, traffic.resident.0 as f64 / memory),
            (Limit::PcieLink, traffic.linked.0 as f64 / link),
            (Limit::AllReduce, all_reduces.as_secs_f64()),
        ];
        let longest = waits.into_iter().max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        Some(Decode {
            low: steps(memory * LOW_RATES, link * LOW_RATES, (fixed + all_reduces) * 3 / 2),
            expected: steps(memory, link, fixed + all_reduces),
            ceiling: steps(sheet, copy, Duration::ZERO),
            limited_by: longest.0,
            rates: match probed {
                Some(MeasuredRates { read: Some(_), .. }) => RatesFrom::Probe,
                Some(_) if traffic.linked == ByteSize::default() => RatesFrom::Probe,
                _ => RatesFrom::Table,
            },
            corrected_by: None,
        })
    });
    let decodes = decodes.collect::<Option<Vec<_>>>()?;
    decodes.into_iter().min_by(|one, other| one.expected.total_cmp(&other.expected))
}

/// Tokens that one step of a stream computes, and how many of them it keeps.
struct Guessed {
    tokens: u32,
    right: f64,
}

/// The guesses of the model's own layers. Of other guessers nobody knows how often they are right.
fn guessed(inputs: Inputs<'_>) -> Guessed {
    let settings = inputs.profile.arguments().settings();
    let own = settings.speculation == Some(Speculation::Own);
    let guesses = if own { settings.guesses.min(MOST_GUESSES) } else { 0 };
    let right = (0..=guesses).map(|guess| GUESSED_RIGHT.powf(f64::from(guess))).sum();
    Guessed { tokens: guesses + 1, right }
}

/// Bytes of the recurrent state of one stream that a step reads and writes on one rank.
fn state(checkpoint: &Checkpoint, profile: &Profile, ranks: u32) -> f64 {
    let Some(shape) = &checkpoint.shape else { return 0.0 };
    let bits = profile.arguments().settings().state_bits;
    let heads = shape.linear_num_value_heads / u64::from(ranks.max(1));
    let layer = heads * shape.linear_key_head_dim * shape.linear_value_head_dim * bits / 8;
    (2 * layer * shape.count(LayerKind::Linear)) as f64
}

/// The time of a layer beside reading, with CUDA graphs, and what it takes more without.
struct PerLayer {
    fixed: Duration,
    eager: Duration,
}

impl PerLayer {
    fn of(checkpoint: &Checkpoint) -> Self {
        let (fixed, eager) = match &checkpoint.shape {
            Some(shape) if shape.linear_num_value_heads > 0 => (FIXED_HYBRID, EAGER_HYBRID),
            Some(shape) if shape.num_experts > 0 => (FIXED_SPARSE, EAGER_SPARSE),
            _ => (FIXED_DENSE, EAGER_DENSE),
        };
        Self { fixed, eager }
    }
}

/// The time of one all-reduce.
fn all_reduce(inputs: Inputs<'_>, ranks: u32) -> Duration {
    let nvlinked = inputs.facts.nvlinked(ranks);
    match (ranks, command_line::own_all_reduce(inputs.profile, inputs.facts, ranks)) {
        (0 | 1, _) => Duration::ZERO,
        (2, true) => ALL_REDUCE_OF_TWO,
        (_, true) => ALL_REDUCE_OF_MORE,
        (2, false) => NCCL,
        (_, false) if nvlinked => NCCL,
        (_, false) => NCCL_OF_MORE,
    }
}

/// Whether vLLM computes the dense matrices with Machete.
fn is_machete(checkpoint: &Checkpoint, gpu: &Gpu) -> bool {
    let stored = checkpoint.quantization.as_ref();
    gpu.compute_capability == HOPPER
        && checkpoint.quantized.attention
        && stored.is_some_and(|stored| stored.bits == 4 && stored.group_size == MACHETE_GROUP)
}

/// The factor of a low prediction: reports of like machines differ by so much.
const LOW_RATES: f64 = 0.75;
/// How many times `low` the highest prediction is at most.
const WIDTH: f64 = 2.0;
/// Guesses beyond which more are taken to change nothing.
const MOST_GUESSES: u32 = 8;
/// The time of a prompt of 128 tokens with all weights resident: 0.193 s on the H100.
const PREFILL: f64 = 0.193;
/// Tokens of the prompt that the prediction is for: one chunk.
const PROMPT_TOKENS: u32 = 128;

/// The time to the first token, seconds. A prefill reads nearly all offloaded experts once a chunk, whatever
/// the prompt: 0.60 s for 29.5 GiB over 49.3 GB/s, where 0.66 s were measured.
fn first_token(checkpoint: &Checkpoint, budget: &Budget, facts: &Facts) -> Option<f64> {
    budget.gpu?;
    let shape = checkpoint.shape.as_ref()?;
    let touched = touched(shape, PROMPT_TOKENS);
    let gpus = facts.gpus.iter().take(budget.gpus() as usize);
    let slowest = gpus.map(expert_rate).reduce(f64::min)?;
    Some((budget.offloaded.0 as f64 * touched / slowest).max(PREFILL))
}

/// The share of a layer's experts that so many tokens are routed to, if each is routed at random.
fn touched(shape: &ModelDims, tokens: u32) -> f64 {
    if shape.num_experts == 0 {
        return 0.0;
    }
    let routed = shape.num_experts_per_tok as f64 / shape.num_experts as f64;
    1.0 - (1.0 - routed).powf(f64::from(tokens))
}

/// The bytes that a step of so many streams reads: all dense weights but the embedding, and the experts that
/// any of them is routed to.
pub(crate) fn traffic(checkpoint: &Checkpoint, budget: &Budget, streams: u32) -> Option<Traffic> {
    let (shape, tensors) = (checkpoint.shape.as_ref()?, checkpoint.tensors.as_ref()?);
    let ranks = budget.tensor_parallel_size;
    let experts = tensors.bytes_of(Class::Experts, ranks);
    let embedding = tensors.bytes_of(Class::Embedding, ranks);
    // A tied head is the embedding, read once as the head.
    let unread = if shape.tie_word_embeddings { ByteSize::default() } else { embedding };
    let dense = tensors.bytes(ranks).less(experts + unread);
    let routed = experts.0 as f64 * touched(shape, streams);
    if experts == ByteSize::default() {
        // Layers are offloaded whole, and all of each is read for every token.
        let linked = budget.offloaded.min(dense);
        return Some(Traffic { resident: dense.less(linked), linked });
    }
    let offloaded = budget.offloaded_share(checkpoint);
    Some(Traffic { resident: dense + whole(routed * (1.0 - offloaded)), linked: whole(routed * offloaded) })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of bytes that fit: never negative, never more"
)]
fn whole(bytes: f64) -> ByteSize {
    ByteSize(bytes as u64)
}

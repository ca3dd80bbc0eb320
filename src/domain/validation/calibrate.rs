//! Turns a validation into what it shows for later plans: speed and memory.

use super::report::Report;
use crate::domain::{
    generation::Generation,
    machine::{
        calibration::{Calibration, Measurement},
        start::{self, ShownMemory, Start},
    },
    size::ByteSize,
    vllm::arguments::Arguments,
};

impl Calibration {
    /// The calibration from a passed validation. Nothing for a generation without a setting, for a rehearsal, and
    /// for a server that others used meanwhile.
    pub fn of(generation: &Generation, report: &Report) -> Option<Self> {
        let throughput = report.throughput.as_ref().filter(|speed| speed.beside() == 0.0)?;
        let measured = throughput.decode_tokens_per_second.median;
        let prediction = &generation.plan.prediction;
        let loaded = report.actual.as_ref().is_some_and(|actual| !actual.rehearsed);
        let computed = prediction.decode_tokens_per_second.as_ref()?.computed();
        let measurement = Measurement {
            generation: generation.id,
            profile: generation.plan.profile.clone(),
            at: report.at,
            computed,
            measured,
        };
        let setting = prediction.setting.clone()?;
        (loaded && report.passed()).then_some(Self { setting, measurement })
    }
}

/// The share of the planned weights by which loaded ones may differ: beyond it another model was loaded.
const OTHER_WEIGHTS: f64 = 0.1;
/// The step in which vLLM logs memory: hundredths of a GiB.
const STEP: ByteSize = ByteSize(ByteSize::gib(1).0 / 100);

impl Start {
    /// The memory that the log of a passed validation told of. Nothing where it does not tell weights and cache, where the
    /// cache was set by hand, and where it tells what cannot be.
    pub fn of(generation: &Generation, report: &Report) -> Option<Self> {
        let (plan, memory) = (&generation.plan, &generation.plan.memory);
        let actual = report.actual.as_ref().filter(|actual| !actual.rehearsed && report.passed())?;
        let arguments = Arguments::of(&plan.serve.argv);
        let (planned, loaded, cache) = (memory.weights?, actual.weights?, actual.kv_cache?);
        let off = planned.0.abs_diff(loaded.0) as f64;
        if off > planned.0 as f64 * OTHER_WEIGHTS || arguments.settings().cache_fixed.is_some() {
            return None;
        }
        let (share, computed) = (memory.gpu?, memory.computed_overhead()?);
        let count = |name: &str| arguments.value(name)?.parse().ok();
        let shown = ShownMemory {
            generation: generation.id,
            profile: plan.profile.clone(),
            at: report.at,
            max_num_seqs: count("--max-num-seqs")?,
            max_num_batched_tokens: count("--max-num-batched-tokens")?,
            computed,
            // A difference of the weights counts here, so that the cache comes out as it did.
            seen: share.less(planned + cache),
            tokens: tokens(generation, report).unwrap_or(1.0),
            fits: actual.cache_that_fits.filter(|fits| *fits < share),
        };
        let setting = memory.setting.clone()?;
        shown.is_believed().then_some(Self { setting, shown })
    }
}

/// How many times as many tokens as computed the cache held.
fn tokens(generation: &Generation, report: &Report) -> Option<f64> {
    let (memory, actual) = (&generation.plan.memory, report.actual.as_ref()?);
    let (planned, cache) = (memory.kv_cache.filter(|cache| cache.0 > 0)?, actual.kv_cache?);
    let corrected = memory.shown_by.as_ref().map_or(1.0, |shown| shown.tokens);
    let computed = memory.kv_cache_tokens? as f64 / corrected * (cache.0 as f64 / planned.0 as f64);
    Some(start::times_tokens(computed, actual.kv_cache_tokens? as f64, cache, STEP))
}

//! Decides between fast enough, too slow, and more measurements, with a known rate of errors.
//!
//! The measurements are looked at a few times, and more are taken while the answer is open. Each look
//! bounds the median (by Student's t on logarithms, see [`crate::domain::measure::stats`]) with a share of the error rate;
//! since an error needs one of the looks to err, the shares add up to at most [`ERROR_RATE`]. The
//! price of that is some more measurements where the truth is close to the limit, and none where it is
//! not. `tests/it/validation/sequential.rs` shows the rates by simulation.

use crate::domain::measure::stats::Logarithms;
use statrs::distribution::{ContinuousCDF, Normal};
use std::time::Duration;

/// The greatest probability of passing what is too slow, and of failing what is fast enough.
pub const ERROR_RATE: f64 = 0.05;

/// How often the measurements are looked at.
pub(crate) const LOOKS: u32 = 4;

/// The fewest measurements for a first look. Two know next to nothing about their spread.
const FIRST: u32 = 3;

/// The factor below the floor that needs no second look, nor a whole answer: it is seven standard deviations
/// away where the coefficient of variation is 20 %.
const CLEARLY: f64 = 4.0;

/// The fewest tokens by which a rate can be called clear.
const CLEAR_TOKENS: usize = 12;

/// How often a baseline is looked at.
const BASELINE_LOOKS: usize = 4;

/// A baseline is precise where a candidate that is just as fast passes in this share of cases.
const ENOUGH_POWER: f64 = 0.95;

/// Below this a comparison rolls a sound candidate back more often than not.
pub const LEAST_POWER: f64 = 0.5;

/// The precision that a limit at or above 1 asks for, as a ratio.
const LEAST_ROOM: f64 = 1.05;

/// The result of a look at the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequentialResult {
    /// At or above the limit.
    Above,
    /// Below it.
    Below,
    /// Neither is shown.
    Open,
}

/// The number of measurements at each look: `repetitions` or [`FIRST`], then a half more each time.
pub fn looks(repetitions: u32) -> [u32; LOOKS as usize] {
    let mut next = repetitions.max(FIRST);
    std::array::from_fn(|_| {
        let this = next;
        next = this.saturating_add(this.div_ceil(2));
        this
    })
}

/// Whether the median of these rates is at least `floor`.
pub fn floor(rates: &[f64], floor: f64) -> SequentialResult {
    if !rates.is_empty() && rates.iter().all(|rate| rate * CLEARLY < floor) {
        return SequentialResult::Below;
    }
    Logarithms::of(rates).map_or(SequentialResult::Open, |ours| against(ours, floor))
}

/// Whether an answer can be cut short: its chunks came at these times, and it is clearly too slow for
/// `floor`, tokens/s. An error would need chunks of [`CLEARLY`] tokens each.
pub fn is_clearly_below(chunks: &[Duration], floor: f64) -> bool {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
        return false;
    };
    let tokens = chunks.len() - 1;
    tokens >= CLEAR_TOKENS && tokens as f64 * CLEARLY < floor * last.saturating_sub(*first).as_secs_f64()
}

/// Whether the median of `ours` is at least `least` times that of `theirs`.
pub fn ratio(ours: &[f64], theirs: &[f64], least: f64) -> SequentialResult {
    match (Logarithms::of(ours), Logarithms::of(theirs)) {
        (Some(ours), Some(theirs)) => against(ours.over(theirs), least),
        _ => SequentialResult::Open,
    }
}

/// Where the ratio of the medians lies with 95 % confidence.
pub fn bounds(ours: &[f64], theirs: &[f64]) -> Option<[f64; 2]> {
    let ratio = Logarithms::of(ours)?.over(Logarithms::of(theirs)?);
    let half = ratio.half_width(0.025);
    Some([(ratio.mean - half).exp(), (ratio.mean + half).exp()])
}

/// After how many measurements each look at a baseline is. They cost no downtime, so that there are more than of a
/// candidate: nine more for the first, since fewer often look steadier than they are, then a half more each time.
pub fn baseline_looks(repetitions: u32) -> [u32; BASELINE_LOOKS] {
    let mut next = repetitions.max(FIRST).saturating_add(9);
    std::array::from_fn(|_| {
        let this = next;
        next = this.saturating_add(this.div_ceil(2));
        this
    })
}

/// How often a comparison with this baseline decides for a candidate that is just as fast and as steady, 0 to 1: the
/// power of [`ratio`] at its last look, by the normal approximation. A limit of 1 or above tells nothing of where the
/// candidate is expected: then it is asked for a precision of 5 %.
pub fn power(theirs: &[f64], least: f64, repetitions: u32) -> f64 {
    let Some(theirs) = Logarithms::of(theirs) else { return 0.0 };
    let count = f64::from(looks(repetitions)[LOOKS as usize - 1]);
    let ours = Logarithms {
        variance: theirs.variance * (theirs.freedom + 1.0) / count,
        freedom: count - 1.0,
        ..theirs
    };
    let both = ours.over(theirs);
    let room = least.ln().abs().max(LEAST_ROOM.ln()) - both.half_width(ERROR_RATE / f64::from(LOOKS));
    let deviation = both.variance.sqrt();
    if deviation > 0.0 { Normal::standard().cdf(room / deviation) } else { 1.0 }
}

/// Whether a baseline is known well enough to need no more measurements.
pub fn is_precise(theirs: &[f64], least: f64, repetitions: u32) -> bool {
    power(theirs, least, repetitions) >= ENOUGH_POWER
}

fn against(logarithms: Logarithms, limit: f64) -> SequentialResult {
    let half = logarithms.half_width(ERROR_RATE / f64::from(LOOKS));
    let limit = limit.ln();
    if logarithms.mean - half >= limit {
        SequentialResult::Above
    } else if logarithms.mean + half < limit {
        SequentialResult::Below
    } else {
        SequentialResult::Open
    }
}

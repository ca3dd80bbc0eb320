//! Decides between fast enough, too slow, and more measurements, with a known rate of errors.
//!
//! The measurements are looked at a few times, and more are taken while the answer is open. Each look
//! bounds the median (by Student's t on logarithms, see [`crate::domain::measure::stats`]) with a share of the error rate;
//! since an error needs one of the looks to err, the shares add up to at most [`ERROR_RATE`]. The
//! price of that is some more measurements where the truth is close to the limit, and none where it is
//! not. `tests/it/validation/sequential.rs` shows the rates by simulation.

use crate::domain::measure::stats::Logarithms;
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

//! Decides between fast enough, too slow, and more measurements, with a known rate of errors.
//!
//! The measurements are looked at a few times, and more are taken while the answer is open. Each look
//! bounds the median (see [`crate::domain::measure::run`]) with a share of the error rate;
//! since an error needs one of the looks to err, the shares add up to at most [`ERROR_RATE`]. The
//! price of that is some more measurements where the truth is close to the limit, and none where it is
//! not. `tests/it/validation/sequential.rs` shows the rates by simulation.

use crate::domain::measure::{
    Arrival,
    run::{Estimate, Run},
};

pub use crate::domain::measure::run::{ERROR_RATE, LOOKS};

/// The fewest measurements for a first look. Two know next to nothing about their spread.
const FIRST: u32 = 3;

/// The factor below the floor that needs no more than [`CLEAR_REQUESTS`], nor whole answers: it is seven standard
/// deviations away where the coefficient of variation is 20 %.
const CLEARLY: f64 = 4.0;

/// The fewest tokens by which a rate can be called clear.
const CLEAR_TOKENS: u32 = 12;

/// The fewest requests by which a server can be called clearly too slow: whatever happened to one of them is no rate.
const CLEAR_REQUESTS: usize = 2;

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

/// Whether the median of this run is at least `floor`.
pub fn floor(ours: &Run, floor: f64) -> SequentialResult {
    let alone = ours.rates.iter().map(|rate| rate * (1.0 + ours.beside)).collect::<Vec<_>>();
    if is_clear(&alone, floor) {
        return SequentialResult::Below;
    }
    ours.estimate().map_or(SequentialResult::Open, |ours| against(ours, floor))
}

/// Whether these rates need no more of them: every one of several requests is clearly below the floor.
pub fn is_clear(rates: &[f64], floor: f64) -> bool {
    rates.len() >= CLEAR_REQUESTS && rates.iter().all(|rate| rate * CLEARLY < floor)
}

/// Whether an answer can be cut short: its chunks came like this, and it is clearly too slow for `floor`, tokens/s.
/// Only a server's own count says so, since a chunk may carry any number of tokens. The longest wait for a chunk is
/// left out of its time: one stall is no rate.
pub fn is_clearly_below(chunks: &[Arrival], floor: f64) -> bool {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
        return false;
    };
    let Some(tokens) = last.tokens.zip(first.tokens).map(|(last, first)| last.saturating_sub(first)) else {
        return false;
    };
    let longest = chunks.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).max();
    let time = last.at.saturating_sub(first.at).saturating_sub(longest.unwrap_or_default());
    tokens >= CLEAR_TOKENS && f64::from(tokens) * CLEARLY < floor * time.as_secs_f64()
}

/// Whether the median of `ours` is at least `least` times that of `theirs`.
pub fn ratio(ours: &Run, theirs: &Run, least: f64) -> SequentialResult {
    match (ours.estimate(), theirs.estimate()) {
        (Some(ours), Some(theirs)) => against(ours.over(theirs), least),
        _ => SequentialResult::Open,
    }
}

/// Where the ratio of the medians lies with 95 % confidence, by the bounds that the gate goes by.
pub fn bounds(ours: &Run, theirs: &Run) -> Option<[f64; 2]> {
    let ratio = ours.estimate()?.over(theirs.estimate()?);
    Some(ratio.bounds(LOOKS, ERROR_RATE).map(f64::exp))
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
/// candidate is expected: then it is asked for a precision of 5 %, and starts are taken to be alike.
pub fn power(theirs: &Run, least: f64, repetitions: u32) -> f64 {
    let tight = least >= 1.0 / LEAST_ROOM;
    let theirs = if tight { Run { start_spread: 0.0, ..theirs.clone() } } else { theirs.clone() };
    let Some(theirs) = theirs.estimate() else { return 0.0 };
    let count = f64::from(looks(repetitions)[LOOKS as usize - 1]);
    let room = least.ln().abs().max(LEAST_ROOM.ln());
    theirs.alone().after(count).over(theirs).power(room, LOOKS, ERROR_RATE)
}

/// Whether a baseline is known well enough to need no more measurements.
pub fn is_precise(theirs: &Run, least: f64, repetitions: u32) -> bool {
    power(theirs, least, repetitions) >= ENOUGH_POWER
}

fn against(known: Estimate, limit: f64) -> SequentialResult {
    let [low, high] = known.bounds(LOOKS, ERROR_RATE);
    let limit = limit.ln();
    if low >= limit {
        SequentialResult::Above
    } else if high < limit {
        SequentialResult::Below
    } else {
        SequentialResult::Open
    }
}

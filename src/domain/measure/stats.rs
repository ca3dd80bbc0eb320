//! Medians and their bounds, and a stream's speed by vLLM's definitions.
//!
//! Times and rates of a server are positive and skewed: their logarithms are close to normal, so that
//! Student's t on the logarithms bounds their median (which is where the mean of the logarithms lies).

use super::{Interval, Sample, Throughput, USUAL_START_SPREAD};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The share of intervals that miss the true median, on either side: together 5 %.
const OUTSIDE: f64 = 0.025;

impl Sample {
    /// Time per output token after the first, milliseconds: `(e2el - ttft) / (tokens - 1)`, which is
    /// how `vllm bench serve` defines TPOT. Absent for fewer than two tokens.
    pub fn tpot_ms(&self) -> Option<f64> {
        let after_first = self.tokens.checked_sub(1).filter(|&n| n > 0)?;
        Some((self.e2el_ms - self.ttft_ms) / f64::from(after_first))
    }

    /// Whether the client was stalled for so long that this tells of it, and not of the server: chunks that waited for
    /// it came in one burst.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_ms > MOST_STALLED * (self.e2el_ms - self.ttft_ms)
    }

    /// The decode rate, tokens/s: `1 / TPOT`. Absent where TPOT is, or is not above zero.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        self.tpot_ms().filter(|&tpot| tpot > 0.0).map(|tpot| 1000.0 / tpot)
    }
}

/// A client that was kept from running for more than this share of the time of an answer's tokens has measured itself.
const MOST_STALLED: f64 = 0.1;

/// The mean of some logarithms, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logarithms {
    /// Their mean.
    pub mean: f64,
    /// The square of its standard error.
    pub(crate) variance: f64,
    /// Degrees of freedom of that.
    pub(crate) freedom: f64,
}

impl Logarithms {
    /// The mean of the logarithms of these values. Absent unless there are two and all are above zero and
    /// finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        mean_and_error(&logarithms)
    }

    /// The logarithm of the ratio of two, with the degrees of freedom of Welch and Satterthwaite.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let variance = self.variance + other.variance;
        let each = self.variance.powi(2) / self.freedom + other.variance.powi(2) / other.freedom;
        let least = self.freedom.min(other.freedom);
        let freedom = if each > 0.0 { (variance.powi(2) / each).max(least) } else { least };
        Self { mean: self.mean - other.mean, variance, freedom }
    }

    /// Estimates what so many values with this spread would have shown.
    #[must_use]
    pub(crate) fn after(self, values: f64) -> Self {
        let variance = self.variance * (self.freedom + 1.0) / values;
        Self { variance, freedom: values - 1.0, ..self }
    }

    /// Half the width of the interval that misses with probability `outside` on either side.
    pub fn half_width(self, outside: f64) -> f64 {
        // The distribution exists for every number of degrees above zero, and there is one at least.
        let quantile = StudentsT::new(0.0, 1.0, self.freedom).map(|t| t.inverse_cdf(1.0 - outside));
        quantile.unwrap_or(f64::INFINITY) * self.variance.sqrt()
    }
}

impl Interval {
    /// The median of these values and its bounds. Absent when there are none, or one is not finite. The
    /// median of an even number of values is the mean of the middle two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        Self::around(median(&values)?, &values, values.len())
    }

    /// The median gap of all samples. The gaps of one request are not independent, so the bounds come from
    /// the requests' own medians.
    pub(crate) fn of_gaps(samples: &[Sample]) -> Option<Self> {
        let all: Vec<f64> = samples.iter().flat_map(|sample| sample.itl_ms.iter().copied()).collect();
        Self::around(median(&all)?, &Self::gap_medians(samples), all.len())
    }

    /// The median gap of each request that has one.
    pub(crate) fn gap_medians(samples: &[Sample]) -> Vec<f64> {
        samples.iter().filter_map(|sample| median(&sample.itl_ms)).collect()
    }

    /// An interval around `median`, with bounds from independent measurements of it.
    pub(crate) fn around(median: f64, independent: &[f64], n: usize) -> Option<Self> {
        let Some(logarithms) = Logarithms::of(independent) else {
            // One value, or a time of zero: what was seen is all that can be said.
            let low = independent.iter().copied().min_by(f64::total_cmp)?.min(median);
            let high = independent.iter().copied().max_by(f64::total_cmp)?.max(median);
            return Some(Self { median, low, high, n });
        };
        let half = logarithms.half_width(OUTSIDE);
        let bound = |logarithm: f64| logarithm.exp().min(f64::MAX);
        let (low, high) = (bound(logarithms.mean - half), bound(logarithms.mean + half));
        Some(Self { median, low: low.min(median), high: high.max(median), n })
    }
}

/// The mean and error of values that are logarithms already. Absent unless there are two and all are finite.
pub(crate) fn mean_and_error(values: &[f64]) -> Option<Logarithms> {
    if values.len() < 2 || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let freedom = count - 1.0;
    Some(Logarithms { mean, variance: squares / freedom / count, freedom })
}

/// The middle value; of an even number, the mean of the middle two. Absent when there are none, or one is
/// not finite.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
    Some(f64::midpoint(values[lower], values[upper]))
}

impl Throughput {
    /// Sums these samples up. Absent when there are none, or one of them has no decode rate.
    /// `output_tokens` is the least that any of them generated.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        Some(
            Self {
                requests: u32::try_from(samples.len()).ok()?,
                output_tokens: samples.iter().map(|sample| sample.tokens).min()?,
                decode_tokens_per_second: Interval::of(rates(samples)?)?,
                ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms))?,
                tpot_ms: Interval::of(samples.iter().filter_map(Sample::tpot_ms))?,
                itl_ms: Interval::of_gaps(samples)?,
                e2el_ms: Interval::of(samples.iter().map(|sample| sample.e2el_ms))?,
                thrown_away: 0,
                made_anew: 0,
                start_spread: USUAL_START_SPREAD,
                prompts: None,
                tokens_per_chunk: Sample::tokens_per_chunk(samples),
                itl_per_token_ms: Interval::of_gaps_per_token(samples),
                speculation: None,
                gpus: Vec::new(),
                samples: samples.to_vec(),
            }
            .among_starts(USUAL_START_SPREAD),
        )
    }
}

/// The decode rate of each sample. Absent if one has none.
pub(crate) fn rates(samples: &[Sample]) -> Option<Vec<f64>> {
    samples.iter().map(Sample::decode_tokens_per_second).collect()
}

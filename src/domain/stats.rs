//! Medians and spreads, and a stream's speed by vLLM's definitions.

use super::report::{Spread, Throughput};

/// What one streamed request took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// From sending to the first token, milliseconds.
    pub ttft_ms: f64,
    /// From sending to the last token, milliseconds.
    pub e2el_ms: f64,
    /// Tokens generated, as the server's `usage` counts them: one chunk may carry several.
    pub tokens: u32,
}

impl Sample {
    /// Time per output token after the first, milliseconds: `(e2el - ttft) / (tokens - 1)`, which is
    /// how `vllm bench serve` defines TPOT. Absent for fewer than two tokens.
    pub fn tpot_ms(&self) -> Option<f64> {
        let after_first = self.tokens.checked_sub(1).filter(|&n| n > 0)?;
        Some((self.e2el_ms - self.ttft_ms) / f64::from(after_first))
    }

    /// The decode rate, tokens/s: `1 / TPOT`. Absent where TPOT is, or is not above zero.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        self.tpot_ms().filter(|&tpot| tpot > 0.0).map(|tpot| 1000.0 / tpot)
    }
}

impl Spread {
    /// The spread of these values. Absent when there are none, or one is not finite. The median of an
    /// even number of values is the mean of the middle two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self { median: f64::midpoint(values[lower], values[upper]), min, max })
    }
}

impl Throughput {
    /// Sums these samples up. Absent when there are none, or one of them has no decode rate.
    /// `output_tokens` is the least that any of them generated.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let rates: Option<Vec<f64>> = samples.iter().map(Sample::decode_tokens_per_second).collect();
        Some(Self {
            requests: u32::try_from(samples.len()).ok()?,
            output_tokens: samples.iter().map(|sample| sample.tokens).min()?,
            decode_tokens_per_second: Spread::of(rates?)?,
            ttft_ms: Spread::of(samples.iter().map(|sample| sample.ttft_ms))?,
            tpot_ms: Spread::of(samples.iter().filter_map(Sample::tpot_ms))?,
            e2el_ms: Spread::of(samples.iter().map(|sample| sample.e2el_ms))?,
        })
    }
}

//! Chunks of several tokens, as a server sends them that speculates or gathers: what is per chunk and what per token.

use super::{Interval, Sample, stats::median};

impl Sample {
    /// The number of chunks of text.
    pub fn chunks(&self) -> usize {
        self.itl_ms.len() + 1
    }

    /// The tokens of each chunk in order: as the server counted them, else their average.
    pub fn tokens_by_chunk(&self) -> Vec<f64> {
        if self.chunk_tokens.len() == self.chunks() {
            return self.chunk_tokens.iter().copied().map(f64::from).collect();
        }
        vec![f64::from(self.tokens) / self.chunks() as f64; self.chunks()]
    }

    /// The mean number of tokens in a chunk of these. Absent without any.
    pub(crate) fn tokens_per_chunk(samples: &[Self]) -> Option<f64> {
        let chunks: usize = samples.iter().map(Self::chunks).sum();
        let tokens: f64 = samples.iter().map(|sample| f64::from(sample.tokens)).sum();
        (chunks > 0).then(|| tokens / chunks as f64)
    }

    /// The time before each chunk after the first, divided by the chunk's tokens, milliseconds: once for each token.
    fn itl_per_token_ms(&self) -> impl Iterator<Item = f64> {
        let tokens = self.tokens_by_chunk().into_iter().skip(1);
        self.itl_ms.iter().zip(tokens).flat_map(|(gap, tokens)| {
            let each = gap / tokens.max(1.0);
            std::iter::repeat_n(each, whole(tokens).max(1))
        })
    }
}

impl Interval {
    /// The median time between two tokens, milliseconds, where those of a chunk share the time before it. Bounds come from
    /// the requests, as those of [`Interval::of_gaps`].
    pub(crate) fn of_gaps_per_token(samples: &[Sample]) -> Option<Self> {
        let each: Vec<Vec<f64>> = samples.iter().map(|sample| sample.itl_per_token_ms().collect()).collect();
        let independent: Vec<f64> = each.iter().filter_map(|gaps| median(gaps)).collect();
        let all = each.concat();
        Self::around(median(&all)?, &independent, all.len())
    }
}

/// A number of tokens as an integer, rounded.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
fn whole(tokens: f64) -> usize {
    tokens.round().clamp(0.0, 1e6) as usize
}

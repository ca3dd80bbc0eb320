//! Measurements by the number of streams.

use crate::{domain::validation::sweep::Concurrency, flow::inspect::evidence::GenerationEvidence};

/// The measurements with so many streams, from one on.
pub(crate) fn levels(account: &GenerationEvidence) -> Vec<Concurrency> {
    let Some(report) = &account.report else { return Vec::new() };
    let mut levels = report.sweep.as_ref().map(|sweep| sweep.streams.clone()).unwrap_or_default();
    if levels.first().is_none_or(|level| level.max_concurrency > 1) {
        let single = report.throughput.as_ref();
        levels.splice(0..0, single.and_then(|single| Concurrency::of(1, single.samples.clone())));
    }
    levels
}

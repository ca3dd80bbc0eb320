//! Learns how much starts of the same server differ in speed on this host.

use crate::domain::measure::USUAL_START_SPREAD;

/// So many starts' worth of weight has the usual spread beside what was measured.
const USUAL_WEIGHT: f64 = 3.0;
/// The greatest spread that is believed: beyond it the starts were not of the same server.
const MOST_SPREAD: f64 = 0.25;

/// The standard deviation of the logarithm of the rate between starts, by the median rates of several starts of each of
/// some servers: a variance pooled over all of them, and the usual one until there are enough.
pub fn start_spread<'a>(servers: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    let mut squares = USUAL_WEIGHT * USUAL_START_SPREAD.powi(2);
    let mut freedom = USUAL_WEIGHT;
    for medians in servers {
        let logarithms: Vec<f64> = medians
            .iter()
            .filter(|median| **median > 0.0 && median.is_finite())
            .map(|median| median.ln())
            .collect();
        if logarithms.len() < 2 {
            continue;
        }
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        squares += logarithms.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        freedom += count - 1.0;
    }
    (squares / freedom).sqrt().min(MOST_SPREAD)
}

//! One start of a server, measured by several requests in a row: how well its speed is known.
//!
//! What follows of the requests assumes that they are of one kind, with a median; that what changes between them is
//! either chance, or keeps its direction; and that starts of a server differ by as much as is known of this host. Requests
//! that resemble their neighbours tell less than independent ones, by their first autocorrelation; a trend is taken to go on
//! until the last look; and no run is taken to be steadier than [`LEAST_SPREAD`].

use super::{
    Interval, Others, Sample, Throughput, USUAL_START_SPREAD,
    stats::{self, Logarithms},
};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The greatest probability of passing what is too slow, and of failing what is fast enough.
pub const ERROR_RATE: f64 = 0.05;
/// How often the measurements are looked at.
pub const LOOKS: u32 = 4;
/// The least spread within a run, as a coefficient of variation: a few requests often look steadier than they are.
const LEAST_SPREAD: f64 = 0.02;
/// The greatest autocorrelation that is believed: beyond it a run has no more than one or two independent requests.
const MOST_CORRELATION: f64 = 0.8;
/// The first autocorrelation of independent values is found so many parts of their number too low, and some more to be
/// safe (Marriott and Pope, 1954, give one part).
const CORRELATION_BIAS: f64 = 1.3;
/// A spread that may be of rounding.
const ROUNDING: f64 = 1e-6;
/// A trend is believed from this quantile of Student's t on: early, since it is dear to overlook one.
const TREND: f64 = 0.8;
/// The fewest requests that show a trend.
const TREND_REQUESTS: usize = 3;

/// Tokens of others, per token of ours, that do not count: no more than so much can they have slowed ours down.
const FEW_TOKENS: f64 = 0.05;
/// Tokens that the counters may lag behind.
const LAG_TOKENS: f64 = 2.0;

impl Others {
    /// Whether they may have slowed a request of so many tokens down.
    pub fn disturb(self, tokens: u32) -> bool {
        let few = LAG_TOKENS + FEW_TOKENS * f64::from(tokens);
        self.requests > 0.0 || self.tokens > few || self.prompt_tokens > LAG_TOKENS
    }
}

impl Sample {
    /// Whether others used the server meanwhile.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.others.is_some_and(|others| others.disturb(self.tokens))
    }
}

/// The rates of one start of a server, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The decode rates, tokens/s.
    pub rates: Vec<f64>,
    /// The requests after which the last look is.
    pub last: usize,
    /// Requests of others at the same time, on average. 0: it was alone.
    pub beside: f64,
    /// How much starts differ: the standard deviation of the logarithm of the rate.
    pub start_spread: f64,
}

/// The mean of the logarithms of a run's rates, or of the ratio of two, and what its distance from the truth consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Chance within the run.
    within: Logarithms,
    /// The square of the spread between starts.
    between: f64,
    /// How far a trend goes on.
    drift: f64,
    /// How much lower and higher it may be without the others.
    beside: [f64; 2],
}

impl Run {
    /// A server that was alone, on a host of which nothing is known.
    pub fn alone(rates: &[f64]) -> Self {
        Self { rates: rates.to_vec(), last: rates.len(), beside: 0.0, start_spread: USUAL_START_SPREAD }
    }

    /// Estimates the rate. Absent unless there are two and all are above zero and finite.
    pub fn estimate(&self) -> Option<Estimate> {
        let logarithms: Vec<f64> = self.rates.iter().map(|rate| rate.ln()).collect();
        let plain = stats::mean_and_error(&logarithms)?;
        let count = logarithms.len() as f64;
        let off: Vec<f64> = logarithms.iter().map(|value| value - plain.mean).collect();
        let squares: f64 = off.iter().map(|off| off * off).sum();
        let neighbours: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
        // Rounding alone makes equal values alike.
        let found = if squares > count * ROUNDING.powi(2) { neighbours / squares } else { 0.0 };
        let correlation = (found + CORRELATION_BIAS / count).clamp(0.0, MOST_CORRELATION);
        let variance = (plain.variance * count).max(LEAST_SPREAD.powi(2)) / count;
        let variance = variance * (1.0 + correlation) / (1.0 - correlation);
        Some(Estimate {
            within: Logarithms { variance, ..plain },
            between: self.start_spread.powi(2),
            drift: drift(&off, squares, self.last),
            // Where streams share a server, none has less than its part of it.
            beside: [0.0, (1.0 + self.beside.max(0.0)).ln()],
        })
    }
}

/// How far the mean moves on until the last look, if these deviations from it have a trend.
fn drift(off: &[f64], squares: f64, last: usize) -> f64 {
    if off.len() < TREND_REQUESTS {
        return 0.0;
    }
    let middle = (off.len() - 1) as f64 / 2.0;
    let at = |index: usize| index as f64 - middle;
    let places: f64 = (0..off.len()).map(|index| at(index).powi(2)).sum();
    let slope = off.iter().enumerate().map(|(index, off)| at(index) * off).sum::<f64>() / places;
    let freedom = (off.len() - 2) as f64;
    let rest = (squares - slope.powi(2) * places).max(0.0) / freedom;
    let error = (rest.max((LEAST_SPREAD / 2.0).powi(2)) / places).sqrt();
    let believed = StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(TREND));
    let until = last.max(off.len()) as f64 - 1.0 - middle;
    if slope.abs() > believed * error { slope.abs() * until } else { 0.0 }
}

impl Estimate {
    /// The logarithm of the middle.
    pub fn mean(self) -> f64 {
        self.within.mean
    }

    /// The ratio of two.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        Self {
            within: self.within.over(other.within),
            between: self.between + other.between,
            drift: self.drift + other.drift,
            beside: [self.beside[0] + other.beside[1], self.beside[1] + other.beside[0]],
        }
    }

    /// Estimates what so many requests of this kind would have shown.
    #[must_use]
    pub fn after(self, requests: f64) -> Self {
        Self { within: self.within.after(requests), ..self }
    }

    /// Takes the server to be steady, and used by nobody else.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { beside: [0.0; 2], drift: 0.0, ..self }
    }

    /// Where the logarithm lies, if each of so many looks may err by its part of the error rate, on either side. Chance
    /// within a run is drawn anew at each look, the start only once.
    pub fn bounds(self, looks: u32, error_rate: f64) -> [f64; 2] {
        let half = self.half_width(looks, error_rate);
        [self.within.mean - half - self.beside[0], self.within.mean + half + self.beside[1]]
    }

    fn half_width(self, looks: u32, error_rate: f64) -> f64 {
        let outside = error_rate / f64::from(looks.max(1));
        let within = self.within.half_width(outside);
        let between = Normal::standard().inverse_cdf(1.0 - error_rate) * self.between.sqrt();
        within.hypot(between) + self.drift
    }

    /// How often something that is truly so much above a limit, as a logarithm, is shown to be, by the normal
    /// approximation.
    pub fn power(self, room: f64, looks: u32, error_rate: f64) -> f64 {
        let room = room - self.half_width(looks, error_rate) - self.beside[0];
        let deviation = (self.within.variance + self.between).sqrt();
        if deviation > 0.0 {
            Normal::standard().cdf(room / deviation)
        } else {
            f64::from(u8::from(room >= 0.0))
        }
    }
}

impl Throughput {
    /// The rates, and how they were measured. Absent where there are none.
    pub fn run(&self) -> Option<Run> {
        let rates = stats::rates(&self.samples)?;
        Some(Run { last: rates.len(), rates, beside: self.beside(), start_spread: self.start_spread })
    }

    /// Requests of others at the same time, on average over those that were disturbed; at least one where any was.
    pub fn beside(&self) -> f64 {
        let disturbed: Vec<&Sample> = self.samples.iter().filter(|sample| sample.is_disturbed()).collect();
        if disturbed.is_empty() {
            return 0.0;
        }
        let all: f64 = disturbed.iter().filter_map(|sample| Some(sample.others?.requests)).sum();
        (all / disturbed.len() as f64).max(1.0)
    }

    /// Sets how much starts differ on this host, and the bounds of the rate that a gate goes by.
    #[must_use]
    pub fn among_starts(mut self, start_spread: f64) -> Self {
        self.start_spread = start_spread;
        let bounds = self.run().and_then(|run| run.estimate()).map(|known| known.bounds(LOOKS, ERROR_RATE));
        if let Some([low, high]) = bounds.map(|bounds| bounds.map(|bound| bound.exp().min(f64::MAX))) {
            let Interval { median, n, .. } = self.decode_tokens_per_second;
            self.decode_tokens_per_second =
                Interval { median, low: low.min(median), high: high.max(median), n };
        }
        self
    }
}

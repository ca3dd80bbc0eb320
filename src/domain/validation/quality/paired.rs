//! Compares what two models did with the same questions, pair by pair: what is hard for one is hard for the other.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The greatest probability of calling an equal model worse, for each comparison.
pub(crate) const ERROR_RATE: f64 = 0.05;

/// The pairs in which only one of two did well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Only the baseline did well.
    pub lost: u32,
    /// Only this one did well.
    pub gained: u32,
}

impl Pairs {
    /// Counts pairs of (ours, the baseline's).
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        pairs.into_iter().fold(Self::default(), |Self { lost, gained }, pair| match pair {
            (false, true) => Self { lost: lost + 1, gained },
            (true, false) => Self { lost, gained: gained + 1 },
            _ => Self { lost, gained },
        })
    }

    /// How probable so great a loss is if neither is better: the exact test of `McNemar`, one-sided.
    pub fn loss_probability(self) -> f64 {
        at_least(self.lost.into(), u64::from(self.lost) + u64::from(self.gained))
    }

    /// Whether this one is shown to be worse.
    pub fn is_loss(self) -> bool {
        self.lost > self.gained && self.loss_probability() < ERROR_RATE
    }

    /// The least loss that so many questions, which the baseline did well in, could show: each of them lost and none
    /// gained. Absent where not even losing all of them would show it.
    pub fn least_shown(well: u32) -> Option<u32> {
        (1..=well).find(|&lost| Self { lost, gained: 0 }.is_loss())
    }
}

/// The probability of at least `heads` in so many throws of a fair coin.
fn at_least(heads: u64, throws: u64) -> f64 {
    match (heads, Binomial::new(0.5, throws)) {
        (0, _) | (_, Err(_)) => 1.0,
        (heads, Ok(coin)) => coin.sf(heads - 1),
    }
}

/// The bounds of a share at 95 % confidence, of `yes` in so many: the exact ones of Clopper and Pearson. From 0 to 1
/// where nothing was asked.
pub fn share_bounds(yes: u32, all: u32) -> [f64; 2] {
    use statrs::distribution::{Beta, ContinuousCDF};
    let (yes, no) = (f64::from(yes.min(all)), f64::from(all.saturating_sub(yes)));
    let quantile = |a: f64, b: f64, at: f64| Beta::new(a, b).map(|beta| beta.inverse_cdf(at)).ok();
    let low = if yes > 0.0 { quantile(yes, no + 1.0, 0.025) } else { None };
    let high = if no > 0.0 { quantile(yes + 1.0, no, 0.975) } else { None };
    [low.unwrap_or(0.0), high.unwrap_or(1.0)]
}

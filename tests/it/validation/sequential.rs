//! The sequential rule's error rates, by simulation.

use awqdeploy::domain::validation::sequential::{
    ERROR_RATE, SequentialResult, floor, is_clearly_below, looks, ratio,
};
use statrs::distribution::{ContinuousCDF, Normal};
use std::{fmt::Write as _, time::Duration};

/// So many validations a case: an error rate of 5 % is then known to about 0.5 %.
const RUNS: u32 = 2000;

/// Rates of a server whose median is `median`: log-normal, as times of servers are, with this coefficient
/// of variation. The generator is `SplitMix64`, so that every run of this test is the same.
struct Server {
    median: f64,
    variation: f64,
    state: u64,
}

impl Server {
    fn rate(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let uniform = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let deviation = (1.0 + self.variation.powi(2)).ln().sqrt();
        self.median * (deviation * Normal::standard().inverse_cdf(uniform)).exp()
    }

    /// One validation by the rule: its answer, and the measurements that it took.
    fn judge(&mut self, shown: impl Fn(&[f64]) -> SequentialResult) -> (SequentialResult, usize) {
        let mut rates = Vec::new();
        let mut last = SequentialResult::Open;
        for look in looks(3) {
            while rates.len() < look as usize {
                rates.push(self.rate());
            }
            last = shown(&rates);
            if last != SequentialResult::Open {
                break;
            }
        }
        (last, rates.len())
    }
}

struct Tally {
    above: f64,
    below: f64,
    measured: f64,
}

fn tally(median: f64, variation: f64, shown: impl Fn(&[f64]) -> SequentialResult) -> Tally {
    let mut server = Server { median, variation, state: 20_261_123 };
    let mut tally = Tally { above: 0.0, below: 0.0, measured: 0.0 };
    for _ in 0..RUNS {
        let (shown, measured) = server.judge(&shown);
        tally.above += f64::from(u8::from(shown == SequentialResult::Above)) / f64::from(RUNS);
        tally.below += f64::from(u8::from(shown == SequentialResult::Below)) / f64::from(RUNS);
        tally.measured += measured as f64 / f64::from(RUNS);
    }
    tally
}

#[test]
fn errors_keep_to_their_rate() {
    let at_five = |rates: &[f64]| floor(rates, 5.0);
    for variation in [0.02, 0.1, 0.15, 0.2] {
        // At the limit itself, where errors are most frequent.
        let at = tally(5.0, variation, at_five);
        assert!(at.above <= ERROR_RATE, "{variation}: passes {}", at.above);
        assert!(at.below <= ERROR_RATE, "{variation}: fails {}", at.below);
        // It must be able to err, or it is not the rule that it says.
        assert!(at.above > 0.005 && at.below > 0.005, "{variation}: {} and {}", at.above, at.below);
        for (median, wrong) in [(4.5, SequentialResult::Above), (5.5, SequentialResult::Below)] {
            let off = tally(median, variation, at_five);
            let errors = if wrong == SequentialResult::Above { off.above } else { off.below };
            assert!(errors <= ERROR_RATE / 5.0, "{variation}: {median} is judged wrong: {errors}");
        }
    }
}

#[test]
fn what_is_far_from_the_limit_is_decided_soon() {
    for variation in [0.1, 0.2] {
        let good = tally(10.0, variation, |rates| floor(rates, 5.0));
        assert!(good.above > 0.999, "{variation}: {}", good.above);
        assert!(good.measured < 6.0, "{variation}: {}", good.measured);
        let bad = tally(2.5, variation, |rates| floor(rates, 5.0));
        assert!(bad.below > 0.999, "{variation}: {}", bad.below);
    }
    let steady = tally(6.0, 0.02, |rates| floor(rates, 5.0));
    assert!(steady.measured < 3.5, "{}", steady.measured);
}

#[test]
fn a_ratio_keeps_to_its_rate() {
    for variation in [0.1, 0.2] {
        let mut other = Server { median: 10.0, variation, state: 7 };
        let mut wrong = 0;
        for run in 0..RUNS {
            let theirs: Vec<f64> = (0..5).map(|_| other.rate()).collect();
            let mut server = Server { median: 8.5, variation, state: 1000 + u64::from(run) * 977 };
            let (shown, _) = server.judge(|ours| ratio(ours, &theirs, 0.85));
            wrong += u32::from(shown == SequentialResult::Above);
        }
        let rate = f64::from(wrong) / f64::from(RUNS);
        assert!(rate <= ERROR_RATE, "{variation}: {rate}");
    }
    // Twins pass a tolerance of 15 % where they are steady.
    let theirs = [10.0, 10.1, 9.9, 10.05, 9.95];
    let twins = tally(10.0, 0.02, |ours| ratio(ours, &theirs, 0.85));
    assert!(twins.above > 0.99, "{}", twins.above);
}

#[test]
fn looks_grow_and_end() {
    assert_eq!(looks(1), [3, 5, 8, 12]);
    assert_eq!(looks(10), [10, 15, 23, 35]);
    assert_eq!(looks(u32::MAX)[3], u32::MAX);
}

#[test]
fn nothing_is_decided_by_too_little() {
    for rates in [&[][..], &[9.0], &[4.0]] {
        assert_eq!(floor(rates, 5.0), SequentialResult::Open, "{rates:?}");
    }
    assert_eq!(floor(&[1.0], 5.0), SequentialResult::Below, "five times too slow needs no second look");
    assert_eq!(ratio(&[9.0, 9.0], &[9.0], 0.5), SequentialResult::Open);
}

#[test]
fn a_clearly_slow_stream_need_not_be_heard_out() {
    let chunks = |count: u64, gap: u64| -> Vec<Duration> {
        (0..count).map(|chunk| Duration::from_millis(1000 + chunk * gap)).collect()
    };
    assert!(is_clearly_below(&chunks(13, 1000), 5.0), "1 token/s");
    assert!(!is_clearly_below(&chunks(12, 1000), 5.0), "too early to say");
    assert!(!is_clearly_below(&chunks(13, 500), 5.0), "2 tokens/s are not clear");
    assert!(!is_clearly_below(&[], 5.0));
}

/// What the rule does with servers of known speed, for the document.
pub(crate) fn table() -> String {
    let mut out = String::from(
        "| the server's median | its variation | passes | fails | is left open | requests, on average |\n\
         |---:|---:|---:|---:|---:|---:|\n",
    );
    for variation in [0.1, 0.2] {
        for median in [2.5, 4.0, 4.5, 5.0, 5.5, 6.0, 10.0] {
            let Tally { above, below, measured } = tally(median, variation, |rates| floor(rates, 5.0));
            let [passes, fails, open] =
                [above, below, (1.0 - above - below).max(0.0)].map(|share| share * 100.0);
            let _ = writeln!(
                out,
                "| {median:.1} | {:.0} % | {passes:.1} % | {fails:.1} % | {open:.1} % | {measured:.1} |",
                variation * 100.0
            );
        }
    }
    out
}

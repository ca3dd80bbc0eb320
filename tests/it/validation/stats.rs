//! Medians, and a stream's speed by vLLM's definitions.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use awqdeploy::domain::measure::{Interval, Sample, Throughput, stats::Logarithms};
use proptest::prelude::*;

fn sample(ttft_ms: f64, e2el_ms: f64, tokens: u32) -> Sample {
    let gaps = tokens.saturating_sub(1);
    let itl_ms = vec![(e2el_ms - ttft_ms) / f64::from(gaps.max(1)); gaps as usize];
    Sample { ttft_ms, e2el_ms, tokens, itl_ms, prompt_tokens: 8, ..Sample::default() }
}

#[test]
fn medians() {
    for (values, median) in
        [(vec![3.0], 3.0), (vec![1.0, 2.0], 1.5), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 3.0, 2.0], 2.5)]
    {
        assert_eq!(Interval::of(values.clone()).unwrap().median, median, "{values:?}");
    }
    assert_eq!(Interval::of([]), None);
    assert_eq!(Interval::of([1.0, f64::NAN]), None);
    assert_eq!(Interval::of([1.0, f64::INFINITY]), None);
}

#[test]
fn decode_rate_leaves_the_first_token_out() {
    // 100 ms for the first, then 10 more in one second.
    assert_eq!(sample(100.0, 1100.0, 11).tpot_ms(), Some(100.0));
    assert_eq!(sample(100.0, 1100.0, 11).decode_tokens_per_second(), Some(10.0));
    for (tokens, why) in [(0, "nothing"), (1, "only a first token")] {
        assert_eq!(sample(100.0, 1100.0, tokens).tpot_ms(), None, "{why}");
    }
    let at_once = sample(100.0, 100.0, 11);
    assert_eq!(at_once.decode_tokens_per_second(), None, "no infinite rate");
}

#[test]
fn throughput_needs_every_sample() {
    let good = sample(100.0, 1100.0, 11);
    let throughput = Throughput::of(&[good.clone(), sample(200.0, 700.0, 11), good.clone()]).unwrap();
    assert_eq!(throughput.requests, 3);
    assert_eq!(throughput.output_tokens, 11);
    let rate = throughput.decode_tokens_per_second;
    assert_eq!((rate.median, rate.n), (10.0, 3));
    assert!(rate.low < 10.0 && rate.high > 10.0, "{rate:?}");
    assert_eq!(throughput.tpot_ms.median, 100.0);
    assert_eq!((throughput.itl_ms.median, throughput.itl_ms.n), (100.0, 30));
    assert_eq!(throughput.e2el_ms.median, 1100.0);
    assert_eq!(Throughput::of(&[]), None);
    assert_eq!(Throughput::of(&[good, sample(100.0, 100.0, 11)]), None);
}

/// Worked out by hand, with 4.302653 from a table of t for 2 degrees of freedom and 97.5 %.
#[test]
fn bounds_are_students() {
    let interval = Interval::of([9.0, 10.0, 12.0]).unwrap();
    assert!((interval.low - 7.1469).abs() < 1e-3, "{interval:?}");
    assert!((interval.high - 14.7287).abs() < 1e-3, "{interval:?}");
    // One measurement knows nothing of its spread, and says how many it is.
    let one = Interval::of([9.0]).unwrap();
    assert_eq!((one.low, one.high, one.n), (9.0, 9.0, 1));
    // One value thrice has no spread.
    let same = Interval::of([9.0; 3]).unwrap();
    assert!((same.high - same.low).abs() < 1e-9);
}

#[test]
fn logarithms_want_two_positive_values() {
    for values in [&[][..], &[1.0], &[1.0, 0.0], &[1.0, -1.0], &[1.0, f64::NAN]] {
        assert_eq!(Logarithms::of(values), None, "{values:?}");
    }
    let halves = Logarithms::of(&[2.0, 2.0]).unwrap().over(Logarithms::of(&[4.0, 4.0]).unwrap());
    assert!((halves.mean.exp() - 0.5).abs() < 1e-12);
    assert_eq!(halves.half_width(0.025), 0.0);
}

proptest! {
    #[test]
    fn half_lie_on_either_side(values in proptest::collection::vec(-1e6..1e6, 1..30)) {
        let spread = Interval::of(values.clone()).unwrap();
        let count = |keep: fn(f64, f64) -> bool| {
            values.iter().filter(|&&value| keep(value, spread.median)).count()
        };
        prop_assert!(count(|value, median| value <= median) * 2 >= values.len());
        prop_assert!(count(|value, median| value >= median) * 2 >= values.len());
        prop_assert!(spread.low <= spread.median && spread.median <= spread.high);
    }
}

//! Medians, and a stream's speed by vLLM's definitions.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use awqdeploy::domain::{
    report::{Spread, Throughput},
    stats::Sample,
};
use proptest::prelude::*;

fn sample(ttft_ms: f64, e2el_ms: f64, tokens: u32) -> Sample {
    Sample { ttft_ms, e2el_ms, tokens }
}

#[test]
fn medians() {
    for (values, median) in
        [(vec![3.0], 3.0), (vec![1.0, 2.0], 1.5), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 3.0, 2.0], 2.5)]
    {
        assert_eq!(Spread::of(values.clone()).unwrap().median, median, "{values:?}");
    }
    assert_eq!(Spread::of([]), None);
    assert_eq!(Spread::of([1.0, f64::NAN]), None);
    assert_eq!(Spread::of([1.0, f64::INFINITY]), None);
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
    let throughput = Throughput::of(&[good, sample(200.0, 700.0, 11), good]).unwrap();
    assert_eq!(throughput.requests, 3);
    assert_eq!(throughput.output_tokens, 11);
    let rate = throughput.decode_tokens_per_second;
    assert_eq!((rate.median, rate.min, rate.max), (10.0, 10.0, 20.0));
    assert_eq!(throughput.ttft_ms.max, 200.0);
    assert_eq!(throughput.tpot_ms.min, 50.0);
    assert_eq!(throughput.e2el_ms.median, 1100.0);
    assert_eq!(Throughput::of(&[]), None);
    assert_eq!(Throughput::of(&[good, sample(100.0, 100.0, 11)]), None);
}

proptest! {
    #[test]
    fn half_lie_on_either_side(values in proptest::collection::vec(-1e6..1e6, 1..30)) {
        let spread = Spread::of(values.clone()).unwrap();
        let count = |keep: fn(f64, f64) -> bool| {
            values.iter().filter(|&&value| keep(value, spread.median)).count()
        };
        prop_assert!(count(|value, median| value <= median) * 2 >= values.len());
        prop_assert!(count(|value, median| value >= median) * 2 >= values.len());
        prop_assert!(values.iter().all(|value| (spread.min..=spread.max).contains(value)));
    }
}

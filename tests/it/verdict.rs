//! From evidence to a verdict.

use crate::rehearsal::gates;
use awqdeploy::domain::{
    activation::GenerationId,
    profile::{Baseline, Gates},
    report::{Check, KnownAnswers, Report, Spread, Throughput},
    verdict::{Evidence, Verdict, judge},
};

fn check(name: &str, failure: Option<&str>) -> Check {
    Check { name: name.to_owned(), failure: failure.map(str::to_owned), ms: 1.0 }
}

fn spread(median: f64) -> Spread {
    Spread { median, min: median, max: median }
}

fn throughput(rate: f64) -> Throughput {
    Throughput {
        requests: 3,
        output_tokens: 8,
        decode_tokens_per_second: spread(rate),
        ttft_ms: spread(100.0),
        tpot_ms: spread(1000.0 / rate),
        e2el_ms: spread(1000.0),
    }
}

fn baseline(rate: f64) -> Report {
    Report {
        generation: GenerationId(3),
        profile: "gptq".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        checks: vec![check("health", None)],
        known_answers: None,
        throughput: Some(throughput(rate)),
        comparison: None,
        failures: Vec::new(),
        findings: Vec::new(),
        actual: None,
    }
}

fn compared() -> Gates {
    Gates { baseline: Some(Baseline { profile: "gptq".to_owned(), min_ratio: 0.85 }), ..gates() }
}

const fn answers(right: u32, asked: u32) -> KnownAnswers {
    KnownAnswers { right, asked, version: 1 }
}

/// The verdict on a generation that did `rate` after one good check.
fn at(gates: &Gates, rate: f64, baseline: Option<&Report>) -> Verdict {
    judge(Evidence {
        gates,
        checks: &[check("health", None)],
        known_answers: None,
        throughput: Some(&throughput(rate)),
        baseline,
    })
}

#[test]
fn a_floor_is_met_or_named() {
    let gates = gates();
    assert_eq!(at(&gates, 5.0, None).failures, [""; 0]);
    for (rate, sentence) in [
        (3.12, "decode 3.1 tokens/s is below the floor of 5.0"),
        (4.98, "decode 4.98 tokens/s is below the floor of 5.00"),
        (0.0, "decode 0.0 tokens/s is below the floor of 5.0"),
        (f64::NAN, "decode NaN tokens/s is below the floor of 5.0"),
    ] {
        assert_eq!(at(&gates, rate, None).failures, [sentence]);
    }
}

#[test]
fn a_ratio_is_met_or_named() {
    let gates = compared();
    let passed = at(&gates, 8.5, Some(&baseline(10.0)));
    assert_eq!(passed.failures, [""; 0]);
    let comparison = passed.comparison.unwrap();
    assert_eq!(comparison.generation, GenerationId(3));
    assert_eq!((comparison.ratio, comparison.min_ratio), (0.85, 0.85));

    let failed = at(&gates, 7.1, Some(&baseline(10.0)));
    assert_eq!(
        failed.failures,
        ["decode is 0.71 of the 10.0 tokens/s of `gptq` (generation 3), below the tolerated 0.85"]
    );
    assert!(failed.comparison.is_some());
    // Both gates can fail.
    assert_eq!(at(&gates, 3.0, Some(&baseline(10.0))).failures.len(), 2);
}

#[test]
fn only_a_passed_report_of_the_named_profile_is_a_baseline() {
    let gates = compared();
    let unmeasured = Report { throughput: None, ..baseline(10.0) };
    let failed = Report { failures: vec!["it was slow".to_owned()], ..baseline(10.0) };
    let other = Report { profile: "fp16".to_owned(), ..baseline(10.0) };
    for unfit in [None, Some(&unmeasured), Some(&failed), Some(&other)] {
        let verdict = at(&gates, 6.0, unfit);
        assert_eq!(verdict.failures, [""; 0]);
        assert_eq!(verdict.comparison, None);
    }
}

#[test]
fn known_answers_count_only_where_they_are_asked_for() {
    let strict = Gates { min_known_answers: Some(0.8), ..gates() };
    let failures = |gates: &Gates, known_answers| {
        judge(Evidence {
            gates,
            checks: &[check("health", None)],
            known_answers,
            throughput: Some(&throughput(9.0)),
            baseline: None,
        })
        .failures
    };
    assert_eq!(failures(&strict, Some(answers(8, 10))), [""; 0]);
    assert_eq!(
        failures(&strict, Some(answers(7, 10))),
        ["7 of 10 known answers were right, below the share of 0.8"]
    );
    assert_eq!(failures(&strict, None), ["the questions with known answers were not asked"]);
    assert_eq!(failures(&strict, Some(answers(0, 0))).len(), 1);
    // Gibberish is no failure of its own.
    assert_eq!(failures(&gates(), Some(answers(0, 10))), [""; 0]);
}

#[test]
fn what_was_not_shown_does_not_pass() {
    let strict = Gates { min_known_answers: Some(0.8), ..gates() };
    let judged = |checks: &[Check], throughput: Option<&Throughput>| {
        judge(Evidence {
            gates: &strict,
            checks,
            known_answers: Some(answers(10, 10)),
            throughput,
            baseline: None,
        })
        .failures
    };
    assert_eq!(judged(&[], Some(&throughput(9.0))), ["nothing was checked"]);
    assert_eq!(judged(&[check("health", None)], None), ["the decode rate was not measured"]);
    let two = Throughput { requests: 2, ..throughput(9.0) };
    assert_eq!(judged(&[check("health", None)], Some(&two)), ["2 of 3 measured requests ended"]);
}

#[test]
fn a_failed_check_explains_what_is_missing() {
    let strict = Gates { min_known_answers: Some(0.8), ..compared() };
    let verdict = judge(Evidence {
        gates: &strict,
        checks: &[check("health", None), check("chat", Some("the role is `user`"))],
        known_answers: None,
        throughput: None,
        baseline: Some(&baseline(10.0)),
    });
    assert_eq!(verdict.failures, ["check `chat`: the role is `user`"]);
    assert_eq!(verdict.comparison, None);
}

//! From evidence to a verdict.

use crate::inputs::gates;
use awqdeploy::domain::{
    generation_id::GenerationId,
    measure::{Others, Sample, Throughput},
    profile::{Baseline, Gates},
    validation::{
        quality::Quality,
        report::{Check, CheckOutcome, KnownAnswers, Report, Verdict},
        verdict::{Basis, Evidence, Judgement, judge},
    },
};

fn check(name: &str, failure: Option<&str>) -> Check {
    let verdict = if failure.is_some() { CheckOutcome::Fail } else { CheckOutcome::Pass };
    Check { name: name.to_owned(), verdict, detail: failure.map(str::to_owned), ms: 1.0 }
}

/// Three requests at exactly this rate.
fn throughput(rate: f64) -> Throughput {
    of_rates(&[rate; 3])
}

fn of_rates(rates: &[f64]) -> Throughput {
    let sample = |rate: &f64| Sample {
        prompt_tokens: 8,
        ttft_ms: 100.0,
        e2el_ms: 100.0 + 7000.0 / rate,
        tokens: 8,
        itl_ms: vec![1000.0 / rate; 7],
        ..Sample::default()
    };
    Throughput::of(&rates.iter().map(sample).collect::<Vec<_>>()).unwrap()
}

fn baseline(rate: f64) -> Report {
    Report {
        generation: Some(GenerationId(3)),
        profile: "gptq".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        checks: vec![check("health", None)],
        throughput: Some(throughput(rate)),
        ..Report::default()
    }
}

fn compared() -> Gates {
    Gates {
        baseline: Some(Baseline { profile: "gptq".to_owned(), min_ratio: 0.85, required: true }),
        ..gates()
    }
}

const fn answers(right: u32, asked: u32) -> KnownAnswers {
    KnownAnswers { right, asked, not_asked: 0, version: 1 }
}

/// The verdict on a generation that did `rate` after one good check.
fn at(gates: &Gates, rate: f64, baseline: Option<&Report>) -> Judgement {
    judge(Evidence {
        gates,
        checks: &[check("health", None)],
        known_answers: None,
        quality: None,
        throughput: Some(&throughput(rate)),
        basis: baseline.map(Basis::Stored),
        reference: None,
    })
}

#[test]
fn a_floor_is_met_or_named() {
    let gates = gates();
    assert_eq!(at(&gates, 5.001, None).failures, [""; 0]);
    for (rate, sentence) in [
        (3.12, "decode 3.1 tokens/s is below the floor of 5.0"),
        (0.01, "decode 0.0 tokens/s is below the floor of 5.0"),
    ] {
        assert_eq!(at(&gates, rate, None).failures, [sentence]);
    }
    // So near to the floor it takes many requests, and starts that do not differ.
    let near = of_rates(&[4.98; 400]).among_starts(0.0);
    let judged = judge(Evidence {
        gates: &gates,
        checks: &[check("health", None)],
        known_answers: None,
        quality: None,
        throughput: Some(&near),
        basis: None,
        reference: None,
    });
    assert_eq!(judged.failures, ["decode 4.98 tokens/s is below the floor of 5.00"]);
}

#[test]
fn a_ratio_is_met_or_named() {
    let gates = compared();
    let passed = at(&gates, 8.5001, Some(&baseline(10.0)));
    assert_eq!(passed.failures, [""; 0]);
    let comparison = passed.comparison.unwrap();
    assert_eq!(comparison.generation, GenerationId(3));
    assert!((comparison.ratio - 0.85).abs() < 1e-3 && !comparison.live);

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
        assert_eq!(verdict.not_judged.len(), 1, "{:?}", verdict.not_judged);
        assert_eq!(verdict.failures, verdict.not_judged);
        assert_eq!(verdict.comparison, None);
    }
}

/// Whatever a gate asks for and nobody can tell, it does not pass: unless the profile says that it may, and then it is
/// said all the same.
/// What is compared, by which gates, with which baseline, the candidate's quality, and the doubts that are due.
type Case<'a> = (&'a str, &'a Gates, Option<&'a Report>, Option<Quality>, &'a [&'a str]);

#[test]
fn a_gate_that_cannot_be_judged_is_never_green() {
    const SPEED: &str = "the gate on speed is not judged: `gptq` was never measured on this host";
    const UNKNOWN: &str = "the gate on perplexity is not judged: that of `gptq` is not known on this host";
    const APART: &str =
        "the gate on perplexity is not judged: the two share no text whose probabilities are known";
    const ALONE: &str = "the gate on perplexity is not judged: the profile names no baseline";
    let text = |tokens: usize| Quality { logprobs: vec![-1.0; tokens], ..Quality::default() };
    let measured = baseline(10.0);
    let of_text = Report { quality: Some(text(50)), ..baseline(10.0) };
    let perplexity = Gates { max_perplexity_ratio: Some(1.1), ..compared() };
    let alone = Gates { baseline: None, ..perplexity.clone() };
    let cases: [Case<'_>; 8] = [
        ("nothing to compare with", &compared(), None, None, &[SPEED]),
        ("measured", &compared(), Some(&measured), None, &[]),
        ("neither", &perplexity, None, Some(text(50)), &[SPEED, UNKNOWN]),
        ("its text is not known", &perplexity, Some(&measured), Some(text(50)), &[UNKNOWN]),
        ("the candidate's is not", &perplexity, Some(&of_text), None, &[APART]),
        ("of other tokens", &perplexity, Some(&of_text), Some(text(40)), &[APART]),
        ("both", &perplexity, Some(&of_text), Some(text(50)), &[]),
        ("no baseline at all", &alone, Some(&of_text), Some(text(50)), &[ALONE]),
    ];
    for (what, gates, basis, quality, open) in cases {
        let judged = |gates: &Gates| {
            judge(Evidence {
                gates,
                checks: &[check("health", None)],
                known_answers: None,
                quality: quality.as_ref(),
                throughput: Some(&throughput(9.0)),
                basis: basis.map(Basis::Stored),
                reference: None,
            })
        };
        let strict = judged(gates);
        assert_eq!(strict.not_judged, open, "{what}");
        assert_eq!(strict.failures, open, "{what}");
        if let Some(baseline) = gates.baseline.clone() {
            let may = Gates { baseline: Some(Baseline { required: false, ..baseline }), ..gates.clone() };
            let lenient = judged(&may);
            assert_eq!(lenient.not_judged, open, "{what}");
            assert_eq!(lenient.failures, [""; 0], "{what}");
        }
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
            quality: None,
            throughput: Some(&throughput(9.0)),
            basis: None,
            reference: None,
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
            quality: None,
            throughput,
            basis: None,
            reference: None,
        })
        .failures
    };
    assert_eq!(judged(&[], Some(&throughput(9.0))), ["nothing was checked"]);
    assert_eq!(judged(&[check("health", None)], None), ["the decode rate was not measured"]);
}

#[test]
fn what_is_open_is_a_doubt() {
    let judged = |rates: &[f64]| {
        judge(Evidence {
            gates: &compared(),
            checks: &[check("health", None)],
            known_answers: None,
            quality: None,
            throughput: Some(&of_rates(rates)),
            basis: Some(Basis::Live(&baseline(6.0))),
            reference: None,
        })
    };
    let judgement = judged(&[4.0, 5.0, 7.0]);
    assert_eq!(judgement.failures, [""; 0]);
    assert_eq!(
        judgement.doubts,
        [
            "decode 5.0 tokens/s (95 %: 0.8 to 33.6) after 3 requests neither meets nor misses the floor of 5.0",
            "decode at 0.83 of `gptq` (95 %: 0.14 to 5.52) after 3 requests neither meets nor misses the tolerated 0.85",
        ]
    );
    assert!(judgement.comparison.unwrap().live);
    // One request says nothing, and two only where both are far too slow.
    assert_eq!(judged(&[9.0]).doubts.len(), 2);
    assert_eq!(judged(&[1.0]).doubts.len(), 2);
    assert_eq!(judged(&[1.0, 1.0]).failures[0], "decode 1.0 tokens/s is below the floor of 5.0");

    let report = |failures: &[&str], doubts: &[&str]| Report {
        failures: failures.iter().map(ToString::to_string).collect(),
        doubts: doubts.iter().map(ToString::to_string).collect(),
        ..baseline(9.0)
    };
    assert_eq!(report(&[], &[]).verdict(), Verdict::Pass);
    assert_eq!(report(&[], &["perhaps"]).verdict(), Verdict::Inconclusive);
    assert_eq!(report(&["no"], &["perhaps"]).verdict(), Verdict::Fail);
    assert!(!report(&[], &["perhaps"]).passed());
}

#[test]
fn a_failed_check_explains_what_is_missing() {
    let strict = Gates { min_known_answers: Some(0.8), ..compared() };
    let verdict = judge(Evidence {
        gates: &strict,
        checks: &[check("health", None), check("chat", Some("the role is `user`"))],
        known_answers: None,
        quality: None,
        throughput: None,
        basis: Some(Basis::Stored(&baseline(10.0))),
        reference: None,
    });
    assert_eq!(verdict.failures, ["check `chat`: the role is `user`"]);
    assert_eq!(verdict.comparison, None);
}

/// A speed that was measured beside users is judged with what it may be without them.
#[test]
fn users_are_told_and_allowed_for() {
    let beside = |rates: &[f64], requests: f64| {
        let mut measured = of_rates(rates);
        for sample in &mut measured.samples {
            sample.others = Some(Others { requests, tokens: 100.0, prompt_tokens: 20.0 });
        }
        Throughput::of(&measured.samples).unwrap()
    };
    let shared = beside(&[3.0; 3], 2.0);
    assert!((shared.beside() - 2.0).abs() < 1e-9);
    // Alone it may be three times as fast: neither above nor below a floor of 5.
    let judged = judge(Evidence {
        gates: &gates(),
        checks: &[check("health", None)],
        known_answers: None,
        quality: None,
        throughput: Some(&shared),
        basis: None,
        reference: None,
    });
    assert_eq!(judged.failures, [""; 0]);
    assert!(judged.doubts[0].contains(", it measured beside 2 users"), "{:?}", judged.doubts);
    // A few tokens of somebody else are no company, nor is what the counters lag behind.
    let few = Others { requests: 0.0, tokens: 4.0, prompt_tokens: 1.0 };
    assert!(!few.disturb(100) && Others { tokens: 40.0, ..few }.disturb(100));
    // A baseline beside users makes no slow candidate pass.
    let gates = compared();
    let report = Report { throughput: Some(beside(&[100.0; 3], 2.0)), ..baseline(100.0) };
    let judged = judge(Evidence {
        gates: &gates,
        checks: &[check("health", None)],
        known_answers: None,
        quality: None,
        throughput: Some(&throughput(95.0)),
        basis: Some(Basis::Live(&report)),
        reference: None,
    });
    assert!(judged.doubts[0].contains(", the baseline measured beside 2 users"), "{judged:?}");
}

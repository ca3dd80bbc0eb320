//! The expectations of models at each token, and how far two expect otherwise.

use super::simulation::Chance;
use crate::inputs::gates;
use awqdeploy::domain::{
    api::prompt_logprobs::{PromptToken, read},
    profile::{Baseline, Gates, QualityLimits},
    validation::{
        expectations::{Against, Divergence, Expectations, Expected, TextExpectations, VERSION},
        quality::{
            Quality,
            verdict::{QualityEvidence, QualityJudgement, judge},
        },
        reference::{Reference, ReferenceOf},
        texts::{BASE, FURTHER, rows},
    },
};
use proptest::prelude::*;
use std::fmt::Write as _;

fn expected(own: u32, probabilities: &[(u32, f64)]) -> Expected {
    let likely: Vec<(u32, f64)> = probabilities.iter().map(|&(id, share)| (id, share.ln())).collect();
    let logprob = likely.iter().find(|(id, _)| *id == own).map_or(-9.0, |(_, logprob)| *logprob);
    Expected::of(own, logprob, likely, 20)
}

#[test]
fn a_divergence_is_that_of_the_distributions() {
    let sure = expected(1, &[(1, 0.75), (2, 0.25)]);
    let even = expected(1, &[(1, 0.5), (2, 0.5)]);
    // 0.75 ln(0.75/0.5) + 0.25 ln(0.25/0.5), and nothing is left over.
    assert!((sure.divergence(&even).unwrap() - 0.130_812).abs() < 1e-4);
    assert!(sure.divergence(&sure).unwrap() < 1e-12);
    // A token that ours does not name has at most what is left: a lower bound, and no infinity.
    let other = expected(1, &[(1, 0.75), (3, 0.2)]);
    let bound = sure.divergence(&other).unwrap();
    assert!((0.2..0.6).contains(&bound), "{bound}");
    // Only its own token is told: nothing can be said.
    assert_eq!(sure.divergence(&Expected::of(1, -0.3, vec![], 0)), None);
    assert_eq!(Expected::of(1, -0.3, vec![], 0).divergence(&sure), None);
}

fn text(name: &str, tokens: Vec<Expected>) -> TextExpectations {
    TextExpectations { name: name.to_owned(), bytes: 4 * u32::try_from(tokens.len()).unwrap(), tokens }
}

/// Tokens of a text, each expected with `sure`, and the rest split over two others.
fn model(sure: f64, tokens: u32) -> Expectations {
    let token = |id: u32| {
        // Some are harder than others.
        let sure = sure * f64::from(90 - id % 7 * 5) / 90.0;
        expected(id, &[(id, sure), (id + 1, (1.0 - sure) * 0.7), (id + 2, (1.0 - sure) * 0.3)])
    };
    Expectations { version: VERSION, depth: 20, texts: vec![text("prose", (0..tokens).map(token).collect())] }
}

fn quality(expectations: Expectations) -> Quality {
    let logprobs = expectations.logprobs_of("prose");
    Quality { answers: vec![], logprobs, expectations: Some(expectations) }
}

#[test]
fn a_token_more_at_the_beginning_is_left_out() {
    let plain = model(0.8, 100);
    let mut begun = plain.clone();
    begun.texts[0].tokens.insert(0, expected(7, &[(7, 0.01), (8, 0.9)]));
    assert_eq!(begun.shared(&plain).len(), 100);
    assert!(begun.against(&plain, 1).unwrap().mean.unwrap() < 1e-9);
    // Other tokens, another version and two more are another matter.
    begun.texts[0].tokens.insert(0, expected(7, &[(7, 1.0)]));
    assert_eq!(begun.against(&plain, 1), None);
    assert!(begun.reads_otherwise(&plain));
    assert_eq!(Expectations { version: VERSION + 1, ..plain.clone() }.against(&plain, 1), None);
}

#[test]
fn the_surprise_at_a_byte_depends_on_no_tokenizer() {
    // Twice as many tokens, half as surprising: the same text.
    let half = |tokens: usize, share: f64| Expectations {
        version: VERSION,
        depth: 0,
        texts: vec![TextExpectations {
            name: "prose".to_owned(),
            bytes: 400,
            tokens: vec![Expected::of(1, share.ln(), vec![], 0); tokens],
        }],
    };
    let [long, short] = [half(100, 0.25), half(200, 0.5)].map(|of| of.bits_per_byte().unwrap());
    assert!((long - 0.5).abs() < 1e-9 && (short - long).abs() < 1e-9, "{long} {short}");
    assert_eq!(Expectations::default().bits_per_byte(), None);
}

#[test]
fn vllms_answer_is_read_in_its_order() {
    let body = r#"{"choices": [{"text": "x", "prompt_logprobs": [null,
        {"9": {"logprob": -3.5, "rank": 30, "decoded_token": " wool"}, "12": {"logprob": -0.1, "rank": 1, "decoded_token": " oil"}},
        {"4": {"logprob": -0.2, "rank": 1, "decoded_token": "."}}]}]}"#;
    let tokens = read(body).unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!((tokens[0].id, tokens[0].logprob), (9, Some(-3.5)));
    assert_eq!(tokens[0].likely, [(9, -3.5), (12, -0.1)]);
    let text = TextExpectations::of("prose", "some wool.", &tokens, 1).unwrap();
    assert_eq!((text.bytes, &text.tokens[0].likely[..]), (6, &[(12, -0.1)][..]));
    // A null is no probability, and a server that tells none has none.
    let null = read(&body.replace("-0.2", "null")).unwrap();
    assert_eq!(TextExpectations::of("prose", "", &null, 1), None);
    assert_eq!(read(r#"{"choices": [{"text": "x"}]}"#).unwrap(), Vec::<PromptToken>::new());
    for broken in ["", "{}", r#"{"choices": [{"prompt_logprobs": [{"x": {"logprob": 1}}]}]}"#] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn rows_lie_in_every_quarter_and_come_twice() {
    assert!(rows(0, &[]).iter().all(|row| *row == 0));
    let rows = rows(151_935, &[5, 6]);
    assert_eq!(rows.len(), 2 * 24 + 2);
    assert_eq!(rows[..24], rows[24..48]);
    for quarter in 0..4 {
        let within = |id: &&u32| **id / 37_984 == quarter;
        assert_eq!(rows[..24].iter().filter(within).count(), 6, "{quarter}");
    }
}

#[test]
fn texts_have_names_of_their_own() {
    let names: Vec<&str> = BASE.iter().chain(&FURTHER).map(|text| text.name).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name}");
    }
    // Some 640 tokens of four bytes, and as much again.
    let bytes = |texts: &[awqdeploy::domain::validation::texts::Text]| -> usize {
        texts.iter().map(|text| text.said.len()).sum()
    };
    assert!((2000..3200).contains(&bytes(&BASE)), "{}", bytes(&BASE));
    assert!((1600..3200).contains(&bytes(&FURTHER)), "{}", bytes(&FURTHER));
}

proptest! {
    #[test]
    fn what_is_kept_reads_back(all in prop::collection::vec((0u32..200_000, 0u32..20_000, prop::collection::vec((0u32..200_000, 0u32..20_000), 0..5)), 0..20)) {
        let logprob = |parts: u32| -f64::from(parts) / 10_000.0;
        let token = |(own, of, likely): &(u32, u32, Vec<(u32, u32)>)| Expected {
            own: *own,
            logprob: logprob(*of),
            likely: likely.iter().map(|&(id, of)| (id, logprob(of))).collect(),
        };
        let kept = text("prose", all.iter().map(token).collect());
        let read: TextExpectations = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        prop_assert_eq!(read, kept);
    }

    #[test]
    fn packed_nonsense_harms_nothing(text in "[0-9:; x-]{1,20}") {
        let document = serde_json::json!({ "name": "prose", "bytes": 1, "tokens": text });
        drop(serde_json::from_value::<TextExpectations>(document));
    }
}

fn record(quality: &Quality, of: ReferenceOf) -> Reference<'_> {
    Reference { quality, of, named: "the same weights on 2026-11-29", required: false }
}

fn judged(
    gates: &Gates,
    ours: &Quality,
    baseline: Option<&Quality>,
    reference: Option<Reference<'_>>,
) -> QualityJudgement {
    judge(QualityEvidence { gates, known_answers: None, quality: Some(ours), baseline, reference })
}

#[test]
fn limits_hold_against_both_references() {
    let sound = quality(model(0.8, 640));
    let slightly = quality(model(0.70, 640));
    let badly = quality(model(0.35, 640));
    let baseline = Some(Baseline { profile: "gptq".to_owned(), min_ratio: 0.85, required: true });
    let limits = QualityLimits { max_divergence: Some(0.15), ..QualityLimits::default() };
    let gates = Gates { baseline, quality: limits, ..gates() };
    // Another quantisation may differ by what the same weights may not.
    assert_eq!(judged(&gates, &slightly, Some(&sound), None).failures, [""; 0]);
    let failures = judged(&gates, &badly, Some(&sound), None).failures;
    assert!(failures.len() == 1 && failures[0].contains("beyond the tolerated 0.15"), "{failures:?}");
    let record = |of| Some(record(&sound, of));
    let same = record(ReferenceOf::SameWeights);
    assert_eq!(judged(&gates, &sound, None, same).failures, [""; 0]);
    let judgement = judged(&gates, &slightly, None, same);
    let [failure] = &judgement.failures[..] else { panic!("{judgement:?}") };
    assert!(
        failure.starts_with("its expectations diverge from those of the same weights on 2026-11-29 by 0.0"),
        "{failure}"
    );
    assert!(failure.ends_with("over 640 tokens, beyond the tolerated 0.005"), "{failure}");
    assert!(judged(&gates, &slightly, None, record(ReferenceOf::SameModel)).failures.is_empty());
}

/// A limit that was asked for is judged, or said not to be.
#[test]
fn what_cannot_be_compared_is_not_judged() {
    let sound = quality(model(0.8, 640));
    let own = |tokens: u32| {
        let mut alone = model(0.8, tokens);
        alone.depth = 0;
        alone.texts[0].tokens.iter_mut().for_each(|token| token.likely.clear());
        quality(alone)
    };
    let mut other = model(0.8, 640);
    other.texts[0].tokens.iter_mut().for_each(|token| token.own += 3);
    let baseline = Some(Baseline { profile: "gptq".to_owned(), min_ratio: 0.85, required: true });
    let limits = QualityLimits { max_divergence: Some(0.15), ..QualityLimits::default() };
    let gates = Gates { baseline, quality: limits, ..gates() };
    for (ours, theirs, why) in [
        (sound.clone(), Some(quality(other)), "share no text"),
        (own(640), Some(sound.clone()), "text's own tokens alone"),
        (sound.clone(), Some(Quality::default()), "is not known on this host"),
        (sound.clone(), None, "is not known on this host"),
        (Quality::default(), Some(sound.clone()), "share no text"),
    ] {
        let judgement = judged(&gates, &ours, theirs.as_ref(), None);
        assert_eq!(judgement.not_judged.len(), 1, "{why}: {judgement:?}");
        assert!(judgement.not_judged[0].contains(why), "{judgement:?}");
    }
    // A record that nobody asked for fails nobody: an engine that tells less than it did is judged by what it tells.
    let alone = Gates { baseline: None, quality: QualityLimits::default(), ..gates.clone() };
    for ours in [own(640), Quality::default()] {
        let found = record(&sound, ReferenceOf::SameWeights);
        let judgement = judged(&alone, &ours, None, Some(found));
        assert_eq!((judgement.untold.len(), judgement.not_judged.len()), (1, 0), "{judgement:?}");
        let asked = Reference { required: true, ..found };
        let judgement = judged(&alone, &ours, None, Some(asked));
        assert_eq!((judgement.untold.len(), judgement.not_judged.len()), (0, 1), "{judgement:?}");
    }
    // A limit without a baseline is held against what was named in its place, and against nothing that was not.
    let limited = Gates { baseline: None, ..gates.clone() };
    let found = record(&sound, ReferenceOf::SameModel);
    assert_eq!(judged(&limited, &sound, None, Some(found)).not_judged.len(), 1);
    let asked = Some(Reference { required: true, ..found });
    assert_eq!(judged(&limited, &sound, None, asked).not_judged, [""; 0]);
    assert_eq!(judged(&limited, &quality(model(0.35, 640)), None, asked).failures.len(), 1);
    // Fewer likely tokens are judged by what they tell, and that is said.
    let mut few = model(0.35, 640);
    few.depth = 1;
    few.texts[0].tokens.iter_mut().for_each(|token| token.likely.truncate(1));
    let judgement = judged(&gates, &quality(few), Some(&sound), None);
    assert!(judgement.failures[0].contains("by the 1 likeliest of each alone"), "{judgement:?}");
}

/// So many validations a line.
const RUNS: u32 = 300;
/// Tokens of the texts that everyone is asked for, and of all.
const LOOKS: [usize; 2] = [640, 1240];

/// Divergences of single tokens with this mean, and such a spread that the mean of 640 has this error. Most are small and
/// a few are great: their logarithms are normal.
struct Tokens {
    mean: f64,
    deviation: f64,
    chance: Chance,
}

impl Tokens {
    fn of(mean: f64, error: f64) -> Self {
        let variation = error * 640f64.sqrt() / mean;
        Self { mean, deviation: (1.0 + variation.powi(2)).ln().sqrt(), chance: Chance(20_261_129) }
    }

    fn draw(&mut self) -> f64 {
        self.mean * (self.deviation * self.chance.normal() - self.deviation.powi(2) / 2.0).exp()
    }

    /// The outcome of one validation, after as many looks as it takes.
    fn shown(&mut self, limit: f64) -> Against {
        let mut each = Vec::new();
        let mut last = Against::Open;
        for look in LOOKS {
            each.extend((each.len()..look).map(|_| self.draw()));
            last = Divergence::of(&each, 2).unwrap().shows(limit).unwrap();
            if last != Against::Open {
                break;
            }
        }
        last
    }
}

/// The shares that lie within, beyond, and are left open.
fn shares(mean: f64, error: f64, limit: f64) -> [f64; 3] {
    let mut tokens = Tokens::of(mean, error);
    let mut counts = [0u32; 3];
    for _ in 0..RUNS {
        counts[match tokens.shown(limit) {
            Against::Within => 0,
            Against::Beyond => 1,
            Against::Open => 2,
        }] += 1;
    }
    counts.map(|count| f64::from(count) / f64::from(RUNS))
}

/// Measured of a small real model: the mean divergence and its error over 640 tokens. See docs/validation.md. The
/// errors beside the same weights were not kept, but for the kernel's: 8 % of the mean, as between quantisations.
const MEASURED: [(&str, f64, f64, f64); 18] = [
    ("sound: GPTQ g128 → W4A16 g32", 0.0693, 0.0041, 0.15),
    ("sound: GPTQ g128 → AWQ g128", 0.1180, 0.0092, 0.15),
    ("sound: GPTQ g128 → W4A16 by least squares", 0.1303, 0.0074, 0.15),
    ("sound: bf16 → GPTQ g128", 0.1004, 0.0059, 0.15),
    ("sound: bf16 → AWQ g128", 0.0645, 0.0039, 0.15),
    ("a whole MLP zeroed", 0.0948, 0.0057, 0.15),
    ("noise of 10 %", 0.1495, 0.0090, 0.15),
    ("RoPE θ 1e4", 0.1821, 0.0167, 0.15),
    ("1 % of the weights replaced", 0.2201, 0.0139, 0.15),
    ("scales rolled in one layer", 0.4347, 0.0233, 0.15),
    ("the same weights: another kernel", 0.0006, 0.000_03, 0.005),
    ("the same weights: RoPE θ halved", 0.0030, 0.000_24, 0.005),
    ("the same weights: 1/8 of one MLP zeroed", 0.0063, 0.0005, 0.005),
    ("the same weights: one shard × 1.5", 0.0071, 0.000_57, 0.005),
    ("the same weights: one down_proj × 1.5", 0.0102, 0.0008, 0.005),
    ("the same weights: 0.1 % replaced", 0.0170, 0.0014, 0.005),
    ("the same weights: all down_proj × 1.2", 0.0250, 0.0020, 0.005),
    ("the same weights: a whole MLP zeroed", 0.0430, 0.0034, 0.005),
];

#[test]
fn sound_pairs_pass_and_damage_beyond_the_limit_is_seen() {
    for (what, mean, error, limit) in MEASURED {
        let [within, beyond, _] = shares(mean, error, limit);
        if what.starts_with("sound") || what.ends_with("kernel") {
            assert!(beyond <= 0.0 && within >= 0.8, "{what}: {within} {beyond}");
        } else if mean > 1.4 * limit {
            assert!(within <= 0.0 && beyond >= 0.75, "{what}: {within} {beyond}");
        }
    }
    // At the limit itself, where errors are most frequent.
    for (limit, error) in [(0.15, 0.009), (0.005, 0.0004)] {
        let [within, beyond, _] = shares(limit, error, limit);
        assert!(within < 0.08 && beyond < 0.06, "{limit}: {within} {beyond}");
    }
}

pub(crate) fn table() -> String {
    let mut out = "| the pair | divergence, nats a token | limit | passes | fails | is left open |\n|---|---:|---:|---:|---:|---:|".to_owned();
    for (what, mean, error, limit) in MEASURED {
        let [within, beyond, open] = shares(mean, error, limit).map(|share| share * 100.0);
        let _ = write!(
            out,
            "\n| {what} | {mean} ± {error} | {limit} | {within:.0} % | {beyond:.0} % | {open:.0} % |"
        );
    }
    out
}

/// A report from before expectations were asked for is read, and compared by what it has.
#[test]
fn a_quality_of_the_old_form_is_read() {
    let old: Quality = serde_json::from_str(
        r#"{"answers":[{"text":"Paris","right":true}],"logprobs":[-0.5,-1.5,-0.25,-2.5,-1.0]}"#,
    )
    .unwrap();
    assert_eq!((old.expectations.as_ref(), old.answers[0].tokens), (None, None));
    let comparison = quality(model(0.8, 5)).against(&old).unwrap();
    assert!(comparison.perplexity_ratio.is_some() && comparison.divergence.is_none(), "{comparison:?}");
    let limits: QualityLimits = serde_json::from_str(r#"{"max_cut_answers":0.5,"required":true}"#).unwrap();
    assert_eq!(limits, QualityLimits::default());
}

/// Another template is no other tokenizer: the texts are compared, and what is left out is said.
#[test]
fn another_template_is_told() {
    let with_rows = |sure: f64, first: u32| {
        let mut all = model(sure, 640);
        let rows = (first..first + 16).map(|id| expected(id, &[(id, 0.6), (id + 1, 0.4)])).collect();
        all.texts.push(text("rows", rows));
        quality(all)
    };
    let sound = with_rows(0.8, 7);
    let same = Some(record(&sound, ReferenceOf::SameWeights));
    let gates = Gates { baseline: None, ..gates() };
    assert_eq!(judged(&gates, &with_rows(0.8, 7), None, same).untold, [""; 0]);
    let judgement = judged(&gates, &with_rows(0.8, 9), None, same);
    assert_eq!((&judgement.failures[..], &judgement.not_judged[..]), (&[][..], &[][..]));
    assert_eq!(
        judgement.untold,
        [
            "the divergence at the tokens of the chat template is not judged: it renders a conversation otherwise than \
             that of the same weights on 2026-11-29"
        ]
    );
    assert_eq!(judgement.reference.unwrap().divergence.unwrap().tokens, 640);
    // Of another tokenizer nothing is known.
    assert!(
        judged(&gates, &quality(Expectations::default()), None, same).untold[0].contains("share no text")
    );
}

//! Gibberish, and whether one model says as good things as another.

use crate::inputs::gates;
use awqdeploy::domain::{
    profile::{Gates, QualityLimits},
    validation::{
        gibberish::{one_character, symptom},
        paired::{Pairs, share_bounds},
        quality::verdict::{QualityEvidence, QualityJudgement, judge},
        quality::{Answered, Quality, QualityComparison, TEXT},
        questions::{FEWEST, QUESTIONS, TIME, is_time_for_another},
        report::KnownAnswers,
    },
};
use proptest::prelude::*;
use std::time::Duration;

fn quality(right: impl Fn(usize) -> bool, logprobs: Vec<f64>) -> Quality {
    let answer = |(index, question)| {
        let text = if right(index) { "It is certainly known." } else { "Nobody knows." };
        Answered { right: right(index), ..Answered::of(question, text.to_owned()) }
    };
    Quality { answers: QUESTIONS.iter().enumerate().map(answer).collect(), logprobs, expectations: None }
}

#[test]
fn gibberish_is_named() {
    for (text, why) in [
        ("", "it says nothing"),
        (" \n ", "it says nothing"),
        ("!!!!!!!!", "one character over and over"),
        ("a\u{fffd}\u{fffd}b", "bytes that are no text"),
        ("abababababababababababababababababababababababababababab", "hardly any different characters"),
        (
            "the ship is the ship is the ship is the ship is the ship is the ship is the ship is",
            "the same words over and over",
        ),
        ("Paris\n\n\n\n\n\n\n\n\n\n\n\n\n\n", "white space without end"),
        ("Paris\n \n \n \n \n \n \n \n \n \n \n.", "white space without end"),
        ("Paris.<|im_end|>\n<|im_start|>user\nWhat next?", "it goes on after its answer"),
        ("Paris.\nuser\nWhat is the capital of Spain?\nassistant\nMadrid", "it goes on after its answer"),
        ("Paris\n\n### Human: And of Spain?\n### Assistant: Madrid", "it goes on after its answer"),
        ("Paris\nQuestion: What is the capital of Spain?\nAnswer: Madrid", "it goes on after its answer"),
        ("Paris\n**User:** And Spain?", "it goes on after its answer"),
        ("Paris</s>", "it goes on after its answer"),
        ("Paris Paris Paris Paris Paris Paris Paris Paris", "the same words over and over"),
        ("Paris.\nParis.\nParis.\nPar", "the same words over and over"),
    ] {
        assert_eq!(symptom(text), Some(why), "{text}");
    }
}

#[test]
fn prose_is_not_gibberish() {
    let answers = QUESTIONS.iter().flat_map(|question| question.answers.iter().copied());
    let others = [
        TEXT,
        "The capital of France is Paris.",
        "!",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
        "港に船が着いた。時計は十二時を打った。",
        "fn main() { println!(\"{}\", 1 + 1); }",
        "Paris.\n\n",
        "The heart is the organ that pumps blood.\nThe user of it is you.",
        "def f(a):\n    for b in a:\n        if b:\n            yield b\n",
        "Assistant: Paris",
        "User guide\nUsers: 12\nSystemic risk",
        "Row, row, row your boat, gently down the stream, merrily, merrily, merrily, merrily, life is but a dream.",
    ];
    for text in answers.chain(others) {
        assert_eq!(symptom(text), None, "{text}");
    }
}

#[test]
fn one_character_takes_several_answers() {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(one_character(&texts(&["!!!!", "!!!!", "!!"])), Some('!'));
    assert_eq!(one_character(&texts(&["!!!!!!", "!!!!"])), None, "two answers");
    assert_eq!(one_character(&texts(&["!!!!", "!!a!", "!!!!"])), None);
    assert_eq!(one_character(&texts(&["", "", ""])), None);
}

#[test]
fn a_few_odd_answers_are_no_gibberish() {
    let mut quality = quality(|_| true, vec![]);
    for answer in &mut quality.answers[..6] {
        answer.text = "!!!!!!!!".to_owned();
    }
    assert_eq!(quality.gibberish(), None);
    quality.answers[6].text = "!!!!!!!!".to_owned();
    let said = quality.gibberish().unwrap();
    assert_eq!(said, "7 of 30 answers are gibberish: one character over and over, as in `!!!!!!!!`");
    assert_eq!(Quality::default().gibberish(), None);
}

/// The probabilities are those of so many heads of a fair coin.
#[test]
fn losses_are_judged_in_pairs() {
    for (wrong, probability, loss) in
        [(0, 1.0, false), (1, 0.5, false), (4, 0.0625, false), (5, 0.03125, true)]
    {
        let ours = quality(|index| index >= wrong, vec![]);
        let comparison = ours.against(&quality(|_| true, vec![])).unwrap();
        assert_eq!((comparison.lost as usize, comparison.gained), (wrong, 0));
        assert!((comparison.loss_probability - probability).abs() < 1e-9, "{comparison:?}");
        assert_eq!(comparison.is_loss(), loss, "{wrong}");
        let agreement = comparison.agreement.unwrap();
        assert!((agreement - (30 - wrong) as f64 / 30.0).abs() < 1e-9);
    }
    // A loss here and a gain there are no loss.
    let ours = quality(|index| index >= 5, vec![]);
    let comparison = ours.against(&quality(|index| !(5..10).contains(&index), vec![])).unwrap();
    assert_eq!((comparison.lost, comparison.gained, comparison.is_loss()), (5, 5, false));
    assert_eq!(ours.against(&Quality::default()), None);
}

/// As the quality of a model whose answers ended so, with so many tokens each.
fn ending(by_itself: impl Fn(usize) -> bool, tokens: u32) -> Quality {
    let mut quality = quality(|_| true, vec![]);
    for (index, answer) in quality.answers.iter_mut().enumerate() {
        let reason = if by_itself(index) { "stop" } else { "length" };
        answer.finish_reason = Some(reason.to_owned());
        answer.tokens = Some(tokens);
    }
    quality
}

fn judged(ours: &Quality, theirs: Option<&Quality>) -> QualityJudgement {
    let gates = Gates { min_known_answers: Some(0.8), ..gates() };
    let known_answers = Some(KnownAnswers::of(ours));
    judge(QualityEvidence {
        gates: &gates,
        known_answers,
        quality: Some(ours),
        baseline: theirs,
        reference: None,
    })
}

#[test]
fn answers_that_no_longer_end_fail() {
    let sound = ending(|_| true, 3);
    for (cut, fails) in [(0, false), (4, false), (5, true), (30, true)] {
        let judgement = judged(&ending(|index| index >= cut, 3), Some(&sound));
        assert_eq!(judgement.failures.len(), usize::from(fails), "{cut}: {judgement:?}");
        let ends = judgement.comparison.unwrap().endings.unwrap();
        assert_eq!((ends.lost as usize, ends.gained, ends.is_loss()), (cut, 0, fails));
    }
    // A candidate that talks at length beside a baseline that does, too, is no worse.
    let talks = ending(|_| false, 48);
    assert_eq!(judged(&talks, Some(&talks)).failures, [""; 0]);
}

#[test]
fn answers_twice_as_long_are_a_doubt() {
    let sound = ending(|_| true, 10);
    for (tokens, doubts) in [(9, 0), (20, 0), (21, 1), (48, 1)] {
        let judgement = judged(&ending(|_| true, tokens), Some(&sound));
        assert_eq!((judgement.failures.len(), judgement.doubts.len()), (0, doubts), "{tokens}");
    }
    let said = &judged(&ending(|_| true, 40), Some(&sound)).doubts[0];
    assert!(
        said.starts_with("its answers have 1200 tokens, more than twice the 300 of the baseline's"),
        "{said}"
    );
    // Another tokenizer says the same in other numbers of tokens.
    let of_text = |tokens, text| Quality { logprobs: vec![-1.0; text], ..ending(|_| true, tokens) };
    assert_eq!(judged(&of_text(21, 100), Some(&of_text(10, 90))).doubts, [""; 0]);
    assert_eq!(judged(&of_text(21, 90), Some(&of_text(10, 90))).doubts.len(), 1);
}

/// Faults that were planted in a real server, as they were measured: answers lost and gained beside its own sound
/// ones, and their tokens, where sound ones have 85. See docs/validation.md.
#[test]
fn serving_faults_that_were_measured_are_seen() {
    let sound = |tokens: usize| {
        let mut sound = ending(|_| true, 0);
        for (index, answer) in sound.answers.iter_mut().enumerate() {
            answer.right = index < 16;
            answer.tokens = u32::try_from(tokens / 30 + usize::from(index < tokens % 30)).ok();
        }
        sound
    };
    for (what, lost, gained, tokens, cut, fails, doubts) in [
        ("another quantisation", 4, 2, 90, 0, false, false),
        ("special tokens read as text", 2, 5, 366, 0, false, true),
        ("another model's template", 3, 1, 398, 0, false, true),
        ("a template without roles", 8, 1, 1259, 20, true, false),
        ("no prompt for the answer", 9, 0, 167, 0, true, false),
        ("an end token that is lost", 2, 2, 1440, 30, true, false),
    ] {
        let mut ours = sound(tokens);
        for answer in &mut ours.answers[..lost] {
            answer.right = false;
        }
        for answer in &mut ours.answers[16..16 + gained] {
            answer.right = true;
        }
        for answer in &mut ours.answers[..cut] {
            answer.finish_reason = Some("length".to_owned());
        }
        let gates = Gates { min_known_answers: Some(0.0), ..gates() };
        let judgement = judge(QualityEvidence {
            gates: &gates,
            known_answers: None,
            quality: Some(&ours),
            baseline: Some(&sound(85)),
            reference: None,
        });
        let shown = (!judgement.failures.is_empty(), !judgement.doubts.is_empty());
        assert_eq!(shown, (fails, doubts), "{what}: {judgement:?}");
    }
}

#[test]
fn without_a_baseline_a_share_of_cut_answers_fails() {
    for (cut, fails) in [(0, false), (15, false), (16, true), (30, true)] {
        let judgement = judged(&ending(|index| index >= cut, 48), None);
        assert_eq!(judgement.failures.len(), usize::from(fails), "{cut}: {judgement:?}");
    }
    // An old report tells nothing of it, nor does one that shares no question.
    assert_eq!(judged(&quality(|_| true, vec![]), None).failures, [""; 0]);
    let old = quality(|_| true, vec![]);
    assert_eq!(judged(&ending(|_| false, 48), Some(&old)).failures.len(), 1, "the baseline tells nothing");
    let loose = QualityLimits { max_cut_answers: 1.0, ..QualityLimits::default() };
    let gates = Gates { quality: loose, ..gates() };
    let cut = ending(|_| false, 48);
    let evidence = QualityEvidence {
        gates: &gates,
        known_answers: None,
        quality: Some(&cut),
        baseline: None,
        reference: None,
    };
    assert_eq!(judge(evidence).failures, [""; 0]);
}

#[test]
fn old_answers_are_read() {
    let quality: Quality =
        serde_json::from_str(r#"{"answers": [{"text": "Paris", "right": true}], "logprobs": []}"#).unwrap();
    assert_eq!(quality.cut(), None);
    let comparison =
        r#"{"agreement": 1.0, "lost": 0, "gained": 0, "loss_probability": 1.0, "perplexity_ratio": null}"#;
    let comparison: QualityComparison = serde_json::from_str(comparison).unwrap();
    assert_eq!((comparison.endings, comparison.least_shown_loss), (None, None));
}

/// The bounds are those of R's `binom.test`.
#[test]
fn a_share_has_bounds() {
    for (yes, all, low, high) in
        [(0, 30, 0.0, 0.1157), (30, 30, 0.8843, 1.0), (24, 30, 0.6143, 0.9229), (1, 5, 0.0051, 0.7164)]
    {
        let bounds = share_bounds(yes, all);
        assert!(
            (bounds[0] - low).abs() < 1e-4 && (bounds[1] - high).abs() < 1e-4,
            "{yes} of {all}: {bounds:?}"
        );
    }
    let [low, high] = share_bounds(0, 0);
    assert!(low <= 0.0 && high >= 1.0);
}

#[test]
fn the_least_loss_that_could_be_shown() {
    for (well, least) in [(0, None), (4, None), (5, Some(5)), (30, Some(5))] {
        assert_eq!(Pairs::least_shown(well), least, "{well}");
    }
}

#[test]
fn models_are_compared_by_what_both_were_asked() {
    let all = quality(|_| true, vec![]);
    let mut slow = quality(|index| index != 1, vec![]);
    slow.answers.truncate(6);
    let comparison = slow.against(&all).unwrap();
    assert_eq!((comparison.lost, comparison.gained), (1, 0));
    assert!((comparison.agreement.unwrap() - 5.0 / 6.0).abs() < 1e-9);
    assert_eq!(KnownAnswers::of(&slow).to_string(), "5 of 6 right, 24 more not asked for want of time");
    assert_eq!(KnownAnswers::of(&all).to_string(), "30 of 30 right");
    slow.answers.truncate(FEWEST - 1);
    assert_eq!(slow.against(&all), None);
}

/// How many are asked of a server that needs so many seconds for each answer.
fn asked(seconds: f64) -> usize {
    let mut taken = vec![];
    while taken.len() < QUESTIONS.len() && is_time_for_another(&taken, TIME) {
        taken.push(Duration::from_secs_f64(seconds));
    }
    taken.len()
}

#[test]
fn as_many_questions_are_asked_as_there_is_time_for() {
    // 48 tokens, and a second to the first of them.
    let at = |tokens_per_second: f64| asked(1.0 + 47.0 / tokens_per_second);
    assert_eq!([at(50.0), at(5.0), at(3.0), at(2.0), at(0.5)], [30, 10, 6, FEWEST, FEWEST]);
    // A single long answer says that the next may be as long.
    assert!(!is_time_for_another(
        &[[1; 9].map(Duration::from_secs).as_slice(), &[Duration::from_mins(1)]].concat(),
        TIME
    ));
}

proptest! {
    #[test]
    fn questions_end_in_time_and_slower_servers_are_asked_no_more(seconds in 0.001f64..1000.0, more in 0.0f64..100.0) {
        let count = asked(seconds);
        prop_assert!(count >= FEWEST && asked(seconds + more) <= count);
        prop_assert!(count == FEWEST || seconds * count as f64 <= TIME.as_secs_f64() + 1e-6);
    }
}

#[test]
fn perplexity_is_compared_token_by_token() {
    let hard = |extra: f64| (0..100).map(|token| -1.0 - f64::from(token % 7) - extra).collect::<Vec<_>>();
    let baseline = Quality { logprobs: hard(0.0), ..Quality::default() };
    let perplexity = Quality { logprobs: vec![-2.0; 3], ..Quality::default() }.perplexity().unwrap();
    assert!((perplexity - 2f64.exp()).abs() < 1e-9);
    let worse = Quality { logprobs: hard(0.05), ..Quality::default() };
    let ratio = worse.against(&baseline).unwrap().perplexity_ratio.unwrap();
    // The texts' own differences cancel out: five percent stand out of a spread of two nats.
    assert!((ratio.value - 0.05f64.exp()).abs() < 1e-9 && ratio.high - ratio.low < 1e-6, "{ratio:?}");
    let other = Quality { logprobs: vec![-1.0; 99], ..Quality::default() };
    assert_eq!(other.against(&baseline), None, "other tokens");
}

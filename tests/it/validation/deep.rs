//! A stream after a long prompt, one while a long prompt is read, and answers that begin after thinking.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use awqdeploy::domain::{
    measure::Sample,
    validation::sweep::{
        Pace,
        deep::{Deep, FirstAnswers, Interrupted, Said, asking_for_the_beginning},
    },
};

/// A stream of tokens so many milliseconds apart, the first after 100.
fn stream(prompt_tokens: u32, gaps: &[f64]) -> Sample {
    Sample {
        prompt_tokens,
        ttft_ms: 100.0,
        e2el_ms: 100.0 + gaps.iter().sum::<f64>(),
        tokens: u32::try_from(gaps.len()).unwrap() + 1,
        itl_ms: gaps.to_vec(),
        ..Sample::default()
    }
}

fn said(sample: Sample, text: &str) -> Said {
    Said { sample, text: text.to_owned() }
}

const SOUND: &str =
    " 7319 4582, and the ships lay at anchor while a clerk wrote down what each of them carried.";

#[test]
fn a_fault_that_only_long_prompts_show_is_told() {
    let short = said(stream(70, &[20.0; 15]), SOUND);
    let deep = |gap: f64, text: &str| Deep::of(said(stream(7000, &[gap; 15]), text), &short).unwrap();
    let sound = deep(25.0, SOUND);
    assert_eq!((sound.input_len, sound.decode_tokens_per_second, sound.of_short), (7000, 40.0, 0.8));
    assert!(sound.recalls && sound.recalls_short && sound.fault().is_none());
    let damaged = deep(25.0, &"!".repeat(40)).fault().unwrap();
    assert!(damaged.starts_with("after a prompt of 7000 tokens its text is gibberish"), "{damaged}");
    let forgets =
        deep(25.0, " not known, as far as anybody can remember or has written down.").fault().unwrap();
    assert!(forgets.contains("does not know what stands at its beginning"), "{forgets}");
    // A model that cannot do it after a short prompt shows nothing by that.
    let small = said(stream(70, &[20.0; 15]), &"!".repeat(40));
    let as_small = Deep::of(said(stream(7000, &[25.0; 15]), &"!".repeat(40)), &small).unwrap();
    assert_eq!(as_small.fault(), None);
}

#[test]
fn the_question_is_at_the_end_and_its_answer_at_the_beginning() {
    let prompt = asking_for_the_beginning("Much lies between.");
    assert!(prompt.starts_with("The number of the harbour master is 7319 4582. Much"), "{prompt}");
    assert!(prompt.ends_with("\n\nThe number of the harbour master is"), "{prompt}");
}

#[test]
fn a_stream_is_looked_at_while_a_prompt_is_read() {
    // Tokens at 100, 110, …; the prompt is sent at 145 and read at 345, during which one gap is of 180 ms.
    let gaps = [[10.0; 5].as_slice(), &[180.0, 10.0, 10.0, 10.0]].concat();
    let prompt = Sample { prompt_tokens: 4000, ttft_ms: 200.0, ..Sample::default() };
    let seen = Interrupted::of(stream(70, &gaps), &prompt, 145.0).unwrap();
    assert_eq!((seen.input_len, seen.ttft_ms), (4000, 200.0));
    assert_eq!((seen.itl_before_ms, seen.longest_ms), (10.0, 180.0));
    assert_eq!(seen.itl_during_ms, 10.0, "of 10, 180, 10 and 10");
    // The stream had ended before the prompt was read, or had hardly begun.
    assert_eq!(Interrupted::of(stream(70, &[10.0; 8]), &prompt, 145.0), None);
    assert_eq!(Interrupted::of(stream(70, &gaps), &prompt, 105.0), None);
}

#[test]
fn an_answer_begins_after_the_thoughts() {
    let thinks = |first: Option<f64>| Sample { first_answer_ms: first, ..stream(20, &[10.0; 20]) };
    let all = vec![thinks(Some(900.0)), thinks(None), thinks(Some(1100.0))];
    let answers = FirstAnswers::of(1024, all).unwrap();
    assert_eq!((answers.requests, answers.unanswered, answers.ttft_ms.median), (3, 1, 100.0));
    assert_eq!(answers.first_answer_ms.unwrap().median, 1000.0);
    assert_eq!(FirstAnswers::of(1024, vec![thinks(None)]).unwrap().first_answer_ms, None);
    assert_eq!(FirstAnswers::of(1024, Vec::new()), None);
}

#[test]
fn the_depth_is_what_there_is_time_and_context_for() {
    // 1000 tokens are read in 0.5 s, and a token takes 10 ms.
    let pace = Pace { streams: 1, input_len: 1000, ttft: 0.5, tpot: 0.01 };
    assert_eq!(pace.deep(1000, Some(8192), 128, 60.0), Some((7372, 128)));
    // Twice 3.6 s for all of it do not fit into 4 s: 3.68 s at 1 ms a token do for 3680.
    let (prompt, tokens) = pace.deep(1000, Some(8192), 128, 4.0).unwrap();
    assert!((3670..=3680).contains(&prompt) && (105..=112).contains(&tokens), "{prompt} {tokens}");
    assert_eq!(pace.deep(1000, None, 128, 60.0), Some((1000, 128)), "how long the context is, is not known");
    assert_eq!(pace.deep(1000, Some(8192), 128, 0.6), None);
    // A stream of 4000 tokens' reading, doubled, and some more.
    assert_eq!(pace.meanwhile(4000, Some(8192), 60.0), Some(432));
    assert_eq!(pace.meanwhile(4000, Some(8192), 6.0), None);
    assert_eq!(pace.meanwhile(4000, Some(600), 60.0), None);
}

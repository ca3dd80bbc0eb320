//! Chunks of several tokens, and what a GPU did meanwhile.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use crate::running_engine::{argv, start_with};
use awqdeploy::{
    domain::{
        api::openai::Request,
        measure::{
            Sample, Throughput,
            conditions::{GpuState, Span, look},
            speculation::Speculation,
        },
    },
    host::{
        rehearsal::engine::{Options, TOKENS_PER_SECOND_VARIABLE},
        vllm::api::Api,
    },
};
use std::time::Duration;

#[test]
fn the_time_before_a_chunk_is_shared_by_its_tokens() {
    // Four tokens each 40 ms, as of a server that guesses three right.
    let sample = Sample {
        ttft_ms: 10.0,
        e2el_ms: 90.0,
        tokens: 9,
        itl_ms: vec![40.0, 40.0],
        chunk_tokens: vec![1, 4, 4],
        ..Sample::default()
    };
    let speed = Throughput::of(&vec![sample.clone(); 3]).unwrap();
    assert_eq!(speed.tokens_per_chunk, Some(3.0));
    assert_eq!(speed.itl_ms.median, 40.0);
    let each = speed.itl_per_token_ms.unwrap();
    assert_eq!((each.median, each.n), (10.0, 24));
    assert_eq!(speed.tpot_ms.median, 10.0);
    // Where chunks are not counted, each has its share.
    let uncounted = Sample { chunk_tokens: Vec::new(), ..sample };
    assert_eq!(uncounted.tokens_by_chunk(), [3.0; 3]);
}

#[test]
fn speculation_is_what_came_since() {
    let before = Speculation { drafts: 10.0, draft_tokens: 30.0, accepted_tokens: 20.0 };
    let after = Speculation { drafts: 14.0, draft_tokens: 42.0, accepted_tokens: 26.0 };
    let since = after.since(before).unwrap();
    assert_eq!((since.acceptance(), since.tokens_per_step()), (Some(0.5), Some(2.5)));
    assert_eq!(before.since(before), None, "nothing was guessed");
    assert_eq!(before.since(after), None, "it has started anew");
}

#[test]
fn a_server_that_gathers_tokens_is_told_by_its_chunks() {
    let words = [argv(0), vec!["--stream-interval".to_owned(), "4".to_owned()]].concat();
    let fast = |name: &str| (name == TOKENS_PER_SECOND_VARIABLE).then(|| "400".to_owned());
    let engine = start_with(Options::from_arguments(&words, fast).unwrap());
    let api = Api::at(engine.address, "tiny", Duration::from_secs(30)).unwrap();
    let events = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let streamed = events.block_on(api.stream(&Request::complete("Go on:", 13).to_the_limit())).unwrap();
    assert_eq!(streamed.chunk_tokens, [1, 4, 4, 4]);
    assert_eq!(streamed.sample().tokens_by_chunk(), [1.0, 4.0, 4.0, 4.0]);
    assert_eq!(streamed.first_answer, None, "nobody thought aloud");
}

#[test]
fn conditions_are_the_least_and_the_most_of_each_gpu() {
    let state = |gpu: u32, clock: f64, why: &[&str]| GpuState {
        gpu,
        sm_clock_mhz: Some(clock),
        performance_state: Some("P0".to_owned()),
        slowed_by: why.iter().map(|why| (*why).to_owned()).collect(),
        ..GpuState::default()
    };
    let mut seen = Vec::new();
    look(&mut seen, vec![state(0, 1980.0, &[]), state(1, 1500.0, &["sw-power-cap"])]);
    look(&mut seen, vec![state(0, 1755.0, &["hw-thermal-slowdown", "sw-power-cap"])]);
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((first.looks, second.looks), (2, 1));
    assert_eq!(first.sm_clock_mhz, Some(Span { least: 1755.0, most: 1980.0 }));
    assert_eq!(first.slowed_by, ["hw-thermal-slowdown", "sw-power-cap"]);
    assert_eq!((&*first.performance_states, first.temperature_celsius), (&["P0".to_owned()][..], None));
    assert_eq!(second.sm_clock_mhz, Some(Span { least: 1500.0, most: 1500.0 }));
}

//! The probation: what a watched generation may do, and what it may not.

#![allow(clippy::float_cmp, reason = "the values are exact in binary")]

use awqdeploy::domain::{
    api::openai::Load,
    validation::{
        probation::{ENDS, Look, Probation, SLOW, STUCK, UNANSWERED},
        users::{Counts, Served},
    },
};

const FLOOR: f64 = 5.0;

fn times(seen: &[Look], times: usize) -> Vec<Look> {
    seen.iter().cycle().take(seen.len() * times).cloned().collect()
}

/// The words of a judge after each of these; the service has been restarted as often as before.
fn judged(seen: &[Look]) -> Vec<Option<String>> {
    let mut judge = Probation::new(FLOOR, 3);
    seen.iter().map(|seen| judge.take(3, seen.clone())).collect()
}

fn silent() -> Look {
    Look::Unanswered("no answer".to_owned())
}

#[test]
fn a_generation_that_answers_is_left_alone() {
    let seen = [Look::Alone(FLOOR), Look::Busy, Look::Starting, Look::Alone(100.0)];
    assert!(judged(&times(&seen, 20)).iter().all(Option::is_none));
}

#[test]
fn silence_counts_in_a_row() {
    let below = UNANSWERED as usize - 1;
    for between in [Look::Alone(FLOOR), Look::Busy, Look::Starting] {
        let mut seen = vec![silent(); below];
        seen.push(between);
        assert!(judged(&times(&seen, 4)).iter().all(Option::is_none), "{seen:?}");
    }
    let verdicts = judged(&vec![silent(); below + 1]);
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_some()).count(), 1);
    assert_eq!(verdicts[below].as_deref(), Some("3 short completions in a row were not answered: no answer"),);
}

#[test]
fn slowness_counts_in_a_row_and_alone() {
    let below = SLOW as usize - 1;
    let mut seen = vec![Look::Alone(3.9); below];
    seen.push(Look::Alone(FLOOR));
    assert!(judged(&times(&seen, 4)).iter().all(Option::is_none), "{seen:?}");
    // A little below the floor is no reason to go back: that was judged with more measurements.
    assert!(judged(&vec![Look::Alone(4.1); 100]).iter().all(Option::is_none));
    // That it was busy in between clears nothing: a slow server is slow beside users, too.
    let mut seen = times(&[Look::Alone(3.9), Look::Busy], below);
    seen.push(Look::Alone(3.9));
    assert!(judged(&seen).last().unwrap().is_some());
    // Nor does a server without metrics count as slow, whose rate nobody knows.
    assert!(judged(&vec![Look::Busy; 100]).iter().all(Option::is_none));
    let mut seen = vec![Look::Alone(1.0); below];
    seen.push(Look::Alone(2.5));
    assert_eq!(
        judged(&seen)[below].as_deref(),
        Some("at 5 looks in a row it decoded at 2.5 tokens/s at most, clearly below the floor of 5.0"),
    );
}

/// A look at which users got this since the last one.
fn users(rate: f64, streams: f64) -> Look {
    Look::Users(Served { rate: Some(rate), streams, finished: 1.0, ..Served::default() })
}

#[test]
fn what_users_get_is_judged() {
    // Each of four streams gets its part of a server that is fast enough.
    assert!(judged(&vec![users(2.0, 4.0); 100]).iter().all(Option::is_none));
    // A quarter of the floor, half of the looks beside a user: found.
    let found = judged(&times(&[users(1.2, 1.0), Look::Alone(1.25)], 3));
    assert_eq!(
        found.iter().flatten().next().map(String::as_str),
        Some("at 5 looks in a row it decoded at 1.2 tokens/s at most, clearly below the floor of 5.0"),
    );
    // Where it only read prompts there is no rate.
    let reads = Look::Users(Served { rate: None, streams: 1.0, ..Served::default() });
    assert!(judged(&vec![reads; 100]).iter().all(Option::is_none));
}

#[test]
fn users_that_get_nothing_are_found() {
    let stuck = Look::Users(Served { stuck: 1.0, streams: 1.0, ..Served::default() });
    let verdicts = judged(&vec![stuck.clone(); STUCK as usize]);
    assert_eq!(
        verdicts.last().unwrap().as_deref(),
        Some("at 6 looks in a row 1 requests of its users made no progress at all"),
    );
    let mut seen = vec![stuck; STUCK as usize - 1];
    seen.push(users(50.0, 1.0));
    assert!(judged(&times(&seen, 4)).iter().all(Option::is_none));

    let failing = Look::Users(Served { failed: 2.0, finished: 3.0, streams: 1.0, ..Served::default() });
    assert_eq!(
        judged(&vec![failing; 3]).last().unwrap().as_deref(),
        Some("at 3 looks in a row most of its users' requests ended in an error, of the last 3 2"),
    );
    // One that fails among many is a user's own.
    let one = Look::Users(Served { failed: 1.0, finished: 3.0, streams: 1.0, ..Served::default() });
    assert!(judged(&vec![one; 100]).iter().all(Option::is_none));
}

/// Three completions that were not answered are three, whatever users got between them.
#[test]
fn that_others_are_served_answers_nobody_else() {
    let seen = times(&[silent(), users(50.0, 1.0)], 3);
    assert!(judged(&seen)[4].is_some());
}

#[test]
fn the_texts_are_looked_at() {
    let mut judge = Probation::new(FLOOR, 0);
    let heard = |judge: &mut Probation, texts: &[&str]| {
        let heard: Vec<_> = texts.iter().map(|text| judge.hear(text)).collect();
        heard.last().unwrap().clone()
    };
    assert_eq!(
        heard(&mut judge, &["!!!!", "!!!!", "!!!!"]).as_deref(),
        Some("3 short completions in a row were answered with `!` over and over"),
    );
    assert_eq!(heard(&mut judge, &[" four, five,"]), None);
    assert_eq!(heard(&mut judge, &["!!!!", "!!!!"]), None, "one of the last three said something");
    let mut judge = Probation::new(FLOOR, 0);
    assert_eq!(heard(&mut judge, &["\n\n\n\n", "\n\n\n\n", "\n\n\n\n"]), None, "no text is no gibberish");
}

#[test]
fn an_engines_own_counts_say_what_its_users_get() {
    let text = |generated: u32, gaps: u32, seconds: f64, running: u32, more: &str| {
        format!(
            "vllm:generation_tokens_total{{engine=\"0\"}} {generated}\n\
             vllm:prompt_tokens_total{{engine=\"0\"}} 100\n\
             vllm:num_requests_running{{engine=\"0\"}} {running}\n\
             vllm:num_requests_waiting{{engine=\"0\"}} 0\n\
             vllm:inter_token_latency_seconds_count{{engine=\"0\"}} {gaps}\n\
             vllm:inter_token_latency_seconds_sum{{engine=\"0\"}} {seconds}\n\
             vllm:request_success_total{{engine=\"0\",finished_reason=\"stop\"}} 4\n{more}"
        )
    };
    let counts = |text: &str| Counts::parse(text).unwrap();
    let before = counts(&text(100, 99, 10.0, 2, ""));
    // 300 tokens in 30 seconds of decoding, within 15 s: 10 tokens/s each, two at a time.
    let after = counts(&text(400, 399, 40.0, 2, ""));
    let served = after.since(&before, 15.0).unwrap();
    assert_eq!((served.rate, served.streams, served.stuck), (Some(10.0), 2.0, 0.0));
    // Eight tokens in each chunk are no slower.
    let chunks = counts(&text(400, 136, 40.0, 2, ""));
    assert_eq!(chunks.since(&before, 15.0).unwrap().rate, Some(10.0));
    let still = counts(&text(100, 99, 10.0, 2, ""));
    let served = still.since(&before, 15.0).unwrap();
    assert_eq!((served.rate, served.stuck), (None, 2.0));
    // A server that was started anew counts from 0.
    assert_eq!(before.since(&after, 15.0), None);
    let failed =
        counts(&text(400, 399, 40.0, 0, "vllm:request_success_total{finished_reason=\"error\"} 3\n"));
    let served = failed.since(&before, 15.0).unwrap();
    assert_eq!((served.failed, served.finished, served.fails()), (3.0, 3.0, true));
    assert_eq!(Counts::parse("<html>"), None);
}

#[test]
fn one_end_is_forgiven_and_the_next_is_not() {
    let mut judge = Probation::new(FLOOR, 3);
    assert_eq!(judge.take(3 + ENDS - 1, Look::Starting), None);
    assert_eq!(judge.take(3 + ENDS - 1, Look::Alone(50.0)), None);
    assert_eq!(
        judge.take(3 + ENDS, Look::Alone(50.0)).as_deref(),
        Some("its service ended 2 times while it was watched"),
    );
}

/// Acts of a person, and what nobody knows, say nothing of the generation.
#[test]
fn a_stop_by_a_person_and_a_look_that_said_nothing_are_not_held_against_it() {
    let below = UNANSWERED as usize - 1;
    let nothing = Look::Nothing("the message bus is gone".to_owned());
    let mut seen = vec![silent(); below];
    seen.push(Look::Stopped);
    assert!(judged(&times(&seen, 4)).iter().all(Option::is_none));
    assert!(judged(&vec![Look::Stopped; 100]).iter().all(Option::is_none));
    assert!(judged(&vec![nothing.clone(); 100]).iter().all(Option::is_none));
    // But what was seen before is not forgotten for it.
    let mut seen = vec![silent(); below];
    seen.extend([nothing, silent()]);
    assert!(judged(&seen).last().unwrap().is_some());
}

#[test]
fn a_start_by_hand_begins_the_count_of_ends_anew() {
    let mut judge = Probation::new(FLOOR, 3);
    assert_eq!(judge.take(0, Look::Stopped), None);
    assert_eq!(judge.take(ENDS - 1, Look::Starting), None);
    assert!(judge.take(ENDS, Look::Starting).is_some());
}

#[test]
fn an_engines_own_metrics_say_how_busy_it_is() {
    let metrics = "# HELP vllm:num_requests_running Number of requests.\n\
        # TYPE vllm:num_requests_running gauge\n\
        vllm:num_requests_running{engine=\"0\",model_name=\"a} b\"} 2.0\n\
        vllm:num_requests_running{engine=\"1\",model_name=\"a} b\"} 1.0\n\
        vllm:num_requests_waiting{engine=\"0\"} 4.0\n\
        vllm:num_requests_waiting_by_reason{engine=\"0\"} 9.0\n\
        vllm:generation_tokens_total{engine=\"0\"} 1.5e+03 1700000000\n";
    assert_eq!(
        Load::parse(metrics),
        Some(Load { generated_tokens: 1500.0, prompt_tokens: 0.0, requests: 7.0 })
    );
    assert_eq!(Load::parse("vllm:num_requests_running 1\n"), None);
    assert_eq!(Load::parse("<html>"), None);
}

/// vLLM's histogram of the waits: so many within a second, within ten, and in all.
fn waits(within: [f64; 3], seconds: f64) -> Counts {
    let [second, ten, all] = within;
    let name = "vllm:time_to_first_token_seconds";
    Counts::parse(&format!(
        "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:generation_tokens_total {}\n\
         {name}_bucket{{engine=\"0\",le=\"1.0\"}} {second}\n{name}_bucket{{engine=\"0\",le=\"10.0\"}} {ten}\n\
         {name}_bucket{{engine=\"0\",le=\"+Inf\"}} {all}\n{name}_count{{engine=\"0\"}} {all}\n\
         {name}_sum{{engine=\"0\"}} {seconds}\n",
        all * 100.0
    ))
    .unwrap()
}

#[test]
fn what_users_wait_for_their_first_token_is_read_from_the_engine() {
    let (before, after) = (waits([5.0, 5.0, 5.0], 2.0), waits([6.0, 8.0, 9.0], 42.0));
    let served = after.since(&before, 15.0).unwrap();
    assert_eq!((served.started, served.ttft), (4.0, Some(10.0)));
    // One of the four waited for ten seconds or more; how long the two between one and ten waited is not known.
    for (longest, late) in [(0.5, 3.0), (1.0, 3.0), (5.0, 1.0), (10.0, 1.0), (11.0, 0.0)] {
        assert_eq!(after.late_since(&before, longest), late, "{longest} s");
    }
    assert_eq!(before.since(&before, 15.0).unwrap().ttft, None);
}

#[test]
fn users_who_wait_too_long_are_no_service() {
    let serves = |late: f64| {
        Look::Users(Served { started: 3.0, late, ttft: Some(40.0), streams: 1.0, ..Served::default() })
    };
    let nobody = Look::Users(Served { streams: 1.0, ..Served::default() });
    let found = judged(&times(&[serves(2.0), nobody.clone()], SLOW as usize));
    let why = found.iter().flatten().next().unwrap();
    assert!(why.contains("waited longer for their first token") && why.contains("40.0 s"), "{why}");
    assert_eq!(found.iter().position(Option::is_some), Some(2 * (SLOW as usize - 1)));
    // Half of them is not most; and one look at which most were served in time begins the count anew.
    assert!(judged(&times(&[serves(1.0)], 20)).iter().all(Option::is_none));
    let mixed = [times(&[serves(3.0)], SLOW as usize - 1), vec![serves(0.0)]].concat();
    assert!(judged(&times(&mixed, 5)).iter().all(Option::is_none));
}

//! What a watched generation may do, and what it may not.

use awqdeploy::domain::{
    api::openai::Load,
    validation::probation::{ENDS, Look, Probation, SLOW, UNANSWERED},
};

const FLOOR: f64 = 5.0;

fn times(seen: &[Look], times: usize) -> Vec<Look> {
    seen.iter().cycle().take(seen.len() * times).cloned().collect()
}

/// What a judge says after each of these; the service has been restarted as often as before.
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
    for between in [Look::Alone(FLOOR), Look::Busy] {
        let mut seen = vec![Look::Alone(4.9); below];
        seen.push(between);
        assert!(judged(&times(&seen, 4)).iter().all(Option::is_none), "{seen:?}");
    }
    let mut seen = vec![Look::Alone(1.0); below];
    seen.push(Look::Alone(2.5));
    assert_eq!(
        judged(&seen)[below].as_deref(),
        Some("5 short completions in a row were decoded at 2.5 tokens/s at most, below the floor of 5.0"),
    );
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

/// What a person does, and what nobody knows, says nothing of the generation.
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
    assert_eq!(Load::parse(metrics), Some(Load { generated_tokens: 1500.0, requests: 7.0 }));
    assert_eq!(Load::parse("vllm:num_requests_running 1\n"), None);
    assert_eq!(Load::parse("<html>"), None);
}

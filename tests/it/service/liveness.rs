//! When a serving engine that says it is healthy counts as hung.

use awqdeploy::domain::service::liveness::{Liveness, Progress, Seen, UNANSWERED, Verdict};
use std::time::Duration;

const ASK_AFTER: Duration = Duration::from_mins(3);

fn progress(tokens: u32, cache: f64) -> Option<Progress> {
    Progress::parse(&format!(
        "vllm:generation_tokens_total{{engine=\"0\"}} {tokens}.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} {cache}\n"
    ))
}

fn minute(minute: u32) -> Duration {
    Duration::from_mins(minute.into())
}

fn silent(tokens: u32, cache: f64) -> Seen {
    Seen::Silent { why: "no answer".to_owned(), progress: progress(tokens, cache) }
}

#[test]
fn metrics_say_how_far_it_got_or_nothing() {
    assert_eq!(progress(7, 0.5), progress(7, 0.5));
    assert_ne!(progress(7, 0.5), progress(8, 0.5));
    assert_ne!(progress(7, 0.5), progress(7, 0.6));
    assert!(progress(7, 0.5).is_some());
    assert_eq!(Progress::parse("vllm:num_requests_running 1\n"), None);
    assert_eq!(Progress::parse("<html>"), None);
}

#[test]
fn an_idle_engine_is_asked_now_and_then() {
    let mut liveness = Liveness::since(minute(0), ASK_AFTER);
    let idle = |tokens| Seen::Progress(progress(tokens, 0.0));
    assert_eq!(liveness.take(minute(1), idle(9)), Verdict::Alive);
    assert_eq!(liveness.take(minute(3), idle(9)), Verdict::Ask);
    assert_eq!(liveness.take(minute(3), Seen::Answered), Verdict::Alive);
    assert_eq!(liveness.take(minute(5), idle(10)), Verdict::Alive);
    assert_eq!(liveness.take(minute(9), idle(10)), Verdict::Ask);
}

#[test]
fn a_busy_one_is_not() {
    let mut liveness = Liveness::since(minute(0), ASK_AFTER);
    for now in 1..100 {
        assert_eq!(liveness.take(minute(now), Seen::Progress(progress(now, 0.5))), Verdict::Alive);
    }
}

#[test]
fn one_that_generates_nothing_for_anybody_is_hung() {
    let mut liveness = Liveness::since(minute(0), ASK_AFTER);
    let _first = liveness.take(minute(1), Seen::Progress(progress(9, 0.5)));
    let last = 3 + UNANSWERED;
    for now in 4..last {
        assert_eq!(liveness.take(minute(now), Seen::Progress(progress(9, 0.5))), Verdict::Ask);
        assert_eq!(liveness.take(minute(now), silent(9, 0.5)), Verdict::Ask);
    }
    let Verdict::Hung(why) = liveness.take(minute(last), silent(9, 0.5)) else { panic!("it hangs") };
    assert_eq!(why, "it answers `/health`, and has generated nothing for 360 s: no answer");
}

/// One that reads a long prompt, or answers others first, has not hung; and nobody knows of one that does not count.
#[test]
fn one_that_works_or_does_not_count_is_let_be() {
    let mut liveness = Liveness::since(minute(0), ASK_AFTER);
    for now in 4..100 {
        let verdict = liveness.take(minute(now), silent(9, f64::from(now) / 100.0));
        assert!(!matches!(verdict, Verdict::Hung(_)), "{now}: {verdict:?}");
    }
    let mut liveness = Liveness::since(minute(0), ASK_AFTER);
    for now in 4..100 {
        let seen = Seen::Silent { why: "no answer".to_owned(), progress: None };
        assert_eq!(liveness.take(minute(now), seen), Verdict::Ask);
    }
}

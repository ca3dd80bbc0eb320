//! When a proven generation has failed too often, and which one is rolled back to.

use awqdeploy::domain::{
    activation::{
        failure_count::{Ending, FailureCount, LIMIT, Moment, STOOD},
        machine::{Activation, Cause, End, State, Step},
    },
    generation_id::GenerationId,
};
use std::collections::BTreeSet;

const NEW: GenerationId = GenerationId(3);

fn at(boot: &str, seconds: u64) -> Moment {
    Moment { boot: boot.to_owned(), seconds }
}

/// Starts and fails so often, each time after so many seconds.
fn failing(tally: FailureCount, times: u32, after: u64) -> FailureCount {
    (0..times).fold(tally, |tally, _| {
        tally.begun(NEW, at("a", 100)).ended(NEW, Ending::Failed, &at("a", 100 + after))
    })
}

#[test]
fn failures_in_a_row_count_and_orderly_ends_do_not() {
    let tally = failing(FailureCount::default(), LIMIT, 5);
    assert_eq!(tally.failures(NEW), LIMIT);
    assert_eq!(tally.clone().excused().failures(NEW), 0);
    assert_eq!(tally.failures(GenerationId(2)), 0, "another generation's are its own");
    let restarted = (0..50).fold(FailureCount::default(), |tally, _| {
        tally.begun(NEW, at("a", 1)).ended(NEW, Ending::Asked, &at("a", 2))
    });
    assert_eq!(restarted.failures(NEW), 0, "a person may restart it as often as he likes");
    // The row goes on over an orderly stop: to restart a broken service mends nothing.
    let stopped =
        failing(FailureCount::default(), 3, 5).begun(NEW, at("a", 9)).ended(NEW, Ending::Asked, &at("a", 10));
    assert_eq!(stopped.failures(NEW), 3);
    // The run of a trial that was committed was never told as begun.
    assert_eq!(FailureCount::default().ended(NEW, Ending::Failed, &at("a", 9)).failures(NEW), 1);
}

#[test]
fn one_that_stood_begins_a_new_row() {
    let tally = failing(FailureCount::default(), LIMIT - 1, 5);
    assert_eq!(failing(tally.clone(), 1, STOOD.as_secs()).failures(NEW), 1);
    assert_eq!(failing(tally, 1, STOOD.as_secs() - 1).failures(NEW), LIMIT);
}

/// A host that crashes with its service tells of no end; it is the next start that counts it.
#[test]
fn a_host_that_goes_down_counts_across_boots() {
    let boots = ["a", "b", "c", "d", "e", "f"].into_iter();
    let tally = boots.fold(FailureCount::default(), |tally, boot| tally.begun(NEW, at(boot, 30)));
    assert_eq!(tally.failures(NEW), LIMIT);
    // A moment of another boot says nothing of how long it stood.
    let long = FailureCount::default().begun(NEW, at("a", 1)).ended(NEW, Ending::Failed, &at("b", 1_000_000));
    assert_eq!(long.ended(NEW, Ending::Failed, &at("b", 1_000_001)).failures(NEW), 2);
}

#[test]
fn it_is_kept_as_it_is() {
    let tally = failing(FailureCount::default(), 2, 5).begun(NEW, at("a", 7)).leaving(GenerationId(1), 4);
    let text = serde_json::to_string(&tally).unwrap();
    assert_eq!(serde_json::from_str::<FailureCount>(&text).unwrap(), tally);
    assert_eq!(serde_json::from_str::<FailureCount>("{}").unwrap(), FailureCount::default());
}

fn activation(to: u64, end: End) -> Activation {
    Activation { from: None, to: GenerationId(to), state: State::Done { end } }
}

fn targets(tally: &FailureCount, activations: &[(u64, Activation)], failing: u64) -> Vec<u64> {
    let proven: BTreeSet<_> = [1, 2, 3].map(GenerationId).into();
    let activations: Vec<_> = activations.iter().map(|(number, activation)| (*number, activation)).collect();
    tally.targets(GenerationId(failing), &proven, &activations).into_iter().map(|id| id.0).collect()
}

#[test]
fn the_newest_other_proven_generation_is_gone_back_to_and_never_in_a_circle() {
    let mut done: Vec<_> = (1..=3).map(|id| (id, activation(id, End::Committed))).collect();
    let tally = FailureCount::default();
    assert_eq!(targets(&tally, &done, 3), [2, 1]);
    // 3 failed and was left for 2 by activation 4; now 2 fails.
    let tally = tally.leaving(GenerationId(3), 3);
    done.push((4, activation(2, End::Committed)));
    assert_eq!(targets(&tally, &done, 2), [1], "not back to what was left");
    let tally = tally.leaving(GenerationId(2), 4);
    done.push((5, activation(1, End::Committed)));
    assert_eq!(targets(&tally, &done, 1), [0; 0], "there is an end to it");
    // A person activates 3 once more.
    done.push((6, activation(3, End::Committed)));
    assert_eq!(targets(&tally, &done, 1), [3]);
    // A generation that did not come up when it was rolled back to is not tried over and over.
    let cause = Cause::Failed { step: Step::Start, why: "no GPU".to_owned() };
    done.push((7, activation(3, End::RolledBack { cause })));
    assert_eq!(targets(&tally, &done, 1), [0; 0]);
}

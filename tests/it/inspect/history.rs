//! The tale of a journal: which step took how long, and how long nothing served.

use awqdeploy::domain::{
    activation::{
        journal::{Entry, downtime, phases},
        machine::Activation,
    },
    generation_id::GenerationId,
};

const OLD: Option<GenerationId> = Some(GenerationId(1));

/// A journal whose records lie so many seconds after its first, each state following from the outcome before it.
fn journal(from: Option<GenerationId>, steps: &[(i64, Result<(), &str>)]) -> Vec<Entry> {
    let entry = |second: i64, activation: &Activation| Entry {
        at: jiff::Timestamp::from_second(1_800_000_000 + second).unwrap(),
        uptime: None,
        activation: activation.clone(),
    };
    let mut activation = Activation::new(from, GenerationId(2));
    let mut journal = vec![entry(0, &activation)];
    for (second, outcome) in steps {
        activation = activation.after(outcome.map_err(str::to_owned));
        journal.push(entry(*second, &activation));
    }
    journal
}

fn told(journal: &[Entry]) -> Vec<(String, f64)> {
    phases(journal).into_iter().map(|phase| (phase.name, phase.seconds)).collect()
}

#[test]
fn a_commit_is_down_from_the_stop_until_the_new_one_is_ready() {
    let journal = journal(OLD, &[(2, Ok(())), (3, Ok(())), (60, Ok(())), (90, Ok(()))]);
    let phases = [("stop", 2.0), ("point", 1.0), ("start", 57.0), ("validate", 30.0)];
    assert_eq!(told(&journal), phases.map(|(name, seconds)| (name.to_owned(), seconds)));
    assert_eq!(downtime(&journal), Some(60.0));
}

#[test]
fn a_rollback_is_down_until_the_old_one_is_ready_again() {
    let failed = [(2, Ok(())), (3, Ok(())), (60, Err("no answer")), (61, Ok(())), (62, Ok(())), (80, Ok(()))];
    let journal = journal(OLD, &failed);
    let back: Vec<_> = told(&journal).into_iter().skip(3).collect();
    let wanted = [("back: stop", 1.0), ("back: point", 1.0), ("back: start", 18.0)];
    assert_eq!(back, wanted.map(|(name, seconds)| (name.to_owned(), seconds)));
    assert_eq!(downtime(&journal), Some(80.0));
}

#[test]
fn nothing_is_down_where_nothing_served_and_an_unfinished_one_is_not_judged() {
    let whole = [(2, Ok(())), (3, Ok(())), (60, Ok(())), (90, Ok(()))];
    assert_eq!(downtime(&journal(None, &whole)), None);
    assert_eq!(downtime(&journal(OLD, &whole[..3])), None);
}

#[test]
fn a_clock_that_was_set_back_takes_no_time() {
    let journal = journal(OLD, &[(2, Ok(())), (-500, Ok(())), (60, Ok(())), (-900, Ok(()))]);
    let point = told(&journal).swap_remove(1);
    assert_eq!(point, ("point".to_owned(), 0.0));
    assert!(told(&journal).iter().all(|(_, seconds)| *seconds >= 0.0));
}

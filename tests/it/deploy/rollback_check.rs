//! The checks before the stop: there is a rollback target, and the same plan did not fail before.

use crate::stand::{NEW, OLD, Stand, patiently};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        activation::{
            journal::{Entry, Uptime, downtime, phases, watch_left},
            machine::{Activation, Cause, Conclusion, End, State, Step, failed, known_good},
        },
        exit_status::ExitStatus,
        generation_id::GenerationId,
        problem::Problem,
        size::ByteSize,
    },
    flow::{
        activation::outcome::Outcome,
        deploy::deploy,
        plan::{Waiver, prepare},
    },
};
use insta::assert_snapshot;
use std::{collections::BTreeSet, fs};

fn without(stand: &mut Stand, waiver: Waiver) -> Result<Outcome, Problem> {
    let mut prepared = prepare(&stand.context, NEW)?;
    prepared.waived = BTreeSet::from([waiver]);
    patiently(|| deploy(&mut stand.context, &prepared))
}

fn shown(stand: &Stand, problem: &Problem) -> String {
    let text = stand.plain(&render(problem, Style::Plain));
    format!("{text}\nexit status {}", ExitStatus::from(problem.kind).code())
}

#[test]
fn what_failed_is_not_tried_again_unless_a_person_says_so() {
    let mut stand = Stand::serving();
    let fault = "[vllm.environment]\nAWQDEPLOY_REHEARSAL_FAULT = \"crash\"\n";
    stand.write_profile(NEW, "[vllm.environment]\n", fault);
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::WentBack);
    let before = stand.state();
    let problem = stand.deploy(NEW).unwrap_err();
    let text = shown(&stand, &problem);
    assert!(text.starts_with("error: generation 2 was the same, and failed: start failed: "), "{text}");
    assert!(text.ends_with("or try it again with `--retry`\nexit status 3"), "{text}");
    assert_eq!(stand.state(), before, "nothing was touched");

    assert_eq!(without(&mut stand, Waiver::Retry).unwrap().conclusion(), Conclusion::WentBack);
    // Something else under the same name is another matter.
    stand.write_profile(NEW, "", "");
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
    stand.serves(NEW);
}

#[test]
fn nothing_is_stopped_that_could_not_come_back() {
    let mut stand = Stand::serving();
    let served = stand.context.store.current_generation().unwrap().unwrap().plan.model.path;
    let weights = served.join("model.safetensors");
    fs::rename(&weights, stand.path("elsewhere")).unwrap();
    let before = stand.state();
    let problem = stand.deploy(NEW).unwrap_err();
    let text = shown(&stand, &problem);
    assert!(text.starts_with("error: there is no rollback to generation 1 (gptq): "), "{text}");
    assert!(text.contains("`model.safetensors` is missing") && text.contains("`--no-way-back`"), "{text}");
    assert!(text.ends_with("exit status 3"), "{text}");
    // The new model was taken in before: that does not change the running server.
    let now = stand.state();
    assert_eq!((now.profile, now.generations), (before.profile, before.generations));

    assert_eq!(without(&mut stand, Waiver::NoWayBack).unwrap().conclusion(), Conclusion::Done);
    stand.serves(NEW);
}

#[test]
fn a_host_that_changed_is_not_rolled_back() {
    for (change, why) in [
        ("driver", "the NVIDIA driver is `400.1`"),
        ("gpus", "it needs 4 GPUs with "),
        ("ram", "it needs 11.5 GiB of RAM, and this host has 1.0 GiB"),
    ] {
        let mut stand = Stand::serving();
        // The new plan is made before the host changes, so that the rollback target is what is refused.
        let prepared = prepare(&stand.context, NEW).unwrap();
        let mut facts = stand.context.facts().unwrap().clone();
        match change {
            "driver" => facts.driver = Some("400.1".to_owned()),
            "gpus" => facts.gpus.truncate(3),
            _ => facts.ram_total = ByteSize::gib(1),
        }
        stand.context.facts = facts.into();
        let problem = patiently(|| deploy(&mut stand.context, &prepared)).unwrap_err();
        let text = shown(&stand, &problem);
        assert!(text.contains("no rollback to generation 1") && text.contains(why), "{change}: {text}");
        stand.serves(OLD);
    }
}

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);

fn done(from: Option<GenerationId>, to: GenerationId, end: End) -> Activation {
    Activation { from, to, state: State::Done { end } }
}

fn degraded() -> Cause {
    Cause::Degraded { why: "it hangs".to_owned() }
}

#[test]
fn what_did_not_stay_well_is_not_proven_any_more() {
    let first = done(None, ONE, End::Committed);
    let second = done(Some(ONE), TWO, End::Committed);
    assert_eq!(known_good([&first, &second]), BTreeSet::from([ONE, TWO]));
    let withdrawn = second.degraded("it hangs".to_owned()).unwrap();
    assert_eq!(known_good([&first, &withdrawn]), BTreeSet::from([ONE]));
    assert_eq!(failed([&first, &withdrawn], TWO), Some(&degraded()));
    // Also where an earlier activation had proven it.
    let again = done(Some(ONE), TWO, End::RolledBack { cause: degraded() });
    assert_eq!(known_good([&first, &second, &again]), BTreeSet::from([ONE]));
    // There must be a rollback target, and a generation to roll back.
    assert_eq!(first.degraded("it hangs".to_owned()), None);
    assert_eq!(Activation::new(Some(ONE), TWO).degraded("it hangs".to_owned()), None);
}

#[test]
fn only_its_own_failure_speaks_against_a_generation() {
    let ended = |cause| done(Some(ONE), TWO, End::RolledBack { cause });
    let step = |step| Cause::Failed { step, why: "no".to_owned() };
    for (cause, speaks) in [
        (step(Step::Stop), false),
        (step(Step::Point), false),
        (step(Step::Start), true),
        (step(Step::Validate), true),
        (degraded(), true),
        (Cause::Interrupted { step: Step::Validate }, false),
    ] {
        assert_eq!(failed([&ended(cause.clone())], TWO).is_some(), speaks, "{cause}");
    }
    // The last word counts.
    let failure = ended(step(Step::Start));
    assert_eq!(failed([&failure, &done(Some(ONE), TWO, End::Committed)], TWO), None);
}

#[test]
fn a_withdrawal_has_its_phases_and_two_times_without_a_server() {
    let mut activation = Activation::new(Some(ONE), TWO);
    let mut journal = Vec::new();
    let mut note = |at: i64, activation: &Activation| {
        let at = jiff::Timestamp::from_second(at).unwrap();
        journal.push(Entry { at, uptime: None, activation: activation.clone() });
    };
    for at in [0, 2, 3, 10, 15] {
        note(at, &activation);
        activation = activation.after(Ok(()));
    }
    activation = activation.degraded("it hangs".to_owned()).unwrap();
    for at in [100, 101, 102] {
        note(at, &activation);
        activation = activation.after(Ok(()));
    }
    note(108, &activation);
    // Ten seconds until the new one was ready, eight until the old one was again.
    assert_eq!(downtime(&journal), Some(18.0));
    let phases = phases(&journal);
    let shown: Vec<_> = phases.iter().map(|phase| format!("{} {}", phase.name, phase.seconds)).collect();
    assert_snapshot!(shown.join(", "), @"stop 2, point 1, start 7, validate 5, watch 85, back: stop 1, back: point 1, back: start 6");
}

/// Somebody sets the clock back by an hour, or forward; the host sleeps; it boots.
#[test]
fn the_watch_goes_by_a_clock_that_nobody_sets() {
    let uptime = |boot: &str, seconds: f64| Uptime { boot: boot.to_owned(), seconds };
    let entry = |wall: i64, uptime: Option<Uptime>, activation: &Activation| Entry {
        at: jiff::Timestamp::from_second(1_800_000_000 + wall).unwrap(),
        uptime,
        activation: activation.clone(),
    };
    let committed = done(Some(ONE), TWO, End::Committed);
    let left = |wall: i64, now: f64| {
        let journal = [entry(wall, Some(uptime("a", 1000.0)), &committed)];
        watch_left(&journal, 10, &uptime("a", now)).map(|left| left.as_secs())
    };
    for wall in [0, -3600, 3600] {
        assert_eq!(
            [1000.0, 1599.0, 1600.0, 5000.0].map(|now| left(wall, now)),
            [Some(600), Some(1), None, None]
        );
    }
    // Of what has no such moment, or one of another boot, nothing has passed.
    for then in [None, Some(uptime("b", 5.0)), Some(uptime("", 5.0))] {
        let journal = [entry(0, then, &committed)];
        assert_eq!(watch_left(&journal, 10, &uptime("a", 1000.0)).map(|left| left.as_secs()), Some(600));
    }
    // Only a committed generation with a rollback target is watched.
    for activation in [done(None, TWO, End::Committed), committed.degraded("slow".to_owned()).unwrap()] {
        let journal = [entry(0, Some(uptime("a", 1000.0)), &activation)];
        assert_eq!(watch_left(&journal, 10, &uptime("a", 1000.0)), None);
    }
    // How long a step took, too.
    let journal = [
        entry(0, Some(uptime("a", 100.0)), &Activation::new(Some(ONE), TWO)),
        entry(-3600, Some(uptime("a", 102.5)), &Activation::new(Some(ONE), TWO).after(Ok(()))),
    ];
    assert_eq!(phases(&journal).iter().map(|phase| phase.seconds).collect::<Vec<_>>(), [2.5]);
}

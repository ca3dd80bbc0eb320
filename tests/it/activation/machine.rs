//! Every move of the state machine, state by state, as the table in ARCHITECTURE.md has it.

use awqdeploy::domain::{
    activation::machine::{Activation, Cause, End, State, Step},
    generation_id::GenerationId,
};
use insta::assert_snapshot;

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);
const STEPS: [Step; 4] = [Step::Stop, Step::Point, Step::Start, Step::Validate];

fn cause() -> Cause {
    Cause::Interrupted { step: Step::Point }
}

fn stuck() -> End {
    End::Stuck { cause: cause(), step: Step::Stop, why: "no".to_owned() }
}

/// Every state that an activation can be in.
fn states() -> Vec<State> {
    let back = |(step, tries)| State::Back { step, tries, cause: cause() };
    let tries = STEPS[..3].iter().flat_map(|step| (0..3).map(|tries| (*step, tries)));
    let ends = [End::Committed, End::RolledBack { cause: cause() }, stuck()];
    let forward = STEPS.into_iter().map(|step| State::Forward { step });
    forward.chain(tries.map(back)).chain(ends.map(|end| State::Done { end })).collect()
}

fn shown(state: &State) -> String {
    match state {
        State::Forward { step } => format!("forward {step}"),
        State::Back { step, tries, cause } => format!("back {step} {tries} ({cause})"),
        State::Done { end: End::Stuck { cause, step, why } } => format!("stuck at {step}, {why} ({cause})"),
        State::Done { end } => {
            format!("{}{}", end.name(), state.cause().map_or(String::new(), |cause| format!(" ({cause})")))
        }
    }
}

/// The successor of each state, a line each.
fn table(from: Option<GenerationId>, becomes: impl Fn(Activation) -> Option<Activation>) -> String {
    let line = |state: State| {
        let before = shown(&state);
        let after = becomes(Activation { from, to: TWO, state });
        let after = after.map_or("nothing".to_owned(), |after| shown(&after.state));
        let after = if after == before { "same".to_owned() } else { after };
        format!("{before:<44} -> {after}\n")
    };
    states().into_iter().map(line).collect()
}

#[test]
fn a_step_that_worked() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.after(Ok(())))), @r"
    forward stop                                 -> forward point
    forward point                                -> forward start
    forward start                                -> forward validate
    forward validate                             -> committed
    back stop 0 (interrupted during point)       -> back point 0 (interrupted during point)
    back stop 1 (interrupted during point)       -> back point 0 (interrupted during point)
    back stop 2 (interrupted during point)       -> back point 0 (interrupted during point)
    back point 0 (interrupted during point)      -> back start 0 (interrupted during point)
    back point 1 (interrupted during point)      -> back start 0 (interrupted during point)
    back point 2 (interrupted during point)      -> back start 0 (interrupted during point)
    back start 0 (interrupted during point)      -> rolled-back (interrupted during point)
    back start 1 (interrupted during point)      -> rolled-back (interrupted during point)
    back start 2 (interrupted during point)      -> rolled-back (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> same
    ");
}

#[test]
fn a_step_that_failed() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.after(Err("why".to_owned())))), @r"
    forward stop                                 -> back stop 0 (stop failed: why)
    forward point                                -> back stop 0 (point failed: why)
    forward start                                -> back stop 0 (start failed: why)
    forward validate                             -> back stop 0 (validate failed: why)
    back stop 0 (interrupted during point)       -> back stop 1 (interrupted during point)
    back stop 1 (interrupted during point)       -> back stop 2 (interrupted during point)
    back stop 2 (interrupted during point)       -> stuck at stop, why (interrupted during point)
    back point 0 (interrupted during point)      -> back point 1 (interrupted during point)
    back point 1 (interrupted during point)      -> back point 2 (interrupted during point)
    back point 2 (interrupted during point)      -> stuck at point, why (interrupted during point)
    back start 0 (interrupted during point)      -> back start 1 (interrupted during point)
    back start 1 (interrupted during point)      -> back start 2 (interrupted during point)
    back start 2 (interrupted during point)      -> stuck at start, why (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> same
    ");
}

#[test]
fn a_first_deployment_goes_back_to_nothing() {
    assert_snapshot!(table(None, |activation| Some(activation.after(Ok(())))), @r"
    forward stop                                 -> forward point
    forward point                                -> forward start
    forward start                                -> forward validate
    forward validate                             -> committed
    back stop 0 (interrupted during point)       -> back point 0 (interrupted during point)
    back stop 1 (interrupted during point)       -> back point 0 (interrupted during point)
    back stop 2 (interrupted during point)       -> back point 0 (interrupted during point)
    back point 0 (interrupted during point)      -> rolled-back (interrupted during point)
    back point 1 (interrupted during point)      -> rolled-back (interrupted during point)
    back point 2 (interrupted during point)      -> rolled-back (interrupted during point)
    back start 0 (interrupted during point)      -> rolled-back (interrupted during point)
    back start 1 (interrupted during point)      -> rolled-back (interrupted during point)
    back start 2 (interrupted during point)      -> rolled-back (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> same
    ");
}

#[test]
fn who_finds_it_unfinished() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.resumed())), @r"
    forward stop                                 -> back stop 0 (interrupted during stop)
    forward point                                -> back stop 0 (interrupted during point)
    forward start                                -> back stop 0 (interrupted during start)
    forward validate                             -> back stop 0 (interrupted during validate)
    back stop 0 (interrupted during point)       -> same
    back stop 1 (interrupted during point)       -> back stop 0 (interrupted during point)
    back stop 2 (interrupted during point)       -> back stop 0 (interrupted during point)
    back point 0 (interrupted during point)      -> back stop 0 (interrupted during point)
    back point 1 (interrupted during point)      -> back stop 0 (interrupted during point)
    back point 2 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 0 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 1 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 2 (interrupted during point)      -> back stop 0 (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> same
    ");
}

#[test]
fn a_person_who_recovers() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.unstuck())), @r"
    forward stop                                 -> back stop 0 (interrupted during stop)
    forward point                                -> back stop 0 (interrupted during point)
    forward start                                -> back stop 0 (interrupted during start)
    forward validate                             -> back stop 0 (interrupted during validate)
    back stop 0 (interrupted during point)       -> same
    back stop 1 (interrupted during point)       -> back stop 0 (interrupted during point)
    back stop 2 (interrupted during point)       -> back stop 0 (interrupted during point)
    back point 0 (interrupted during point)      -> back stop 0 (interrupted during point)
    back point 1 (interrupted during point)      -> back stop 0 (interrupted during point)
    back point 2 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 0 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 1 (interrupted during point)      -> back stop 0 (interrupted during point)
    back start 2 (interrupted during point)      -> back stop 0 (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> back stop 0 (interrupted during point)
    ");
}

#[test]
fn what_does_not_stay_well() {
    assert_snapshot!(table(Some(ONE), |activation| activation.degraded("slow".to_owned())), @r"
    forward stop                                 -> nothing
    forward point                                -> nothing
    forward start                                -> nothing
    forward validate                             -> nothing
    back stop 0 (interrupted during point)       -> nothing
    back stop 1 (interrupted during point)       -> nothing
    back stop 2 (interrupted during point)       -> nothing
    back point 0 (interrupted during point)      -> nothing
    back point 1 (interrupted during point)      -> nothing
    back point 2 (interrupted during point)      -> nothing
    back start 0 (interrupted during point)      -> nothing
    back start 1 (interrupted during point)      -> nothing
    back start 2 (interrupted during point)      -> nothing
    committed                                    -> back stop 0 (did not stay well: slow)
    rolled-back (interrupted during point)       -> nothing
    stuck at stop, no (interrupted during point) -> nothing
    ");
    assert!(
        table(None, |activation| activation.degraded("slow".to_owned()))
            .lines()
            .all(|line| line.ends_with("-> nothing"))
    );
}

#[test]
fn records_that_are_lost() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.with_lost_records())), @r"
    forward stop                                 -> same
    forward point                                -> same
    forward start                                -> same
    forward validate                             -> same
    back stop 0 (interrupted during point)       -> same
    back stop 1 (interrupted during point)       -> same
    back stop 2 (interrupted during point)       -> same
    back point 0 (interrupted during point)      -> same
    back point 1 (interrupted during point)      -> same
    back point 2 (interrupted during point)      -> same
    back start 0 (interrupted during point)      -> same
    back start 1 (interrupted during point)      -> same
    back start 2 (interrupted during point)      -> same
    committed                                    -> back stop 0 (did not stay well: what was recorded after its commit cannot be read)
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> back stop 0 (interrupted during point)
    ");
    let kept = |from| {
        let table = table(from, |activation| Some(activation.with_lost_records()));
        table.lines().any(|line| line.starts_with("committed") && line.ends_with("-> same"))
    };
    assert_eq!([None, Some(TWO), Some(ONE)].map(kept), [true, true, false], "nothing else is there to go to");
}

#[test]
fn a_record_that_cannot_be_written() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.unrecorded("full".to_owned()))), @r"
    forward stop                                 -> back stop 0 (stop failed: full)
    forward point                                -> back stop 0 (point failed: full)
    forward start                                -> back stop 0 (start failed: full)
    forward validate                             -> back stop 0 (validate failed: full)
    back stop 0 (interrupted during point)       -> back stop 0 (stop failed: full)
    back stop 1 (interrupted during point)       -> back stop 0 (stop failed: full)
    back stop 2 (interrupted during point)       -> back stop 0 (stop failed: full)
    back point 0 (interrupted during point)      -> back stop 0 (point failed: full)
    back point 1 (interrupted during point)      -> back stop 0 (point failed: full)
    back point 2 (interrupted during point)      -> back stop 0 (point failed: full)
    back start 0 (interrupted during point)      -> back stop 0 (start failed: full)
    back start 1 (interrupted during point)      -> back stop 0 (start failed: full)
    back start 2 (interrupted during point)      -> back stop 0 (start failed: full)
    committed                                    -> back stop 0 (validate failed: full)
    rolled-back (interrupted during point)       -> back stop 0 (validate failed: full)
    stuck at stop, no (interrupted during point) -> back stop 0 (validate failed: full)
    ");
    let needed = |state: &State| Activation { from: None, to: TWO, state: state.clone() }.needs_its_record();
    let needed: Vec<_> = states().iter().filter(|state| needed(state)).map(shown).collect();
    assert_eq!(needed, ["forward stop", "forward point", "forward start", "forward validate", "committed"]);
}

#[test]
fn what_nobody_can_carry_out() {
    assert_snapshot!(table(Some(ONE), |activation| Some(activation.given_up("panics".to_owned()))), @r"
    forward stop                                 -> stuck at stop, panics (interrupted during stop)
    forward point                                -> stuck at point, panics (interrupted during point)
    forward start                                -> stuck at start, panics (interrupted during start)
    forward validate                             -> stuck at validate, panics (interrupted during validate)
    back stop 0 (interrupted during point)       -> stuck at stop, panics (interrupted during point)
    back stop 1 (interrupted during point)       -> stuck at stop, panics (interrupted during point)
    back stop 2 (interrupted during point)       -> stuck at stop, panics (interrupted during point)
    back point 0 (interrupted during point)      -> stuck at point, panics (interrupted during point)
    back point 1 (interrupted during point)      -> stuck at point, panics (interrupted during point)
    back point 2 (interrupted during point)      -> stuck at point, panics (interrupted during point)
    back start 0 (interrupted during point)      -> stuck at start, panics (interrupted during point)
    back start 1 (interrupted during point)      -> stuck at start, panics (interrupted during point)
    back start 2 (interrupted during point)      -> stuck at start, panics (interrupted during point)
    committed                                    -> same
    rolled-back (interrupted during point)       -> same
    stuck at stop, no (interrupted during point) -> same
    ");
}

#[test]
fn each_state_has_one_step_and_one_aim() {
    let next = |state: &State| Activation { from: Some(ONE), to: TWO, state: state.clone() }.next();
    for state in &states() {
        let expected = match state {
            State::Forward { step } => Some((*step, Some(TWO))),
            State::Back { step, .. } => Some((*step, Some(ONE))),
            State::Done { .. } => None,
        };
        assert_eq!(next(state), expected, "{}", shown(state));
    }
    let end = |state: &State| Activation { from: None, to: TWO, state: state.clone() }.end().cloned();
    assert_eq!(
        states().iter().filter_map(end).map(|end| end.name()).collect::<Vec<_>>(),
        ["committed", "rolled-back", "stuck"]
    );
}

#[test]
fn what_speaks_against_a_generation() {
    let failed = |step| Cause::Failed { step, why: "no".to_owned() };
    assert_eq!(STEPS.map(|step| failed(step).blames_the_generation()), [false, false, true, true]);
    assert_eq!(STEPS.map(|step| Cause::Interrupted { step }.blames_the_generation()), [false; 4]);
    assert!(Cause::Degraded { why: "slow".to_owned() }.blames_the_generation());
}

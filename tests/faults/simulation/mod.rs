//! Random schedules of faults, users, clocks and locks, each from a seed: the same seed is the same schedule.

mod duty;
mod outcome;
mod schedule;
mod town;

use super::{
    choice::Choice,
    share::{Seen, Share},
    tell,
};
use schedule::Schedule;
use std::{collections::BTreeSet, ops::Range, path::Path};
use town::Town;

/// Schedules with a name of their own.
const PART: usize = 1000;
/// So many have each thing happen in them that can. The rarest is an order that is overtaken: once in some thousands.
const ENOUGH: usize = 4000;

/// The first seeds of all parts, each with its name.
fn parts(choice: &Choice) -> impl Iterator<Item = (Range<u64>, String)> {
    let seeds = choice.seed.map_or(0..choice.schedules, |seed| seed..seed + 1);
    let parts = seeds.clone().step_by(PART);
    parts.map(move |first| {
        (first..seeds.end.min(first + PART as u64), format!("simulation from seed {first} on"))
    })
}

/// The names by which they are chosen.
pub(crate) fn names(choice: &Choice) -> Vec<String> {
    parts(choice).map(|(_, name)| name).collect()
}

/// Plays the schedules of the first seeds, or of one.
pub(crate) fn run(choice: &Choice, scratch: &Path, seen: &mut Seen) {
    let share = choice.share.unwrap_or(Share::WHOLE);
    let seeds = parts(choice).filter(|(_, name)| choice.wants(name)).flat_map(|(seeds, _)| seeds);
    for (_, seed) in seeds.enumerate().filter(|(nth, _)| share.has(*nth)) {
        let schedule = Schedule::of(seed);
        let (went, story) = play(&schedule, scratch, &mut seen.happened);
        if choice.seed.is_some() {
            tell(&format!("{schedule:?}"));
            for line in &story {
                tell(line);
            }
        }
        let faults = format!("{} at random", schedule.faults.len());
        let went = went.map_err(|why| {
            if choice.first_failure {
                format!("{why}; repeat it with `--seed={seed}`")
            } else {
                explained(&schedule, &why, scratch)
            }
        });
        seen.table.add(usize::MAX, "simulation", &faults, went, 0.0);
        seen.simulated += 1;
    }
}

/// Holds what came of all of them against what must.
pub(crate) fn must_have_happened(seen: &mut Seen) {
    if seen.simulated < ENOUGH {
        return;
    }
    let happened = |what: &&str| seen.happened.contains(*what);
    let missing: Vec<_> = outcome::MUST_HAPPEN.into_iter().filter(|what| !happened(what)).collect();
    let went = if missing.is_empty() { Ok(true) } else { Err(format!("never: {missing:?}")) };
    seen.table.add(usize::MAX, "simulation", "what must have happened", went, 0.0);
}

/// Plays one schedule: whether it ends with a commit. What must never be so is the error; beside it the story,
/// told step by step.
fn play(
    schedule: &Schedule,
    scratch: &Path,
    seen: &mut BTreeSet<String>,
) -> (Result<bool, String>, Vec<String>) {
    let root = tempfile::tempdir_in(scratch).expect("the scratch folder can be written");
    let mut town = Town::new(schedule, root.path());
    let _listening = town.machine.plug_in();
    let went = schedule.acts.iter().enumerate().try_for_each(|(number, act)| town.play(number, *act));
    let went = went.and_then(|()| town.end()).map(|()| town.is_committed());
    let story = town.shared.story.take();
    seen.append(&mut town.shared.seen.borrow_mut());
    (went, story)
}

/// A failure with how to repeat it, and with the least that leads to it.
fn explained(schedule: &Schedule, why: &str, scratch: &Path) -> String {
    let (mut least, mut why) = (schedule.clone(), why.to_owned());
    let play = |schedule: &Schedule| play(schedule, scratch, &mut BTreeSet::new());
    'shrink: loop {
        for smaller in least.smaller() {
            if let (Err(still), _) = play(&smaller) {
                (least, why) = (smaller, still);
                continue 'shrink;
            }
        }
        break;
    }
    let story = play(&least).1.join("\n");
    let Schedule { seed, acts, faults } = least;
    format!(
        "{why}\nrepeat it with `--seed={seed}`; the least that leads to it: {acts:?}, with {faults:?}:\n{story}"
    )
}

//! Plays activations under faults, under every ordered pair of them, and under random ones.
//!
//! `cargo test --test faults` plays every schedule in one process, then some thousand random ones. With `-- --ignored`,
//! as root, it plays the scenes and a sample of the schedules under a real systemd. It prints a table of outcomes, and
//! last a line `N passed, M failed`. `-- --help` says how to choose among them.

#![allow(clippy::disallowed_methods, reason = "tests start the programs that they test")]
#![allow(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::similar_names, reason = "a story is played in a store")]
#![allow(clippy::zombie_processes, reason = "what runs inside ends with the machine that it runs in")]

mod choice;
mod disk;
mod ext4;
mod host;
mod machine;
mod persons;
mod played;
mod real;
mod room;
mod runtime;
mod scenes;
mod share;
mod simulation;
#[path = "../skipped.rs"]
mod skipped;
mod story;
#[path = "../real/systemd.rs"]
mod systemd;

use choice::{Choice, HELP, Kind};
use disk::Luck;
use host::{Blow, Moment};
use machine::Machine;
use played::play;
use serde::{Deserialize, Serialize};
use share::{Seen, Share};
use skipped::skipped;
use std::{
    collections::BTreeMap,
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};
use story::Story;

/// How often what a power cut leaves of the rest is drawn.
const SEEDS: u64 = 4;
/// The counts of one kind of schedule.
#[derive(Default, Serialize, Deserialize)]
struct Row {
    schedules: usize,
    committed: usize,
    went_back: usize,
    failed: usize,
    /// The longest that nothing served after the last fault, seconds.
    slowest: f64,
}

/// All results, by what was done and what happened to it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Table {
    #[serde(with = "listed")]
    rows: BTreeMap<Key, Row>,
    #[serde(skip)]
    first_failure: bool,
}

type Key = (usize, String, String);

/// A JSON object has texts alone for keys.
mod listed {
    use super::{BTreeMap, Deserialize, Key, Row, Serialize};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        rows: &BTreeMap<Key, Row>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        rows.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Key, Row>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

impl Table {
    /// Counts one schedule; `back` is how long it took until something proven served again.
    pub(crate) fn add(
        &mut self,
        order: usize,
        story: &str,
        faults: &str,
        went: Result<bool, String>,
        back: f64,
    ) {
        let row = self.rows.entry((order, story.to_owned(), faults.to_owned())).or_default();
        row.schedules += 1;
        row.slowest = row.slowest.max(back);
        match went {
            Ok(true) => row.committed += 1,
            Ok(false) => row.went_back += 1,
            Err(why) => {
                row.failed += 1;
                let _ = writeln!(stderr(), "FAILED: {story}, {faults}: {why}");
                if self.first_failure {
                    std::process::exit(1);
                }
            }
        }
    }

    /// Adds what another process counted.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, more) in other.rows {
            let row = self.rows.entry(key).or_default();
            row.schedules += more.schedules;
            row.committed += more.committed;
            row.went_back += more.went_back;
            row.failed += more.failed;
            row.slowest = row.slowest.max(more.slowest);
        }
    }

    fn show(&self) {
        if self.rows.is_empty() {
            return;
        }
        tell("| story | faults | schedules | committed | went back | failed | back after at most |");
        tell("|---|---|---|---|---|---|---|");
        for ((_, story, faults), row) in &self.rows {
            let Row { schedules, committed, went_back, failed, slowest } = row;
            let slowest = if *slowest > 0.0 { format!("{slowest:.1} s") } else { "-".to_owned() };
            tell(&format!(
                "| {story} | {faults} | {schedules} | {committed} | {went_back} | {failed} | {slowest} |"
            ));
        }
    }

    fn sum(&self) -> (usize, usize) {
        let failed = self.rows.values().map(|row| row.failed).sum();
        (self.rows.values().map(|row| row.schedules).sum::<usize>() - failed, failed)
    }
}

fn main() -> ExitCode {
    let choice = match Choice::of(std::env::args().skip(1)) {
        Ok(Some(choice)) => choice,
        Ok(None) => {
            tell(HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            tell(&format!("error: {why}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(why) = choice.matches_any(names(&choice)) {
        tell(&format!("error: {why}"));
        return ExitCode::FAILURE;
    }
    let table = || Table { first_failure: choice.first_failure, ..Table::default() };
    let mut seen = Seen { table: table(), ..Seen::default() };
    if choice.share.is_some() {
        within(&choice, &mut seen);
        tell(&serde_json::to_string(&seen).expect("it can be written"));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    if choice.plays(Kind::Played) || choice.plays(Kind::Simulated) {
        match choice.jobs {
            1 => within(&choice, &mut seen),
            jobs => share::among(jobs, &mut seen),
        }
    }
    if choice.plays(Kind::Simulated) {
        simulation::must_have_happened(&mut seen);
    }
    tell(&format!(
        "in one process each: {:.1} s on {} processors",
        began.elapsed().as_secs_f64(),
        choice.jobs
    ));
    let (table, mut real) = (seen.table, table());
    if !choice.plays(Kind::Scenes) && !choice.plays(Kind::Real) {
        return ended(&[table]);
    }
    if !rustix::process::geteuid().is_root() {
        skipped("booting a systemd in namespaces needs root");
        return ended(&[table]);
    }
    if choice.plays(Kind::Scenes) && scenes::names().iter().any(|name| choice.wants(name)) {
        match Machine::up("scenes", choice.systemd) {
            Some(machine) => scenes::run(&machine, &choice, &mut real),
            None => skipped("that systemd cannot be had here"),
        }
    }
    if choice.plays(Kind::Real) {
        real::run(&choice, &mut real);
    }
    ended(&[table, real])
}

/// Plays all that needs nothing but a process.
fn within(choice: &Choice, seen: &mut Seen) {
    if choice.plays(Kind::Played) {
        played_all(choice, &mut seen.table);
    }
    if choice.plays(Kind::Simulated) {
        simulation::run(choice, &scratch(), seen);
    }
}

/// The names of all tests, by their kind.
fn names(choice: &Choice) -> impl Iterator<Item = (Kind, String)> {
    let named = |kind: Kind| move |name: String| (kind, name);
    let played = Story::ALL.map(played_name).into_iter().map(named(Kind::Played));
    let simulated = simulation::names(choice).into_iter().map(named(Kind::Simulated));
    let scenes = scenes::names().into_iter().map(named(Kind::Scenes));
    played.chain(simulated).chain(scenes).chain(real::names().into_iter().map(named(Kind::Real)))
}

fn played_name(story: Story) -> String {
    format!("played: {story}")
}

fn ended(tables: &[Table]) -> ExitCode {
    tables.iter().for_each(Table::show);
    let (passed, failed) = tables
        .iter()
        .map(Table::sum)
        .fold((0, 0), |(passed, failed), (more, worse)| (passed + more, failed + worse));
    tell(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every blow at every moment, and after each every other blow at every later one.
fn played_all(choice: &Choice, table: &mut Table) {
    let (scratch, share) = (scratch(), choice.share.unwrap_or(Share::WHOLE));
    let wanted = |story: &Story| choice.wants(&played_name(*story));
    for (order, story) in Story::ALL.into_iter().filter(wanted).enumerate() {
        let name = story.to_string();
        let mut tried = |faults: &str, blows: &[(usize, Blow)], luck: Luck| {
            let went = play(story, blows, luck, &scratch);
            let moments = went.as_ref().map_or_else(|_| Vec::new(), |went| went.moments.clone());
            let went = went.map(|went| went.committed).map_err(|why| format!("{blows:?}: {why}"));
            // Without a fault each process plays it, to know the moments.
            if !blows.is_empty() || share.has(0) {
                table.add(order, &name, faults, went, 0.0);
            }
            moments
        };
        let moments = tried("0: none", &[], Luck::Bad);
        let mine = blows(&moments, 0).into_iter().enumerate().filter(|(nth, _)| share.has(*nth));
        for (_, (first, blow)) in mine {
            let faults = match moments[first] {
                Moment::Call(_) => "each at each step",
                _ => "each at each sync",
            };
            for seed in 0..SEEDS {
                tried(
                    &format!("1: {faults}, each loss"),
                    &[(first, blow)],
                    Luck::Mixed(fastrand::Rng::with_seed(seed)),
                );
            }
            tried(&format!("1: {faults}"), &[(first, blow)], Luck::Good);
            let later = tried(&format!("1: {faults}"), &[(first, blow)], Luck::Bad);
            for (second, again) in blows(&later, first + 1) {
                tried(&format!("2: {faults}, then each"), &[(first, blow), (second, again)], Luck::Bad);
            }
        }
    }
}

/// Where the played host lies. It syncs thousands of times, to no disk of this machine.
fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Every blow at every moment from this one on.
fn blows(moments: &[Moment], from: usize) -> Vec<(usize, Blow)> {
    let later = moments.iter().enumerate().skip(from);
    later
        .flat_map(|(at, moment)| {
            Blow::ALL.into_iter().filter(|blow| blow.fits(*moment)).map(move |blow| (at, blow))
        })
        .collect()
}

/// Says something at once.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(stdout(), "{line}");
    let _ = stdout().flush();
}

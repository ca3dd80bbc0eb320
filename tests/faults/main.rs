//! What becomes of an activation under faults, and of every ordered pair of them.
//!
//! `cargo test --test faults` plays every schedule in one process, and as root the scenes and a sample of the schedules
//! under a real systemd. `cargo test --test faults -- --real` runs all of them there, and the scenes; `--real=N` each Nth,
//! `--only=TEXT` those whose name has that in it, `--machines=N` so many side by side, `--systemd=257` under that one;
//! `--scenes` the scenes alone. It prints a table of outcomes, and last a line `N passed, M failed`.

#![allow(clippy::disallowed_methods, reason = "tests start the programs that they test")]
#![allow(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::similar_names, reason = "a story is played in a store")]
#![allow(clippy::zombie_processes, reason = "what runs inside ends with the machine that it runs in")]

mod machine;
mod played;
mod real;
mod runtime;
mod scenes;
mod story;
#[path = "../real/systemd.rs"]
mod systemd;

use machine::Machine;
use played::{Blow, play};
use std::{
    collections::BTreeMap,
    io::{Write, stderr, stdout},
    path::Path,
    process::ExitCode,
    str::FromStr,
};
use story::Story;
use systemd::Systemd;

/// Of the schedules under a real systemd, one in so many without `--real`.
const SAMPLE: usize = 61;
/// Machines side by side, without `--machines`.
const MACHINES: usize = 2;

/// What was counted of one kind of schedule.
#[derive(Default)]
struct Row {
    schedules: usize,
    committed: usize,
    went_back: usize,
    failed: usize,
    /// The longest that nothing served after the last fault, seconds.
    slowest: f64,
}

/// All results, by what was done and what happened to it.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<(usize, String, String), Row>);

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
        let row = self.0.entry((order, story.to_owned(), faults.to_owned())).or_default();
        row.schedules += 1;
        row.slowest = row.slowest.max(back);
        match went {
            Ok(true) => row.committed += 1,
            Ok(false) => row.went_back += 1,
            Err(why) => {
                row.failed += 1;
                let _ = writeln!(stderr(), "FAILED: {story}, {faults}: {why}");
            }
        }
    }

    fn show(&self) {
        if self.0.is_empty() {
            return;
        }
        tell("| story | faults | schedules | committed | went back | failed | back after at most |");
        tell("|---|---|---|---|---|---|---|");
        for ((_, story, faults), row) in &self.0 {
            let Row { schedules, committed, went_back, failed, slowest } = row;
            let slowest = if *slowest > 0.0 { format!("{slowest:.1} s") } else { "-".to_owned() };
            tell(&format!(
                "| {story} | {faults} | {schedules} | {committed} | {went_back} | {failed} | {slowest} |"
            ));
        }
    }

    fn sum(&self) -> (usize, usize) {
        let failed = self.0.values().map(|row| row.failed).sum();
        (self.0.values().map(|row| row.schedules).sum::<usize>() - failed, failed)
    }
}

/// What is to be run under a real systemd.
pub(crate) struct Choice {
    /// Every so manieth schedule.
    pub(crate) each: usize,
    /// What the names of the schedules have in them.
    pub(crate) only: String,
    /// How many machines there are side by side.
    pub(crate) machines: usize,
    pub(crate) systemd: Systemd,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test NAME` is meant for tests with names.
    if arguments.iter().any(|argument| !argument.starts_with('-') && argument != "faults") {
        tell("0 passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    let given = |option: &str| arguments.iter().any(|argument| argument == option);
    let each = if given("--real") { Some(1) } else { value(&arguments, "--real") };
    let choice = Choice {
        each: each.unwrap_or(SAMPLE),
        only: value(&arguments, "--only").unwrap_or_default(),
        machines: value(&arguments, "--machines").unwrap_or(MACHINES),
        systemd: match value::<u32>(&arguments, "--systemd") {
            Some(257) => Systemd::Trixie,
            _ => Systemd::Own,
        },
    };
    let (mut table, mut real) = (Table::default(), Table::default());
    if each.is_none() && !given("--scenes") {
        played_all(&mut table);
    }
    if !rustix::process::geteuid().is_root() {
        tell("SKIPPED: booting a systemd in namespaces needs root");
        return ended(&[table, real]);
    }
    if choice.only.is_empty() {
        match Machine::up("scenes", choice.systemd) {
            Some(machine) => scenes::run(&machine, &mut real),
            None => tell("SKIPPED: that systemd cannot be had here"),
        }
    }
    if !given("--scenes") {
        real::run(&choice, &mut real);
    }
    ended(&[table, real])
}

/// What follows `OPTION=`.
fn value<T: FromStr>(arguments: &[String], option: &str) -> Option<T> {
    let words = arguments.iter().find_map(|argument| argument.strip_prefix(option)?.strip_prefix('='))?;
    let value = words.parse().unwrap_or_else(|_| panic!("`{option}={words}` makes no sense"));
    Some(value)
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

/// Every blow at every call to the host, and after each every other blow at every later call.
fn played_all(table: &mut Table) {
    // The played host syncs thousands of times: where there is memory for it, on no disk.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    for (order, story) in Story::ALL.into_iter().enumerate() {
        let name = story.to_string();
        let mut tried = |faults: &str, blows: &[(usize, Blow)]| {
            let went = play(story, blows, &scratch);
            let calls = went.as_ref().map_or(0, |went| went.calls);
            let went = went.map(|went| went.committed).map_err(|why| format!("{blows:?}: {why}"));
            table.add(order, &name, faults, went, 0.0);
            calls
        };
        let calls = tried("0: none", &[]);
        for first in 0..calls {
            for blow in Blow::ALL {
                let calls = tried("1: each, at each step", &[(first, blow)]);
                for second in first + 1..calls {
                    for again in Blow::ALL {
                        tried("2: each pair, at each pair of steps", &[(first, blow), (second, again)]);
                    }
                }
            }
        }
    }
}

/// Says something at once.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(stdout(), "{line}");
    let _ = stdout().flush();
}

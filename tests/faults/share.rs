//! The schedules, shared out among processes: each plays its own, and the first adds up what they saw. Not threads: the
//! limit that plays a full disk is a process's.

use super::Table;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::Read as _,
    process::{Child, Command, Stdio},
    str::FromStr,
};

/// The share of one process: each so manieth, from its own number on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    number: usize,
    of: usize,
}

/// The schedules that a process has seen.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) table: Table,
    /// How many random schedules there were.
    pub(crate) simulated: usize,
    /// The ends of them, and what went wrong in them.
    pub(crate) happened: BTreeSet<String>,
}

impl Share {
    /// All of it.
    pub(crate) const WHOLE: Self = Self { number: 0, of: 1 };

    pub(crate) fn has(self, nth: usize) -> bool {
        nth % self.of == self.number
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, of) = text.split_once('/').ok_or("a share is `NUMBER/OF`")?;
        let share = number.parse().ok().zip(of.parse().ok()).map(|(number, of)| Self { number, of });
        share.filter(|share| share.number < share.of).ok_or_else(|| format!("`{text}` is no share"))
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.table.merge(other.table);
        self.simulated += other.simulated;
        self.happened.extend(other.happened);
    }
}

/// Has so many processes play, with the arguments of this one. What they say of failures they say at once.
pub(crate) fn among(processes: usize, seen: &mut Seen) {
    let played: Vec<_> = (0..processes).map(|number| (number, start(number, processes))).collect();
    for (number, mut child) in played {
        let mut said = String::new();
        let read = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut said));
        let ended = child.wait().expect("it is a child of this process");
        match (read, serde_json::from_str(&said)) {
            (Some(Ok(_)), Ok(other)) => seen.add(other),
            (read, other) => {
                let why = format!("{ended}, {read:?}, {:?}: {said}", other.err());
                seen.table.add(usize::MAX, "share", &format!("process {number}"), Err(why), 0.0);
            }
        }
    }
}

fn start(number: usize, of: usize) -> Child {
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg(format!("--share={number}/{of}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this program starts")
}

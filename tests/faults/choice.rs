//! Chooses which of the tests are run.

use super::{share::Share, systemd::Systemd};
use std::{num::NonZero, str::FromStr, thread::available_parallelism};

/// The text of `--help`.
pub(crate) const HELP: &str = "\
usage: cargo test --test faults -- [OPTION...] [TEXT...]

  TEXT, --only=TEXT  those with one of these texts in their name; an error where there is none
  --played           only those in one process
  --simulated[=N]    only the random schedules, N of them
  --seed=N           only the random schedule of this seed, told step by step
  --scenes[=TEXT]    only the scenes under a real systemd, or those with this in their name
  --real[=N]         the scenes, and all schedules under a real systemd, or each Nth
  --ignored          the scenes, and a sample of those schedules: what needs root
  --include-ignored  the same, and all that needs nothing
  --first-failure    ends with it, at once: in one process
  --jobs=N           so many processes side by side play what needs no systemd (one for each processor)
  --machines=N       so many machines side by side (2)
  --systemd=257      under that systemd";

/// Of the schedules under a real systemd, one in so many unless it is said.
const SAMPLE: usize = 61;
/// Machines side by side, likewise.
const MACHINES: usize = 2;
/// Random schedules, likewise: as many as a minute has room for.
const SCHEDULES: u64 = 4_000;

/// A kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Played,
    Simulated,
    Scenes,
    Real,
}

impl Kind {
    /// Those that need nothing but this process.
    const WITHIN: [Self; 2] = [Self::Played, Self::Simulated];
    /// Those that need root, and a systemd.
    const OUTSIDE: [Self; 2] = [Self::Scenes, Self::Real];
}

/// The chosen tests.
#[derive(Debug)]
pub(crate) struct Choice {
    kinds: Vec<Kind>,
    /// Parts of names: a test needs one of them.
    only: Vec<String>,
    /// Of the schedules under a real systemd, every so manieth.
    pub(crate) each: usize,
    /// How many machines there are side by side.
    pub(crate) machines: usize,
    pub(crate) systemd: Systemd,
    /// How many random schedules.
    pub(crate) schedules: u64,
    /// The only one of them.
    pub(crate) seed: Option<u64>,
    /// Whether the first failure ends it, unexplained.
    pub(crate) first_failure: bool,
    /// How many processes play side by side.
    pub(crate) jobs: usize,
    /// The share that this one of them plays.
    pub(crate) share: Option<Share>,
}

impl Choice {
    /// Reads these arguments; nothing if they ask for help.
    pub(crate) fn of(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut choice = Self {
            kinds: Vec::new(),
            only: Vec::new(),
            each: SAMPLE,
            machines: MACHINES,
            systemd: Systemd::Own,
            schedules: SCHEDULES,
            seed: None,
            first_failure: false,
            jobs: available_parallelism().map_or(1, NonZero::get),
            share: None,
        };
        for argument in arguments {
            let (name, value) =
                argument.split_once('=').map_or((&*argument, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("--help", None) => return Ok(None),
                ("--played", None) => choice.kinds.push(Kind::Played),
                ("--simulated", value) => {
                    choice.kinds.push(Kind::Simulated);
                    choice.schedules = value.map_or(Ok(SCHEDULES), |value| number(name, value))?;
                }
                ("--seed", Some(value)) => {
                    choice.kinds.push(Kind::Simulated);
                    choice.seed = Some(number(name, value)?);
                }
                ("--scenes", text) => {
                    choice.kinds.push(Kind::Scenes);
                    choice.only.extend(text.map(str::to_owned));
                }
                ("--real", value) => {
                    choice.kinds.extend(Kind::OUTSIDE);
                    choice.each = value.map_or(Ok(1), |value| number(name, value))?;
                }
                ("--ignored", None) => choice.kinds.extend(Kind::OUTSIDE),
                ("--include-ignored", None) => {
                    choice.kinds.extend(Kind::WITHIN);
                    choice.kinds.extend(Kind::OUTSIDE);
                }
                ("--first-failure", None) => choice.first_failure = true,
                ("--jobs", Some(value)) => choice.jobs = number(name, value)?,
                ("--share", Some(value)) => choice.share = Some(value.parse()?),
                ("--machines", Some(value)) => choice.machines = number(name, value)?,
                ("--systemd", Some("257")) => choice.systemd = Systemd::Trixie,
                ("--only", Some(text)) => choice.only.push(text.to_owned()),
                (text, None) if !text.starts_with('-') => choice.only.push(text.to_owned()),
                _ => return Err(format!("`{argument}` makes no sense; `--help` says what does")),
            }
        }
        if choice.first_failure || choice.seed.is_some() {
            choice.jobs = 1;
        }
        if choice.kinds.is_empty() {
            choice.kinds.extend(Kind::WITHIN);
        }
        Ok(Some(choice))
    }

    /// Whether this kind is to be run.
    pub(crate) fn plays(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether a test of this name is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text))
    }

    /// A problem if none of these names is wanted: nothing would be tested.
    pub(crate) fn matches_any(&self, mut names: impl Iterator<Item = (Kind, String)>) -> Result<(), String> {
        if names.any(|(kind, name)| self.plays(kind) && self.wants(&name)) {
            return Ok(());
        }
        Err(format!("no test has `{}` in its name, so that none would be run", self.only.join("` or `")))
    }
}

fn number<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{option}={value}` makes no sense: a number follows"))
}

//! Draws a random schedule before anything happens: so it can be played again, and shrunk.

use crate::host::Blow;
use awqdeploy::domain::activation::machine::Step;

/// Something that a person does, or that happens to the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// `deploy` of a new generation.
    Deploy,
    /// `rollback` to the proven generation before.
    Rollback,
    /// `rollback` to what is current.
    Again,
    /// `recover`.
    Recover,
    /// `systemctl stop` and `start` of the service.
    Stop,
    Start,
    /// The watched generation does not stay well.
    Withdraw,
    /// The power is cut, and comes again.
    Cut,
    /// The host's clock is set by so many seconds.
    Clock(i64),
}

/// The trouble in the middle of an act.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// To the deployer, its disk or its host.
    Blow(Blow),
    /// Somebody else does this meanwhile.
    Meanwhile(Act),
    /// If the deployer is killed, somebody does this before it is started again.
    First(Act),
    /// From now on this step fails, until somebody mends it after the act.
    Breaks(Step),
    /// Somebody holds the root's lock for so many seconds, as soon as it is free.
    Squat(u64),
}

impl Trouble {
    /// Whether records may be missing after it.
    pub(crate) fn loses_records(self) -> bool {
        matches!(self, Self::Blow(Blow::Fails | Blow::Torn | Blow::Full))
    }
}

/// One trouble: at which moment of which act it comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) act: usize,
    pub(crate) moment: usize,
    pub(crate) trouble: Trouble,
}

/// One random schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// The seed of the draw, of what a power cut leaves too.
    pub(crate) seed: u64,
    pub(crate) acts: Vec<Act>,
    pub(crate) faults: Vec<Fault>,
}

/// An activation there and back has about so many moments.
const MOMENTS: usize = 34;
const MOST_ACTS: usize = 5;
const MOST_FAULTS: usize = 4;
/// Seconds. Longer than any step.
const LONGEST_SQUAT: u64 = 300;

impl Schedule {
    /// The schedule of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut acts = vec![Act::Deploy];
        acts.extend((0..chance.usize(..MOST_ACTS)).map(|_| act(&mut chance)));
        let faults = (0..chance.usize(..=MOST_FAULTS)).map(|_| Fault {
            act: chance.usize(..acts.len()),
            moment: chance.usize(..MOMENTS),
            trouble: trouble(&mut chance),
        });
        let faults = faults.collect();
        Self { seed, acts, faults }
    }

    /// Everything that is one act or one fault less.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let without_fault = (0..self.faults.len()).map(|at| {
            let mut less = self.clone();
            less.faults.remove(at);
            less
        });
        let without_act = (0..self.acts.len()).map(|at| {
            let mut less = self.clone();
            less.acts.remove(at);
            less.faults.retain(|fault| fault.act != at);
            less.faults.iter_mut().filter(|fault| fault.act > at).for_each(|fault| fault.act -= 1);
            less
        });
        without_fault.chain(without_act).collect()
    }
}

fn act(chance: &mut fastrand::Rng) -> Act {
    match chance.u8(..12) {
        0..4 => Act::Deploy,
        4 | 5 => Act::Rollback,
        6 => Act::Again,
        7 => Act::Recover,
        8 => Act::Stop,
        9 => Act::Withdraw,
        10 => Act::Cut,
        _ => clock(chance),
    }
}

fn clock(chance: &mut fastrand::Rng) -> Act {
    const YEAR: i64 = 365 * 24 * 60 * 60;
    Act::Clock(chance.i64(-YEAR..YEAR))
}

fn trouble(chance: &mut fastrand::Rng) -> Trouble {
    match chance.u8(..11) {
        10 => Trouble::Breaks([Step::Stop, Step::Point, Step::Start, Step::Validate][chance.usize(..4)]),
        0..6 => Trouble::Blow(Blow::ALL[chance.usize(..Blow::ALL.len())]),
        6 => Trouble::Squat(chance.u64(1..LONGEST_SQUAT)),
        7 => Trouble::First(act(chance)),
        _ => Trouble::Meanwhile(match chance.u8(..8) {
            0 | 1 => Act::Stop,
            2 => Act::Start,
            3 => clock(chance),
            4 => Act::Recover,
            5 => Act::Rollback,
            _ => Act::Deploy,
        }),
    }
}

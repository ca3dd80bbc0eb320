//! How often the verdict errs, by simulation, beside what it claims: for servers whose requests are independent, correlated,
//! drifting or of two kinds, whose starts differ, and which others use.
//!
//! `cargo test --test it -- --ignored simulation --nocapture` prints the table with ten times as many runs.

use awqdeploy::domain::{
    measure::{USUAL_START_SPREAD, run::Run},
    validation::{
        probation::{Look, Probation},
        sequential::{self, ERROR_RATE, SequentialResult, baseline_looks, looks},
        users::Served,
    },
};
use statrs::distribution::{ContinuousCDF, Normal};
use std::fmt::Write as _;

/// Runs of each case: an error rate of 5 % is then known to 0.7 %.
const RUNS: u32 = 1000;
/// A rate above the claim by less than this is chance.
const CHANCE: f64 = 0.02;

/// Chance, the same in every run of this test: `SplitMix64`.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(super) fn normal(&mut self) -> f64 {
        Normal::standard().inverse_cdf(self.uniform())
    }

    /// The time until the next of some events of this rate.
    fn wait(&mut self, rate: f64) -> f64 {
        -self.uniform().ln() / rate
    }
}

/// How the requests of a server differ. All figures are of the logarithm of the rate, so that 0.05 is some 5 %.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// Deviation within a run.
    within: f64,
    /// Autocorrelation of one request and the next.
    correlation: f64,
    /// How much faster the first request is than the twelfth.
    drift: f64,
    /// The share of requests at half of the rate.
    halved: f64,
    /// Deviation between starts.
    between: f64,
}

const INDEPENDENT: Kind =
    Kind { name: "independent, 10 %", within: 0.1, correlation: 0.0, drift: 0.0, halved: 0.0, between: 0.0 };

const KINDS: [Kind; 8] = [
    INDEPENDENT,
    Kind { name: "independent, 2 %", within: 0.02, ..INDEPENDENT },
    Kind { name: "independent, 20 %", within: 0.2, ..INDEPENDENT },
    Kind { name: "correlated by 0.3", correlation: 0.3, ..INDEPENDENT },
    Kind { name: "correlated by 0.5", correlation: 0.5, ..INDEPENDENT },
    Kind { name: "drifting by 5 %", within: 0.02, drift: 0.05, ..INDEPENDENT },
    Kind { name: "starts differ by 2 %", within: 0.01, between: 0.02, ..INDEPENDENT },
    Kind { name: "starts differ by 3 %", within: 0.01, between: 0.03, ..INDEPENDENT },
];

/// The kinds that the assumptions leave out: so far the rates go beyond what they claim.
const BEYOND: [Kind; 4] = [
    Kind { name: "30 % of requests at half the rate", within: 0.02, halved: 0.3, ..INDEPENDENT },
    Kind { name: "correlated by 0.7", correlation: 0.7, ..INDEPENDENT },
    Kind { name: "drifting by 10 %", within: 0.02, drift: 0.1, ..INDEPENDENT },
    Kind { name: "starts differ by 5 %, where 3 % are known", within: 0.01, between: 0.05, ..INDEPENDENT },
];

/// One start of a server whose requests have this median, 1 for one with an error at the limit.
struct Start {
    kind: Kind,
    /// The logarithm of the median of this start.
    median: f64,
    last: f64,
    requests: f64,
}

impl Start {
    fn new(kind: Kind, median: f64, chance: &mut Chance) -> Self {
        let median = median.ln() + kind.between * chance.normal();
        Self { kind, median, last: chance.normal(), requests: 0.0 }
    }

    fn rate(&mut self, chance: &mut Chance) -> f64 {
        let Kind { within, correlation, drift, halved, .. } = self.kind;
        self.last = correlation * self.last + (1.0 - correlation * correlation).sqrt() * chance.normal();
        let drifting = drift * (1.0 - self.requests / 11.0).max(0.0);
        self.requests += 1.0;
        let half = if chance.uniform() < halved { 0.5_f64.ln() } else { 0.0 };
        (self.median + within * self.last + drifting + half).exp()
    }

    /// One measurement by the rule: what it shows, and the run.
    fn judge(
        &mut self,
        chance: &mut Chance,
        shown: impl Fn(&Run) -> SequentialResult,
    ) -> (SequentialResult, Run) {
        let mut rates = Vec::new();
        for look in looks(3) {
            while rates.len() < look as usize {
                rates.push(self.rate(chance));
            }
            let run = Run { last: looks(3)[3] as usize, ..Run::alone(&rates) };
            let result = shown(&run);
            if result != SequentialResult::Open || look == looks(3)[3] {
                return (result, run);
            }
        }
        unreachable!("the last look returns")
    }
}

/// The shares of runs that pass and that fail.
struct Shares {
    passes: f64,
    fails: f64,
}

fn shares(runs: u32, seed: u64, mut one: impl FnMut(&mut Chance) -> SequentialResult) -> Shares {
    let mut chance = Chance(seed);
    let mut shares = Shares { passes: 0.0, fails: 0.0 };
    for _ in 0..runs {
        match one(&mut chance) {
            SequentialResult::Above => shares.passes += 1.0 / f64::from(runs),
            SequentialResult::Below => shares.fails += 1.0 / f64::from(runs),
            SequentialResult::Open => {}
        }
    }
    shares
}

/// The floor, of a server whose median is `median` times it where it is alone, beside so many users.
fn floor(runs: u32, kind: Kind, median: f64, users: f64) -> Shares {
    shares(runs, 1, |chance| {
        let mut server = Start::new(kind, 5.0 * median * slowed(users), chance);
        let beside = |run: &Run| Run { beside: users, ..run.clone() };
        server.judge(chance, |run| sequential::floor(&beside(run), 5.0)).0
    })
}

/// A baseline, measured until it can decide, and slowed down by so many users.
fn baseline(kind: Kind, users: f64, chance: &mut Chance) -> Run {
    let mut server = Start::new(kind, 10.0 * slowed(users), chance);
    let mut rates = Vec::new();
    for look in baseline_looks(3) {
        while rates.len() < look as usize {
            rates.push(server.rate(chance));
        }
        if sequential::is_precise(&Run::alone(&rates), LEAST, 3) {
            break;
        }
    }
    Run { beside: users, ..Run::alone(&rates) }
}

const LEAST: f64 = 0.85;

/// The rate of a stream beside so many others: each takes 15 % of it.
fn slowed(users: f64) -> f64 {
    1.0 / (1.0 + 0.15 * users)
}

/// The ratio, of a candidate that is `median` times as fast as its baseline, each beside so many users.
fn ratio(runs: u32, kind: Kind, median: f64, users: [f64; 2]) -> Shares {
    shares(runs, 2, |chance| {
        let theirs = baseline(kind, users[0], chance);
        let mut server = Start::new(kind, 10.0 * median * slowed(users[1]), chance);
        let beside = |run: &Run| Run { beside: users[1], ..run.clone() };
        server.judge(chance, |run| sequential::ratio(&beside(run), &theirs, LEAST)).0
    })
}

/// How often two starts of one server are told apart by `compare`, of so many requests each and beside so many users.
fn told_apart(runs: u32, kind: Kind, requests: usize, users: [f64; 2]) -> f64 {
    let told = shares(runs, 3, |chance| {
        let mut one = |users: f64| {
            let mut server = Start::new(kind, 10.0 * slowed(users), chance);
            let rates: Vec<f64> = (0..requests).map(|_| server.rate(chance)).collect();
            Run { beside: users, ..Run::alone(&rates) }.estimate().unwrap()
        };
        let [low, high] = one(users[0]).over(one(users[1])).bounds(1, 0.025);
        if low > 0.0 || high < 0.0 { SequentialResult::Below } else { SequentialResult::Open }
    });
    told.fails
}

/// How often the printed interval of a server's rate holds its median, after the rule has stopped.
fn covers(runs: u32, kind: Kind, median: f64) -> f64 {
    let held = shares(runs, 4, |chance| {
        let mut server = Start::new(kind, 5.0 * median, chance);
        let (_, run) = server.judge(chance, |run| sequential::floor(run, 5.0));
        let run = Run { last: run.rates.len(), ..run };
        let [low, high] = run.estimate().unwrap().bounds(sequential::LOOKS, ERROR_RATE);
        let truth = (5.0 * median).ln();
        if low <= truth && truth <= high { SequentialResult::Above } else { SequentialResult::Open }
    });
    held.passes
}

#[test]
fn the_floor_errs_no_more_often_than_it_says() {
    for kind in KINDS {
        let at = floor(RUNS, kind, 1.0, 0.0);
        assert!(at.passes <= ERROR_RATE + CHANCE, "{}: passes {}", kind.name, at.passes);
        assert!(at.fails <= ERROR_RATE + CHANCE, "{}: fails {}", kind.name, at.fails);
    }
}

#[test]
fn the_ratio_errs_no_more_often_than_it_says() {
    for kind in KINDS {
        let at = ratio(RUNS / 2, kind, LEAST, [0.0; 2]);
        assert!(at.passes <= ERROR_RATE + CHANCE, "{}: passes {}", kind.name, at.passes);
        assert!(at.fails <= ERROR_RATE + CHANCE, "{}: fails {}", kind.name, at.fails);
        let found = ratio(RUNS / 2, kind, 0.6, [0.0; 2]);
        assert!(found.passes <= 0.002, "{}: {}", kind.name, found.passes);
    }
    // A loss worth finding is found, and a sound candidate passes, where requests are no more than usually unsteady.
    let usual = Kind { within: 0.02, between: USUAL_START_SPREAD, ..INDEPENDENT };
    let sound = ratio(RUNS, usual, 1.0, [0.0; 2]);
    assert!(sound.fails <= 0.001 && sound.passes >= 0.9, "{} {}", sound.passes, sound.fails);
    let bad = ratio(RUNS, usual, 0.7, [0.0; 2]);
    assert!(bad.passes <= 0.001 && bad.fails >= 0.95, "{} {}", bad.passes, bad.fails);
}

/// Users on one side of a comparison made an equal candidate fail in all cases, and one at 0.7 pass in 98.8 %.
#[test]
fn users_on_one_side_decide_nothing() {
    for users in [1.0, 2.0, 4.0] {
        let slow = ratio(RUNS / 2, INDEPENDENT, 0.7, [users, 0.0]);
        assert!(slow.passes <= ERROR_RATE, "{users}: {}", slow.passes);
        let equal = ratio(RUNS / 2, INDEPENDENT, 1.0, [0.0, users]);
        assert!(equal.fails <= ERROR_RATE, "{users}: {}", equal.fails);
        let at = floor(RUNS / 2, INDEPENDENT, 1.0, users);
        assert!(at.passes <= ERROR_RATE && at.fails <= ERROR_RATE, "{users}: {} {}", at.passes, at.fails);
        for beside in [[users, 0.0], [0.0, users]] {
            let told = told_apart(RUNS / 2, INDEPENDENT, 8, beside);
            assert!(told <= ERROR_RATE, "{beside:?}: {told}");
        }
    }
}

#[test]
fn two_starts_of_one_server_are_rarely_told_apart() {
    for kind in KINDS.into_iter().filter(|kind| kind.drift == 0.0) {
        for requests in [3, 8] {
            let told = told_apart(RUNS, kind, requests, [0.0; 2]);
            assert!(told <= ERROR_RATE + CHANCE, "{}, {requests}: {told}", kind.name);
        }
    }
}

#[test]
fn a_printed_interval_covers_what_it_says() {
    for (median, kind) in [(1.0, INDEPENDENT), (1.1, INDEPENDENT), (1.5, INDEPENDENT), (1.2, KINDS[7])] {
        let covers = covers(RUNS, kind, median);
        assert!(covers >= 0.95 - CHANCE, "{median} {}: {covers}", kind.name);
    }
}

/// How often `disconnect-frees-slot` finds a sound server wrong, in so many tries: users come `arrivals` times a second and
/// stay for `stay` s each; the check's request has its first token after `ttft` s and is gone 0.1 s after it was left.
fn wrongly_held(runs: u32, arrivals: f64, stay: f64, ttft: f64, tries: u32) -> f64 {
    let mut chance = Chance(5);
    let mut wrong = 0;
    for _ in 0..runs {
        // Poisson, by its arrivals.
        let (mut running, mut sum) = (0.0, chance.wait(arrivals * stay));
        while sum < 1.0 {
            running += 1.0;
            sum += chance.wait(arrivals * stay);
        }
        let held = (0..tries).all(|_| {
            let before = running;
            let (mut at, frees, gives_up) = (0.0, ttft + 0.1, ttft + 5.0);
            loop {
                let rate = arrivals + running / stay;
                let next = at + chance.wait(rate);
                if running <= before && next >= frees && at <= gives_up {
                    return false;
                }
                if next > gives_up {
                    return true;
                }
                at = next;
                running += if chance.uniform() < arrivals / rate { 1.0 } else { -1.0 };
            }
        });
        wrong += u32::from(held);
    }
    f64::from(wrong) / f64::from(runs)
}

/// The servers with users that the check was seen to fail on: arrivals a second, and seconds each.
const BUSY: [(f64, f64); 4] = [(0.2, 5.0), (0.2, 20.0), (0.5, 20.0), (1.0, 20.0)];

#[test]
fn users_rarely_hold_the_slot_of_one_who_left() {
    for (arrivals, stay) in BUSY {
        let once = wrongly_held(RUNS, arrivals, stay, 1.5, 1);
        let four = wrongly_held(RUNS, arrivals, stay, 1.5, 4);
        assert!(four <= 0.01 && four <= once, "{arrivals} {stay}: {once} {four}");
    }
}

/// How often a sound candidate, as fast as its baseline and a quarter above the floor, fails with users beside it
/// while its checks run: by everything that may go wrong by chance at once.
fn family(runs: u32, kind: Kind) -> f64 {
    let fails = [floor(runs, kind, 1.25, 0.0).fails, ratio(runs, kind, 1.0, [0.0; 2]).fails];
    let checks = BUSY.map(|(arrivals, stay)| wrongly_held(runs, arrivals, stay, 1.5, 4));
    fails.iter().sum::<f64>() + checks.into_iter().fold(0.0, f64::max)
}

#[test]
fn the_family_of_gates_and_checks_fails_a_sound_candidate_rarely() {
    for kind in KINDS {
        let fails = family(RUNS / 2, kind);
        assert!(fails < 0.05, "{}: {fails}", kind.name);
    }
}

/// Looks of a watch of ten minutes.
const WATCHED: u32 = 38;
/// The watch's floor, tokens/s.
const FLOOR: f64 = 5.0;

/// How often a watch finds a server too slow that alone decodes at `rate`, with readings that vary so much, and with users at
/// this share of looks, so many at a time. Without metrics nobody knows of them.
fn found_slow(runs: u32, rate: f64, variation: f64, busy: f64, users: f64, metrics: bool) -> f64 {
    let mut chance = Chance(6);
    let mut found = 0;
    for _ in 0..runs {
        let mut judge = Probation::new(FLOOR, 0);
        let slow = (0..WATCHED).any(|_| {
            let meets = chance.uniform() < busy;
            let reading = rate * (variation * chance.normal()).exp();
            let seen = match (metrics, meets) {
                (true, true) => {
                    let rate = Some(reading * slowed(users - 1.0));
                    Look::Users(Served { rate, streams: users, finished: 1.0, ..Served::default() })
                }
                (true, false) => Look::Alone(reading),
                (false, _) => Look::Busy,
            };
            judge.take(0, seen).is_some()
        });
        found += u32::from(slow);
    }
    f64::from(found) / f64::from(runs)
}

/// How often an idle watch calls a server slow whose median is `median` times the floor.
fn watched(runs: u32, kind: Kind, median: f64) -> f64 {
    let called = shares(runs, 7, |chance| {
        let mut server = Start::new(kind, FLOOR * median, chance);
        let mut judge = Probation::new(FLOOR, 0);
        let slow = (0..WATCHED).any(|_| judge.take(0, Look::Alone(server.rate(chance))).is_some());
        if slow { SequentialResult::Below } else { SequentialResult::Open }
    });
    called.fails
}

#[test]
fn a_watch_leaves_alone_what_meets_the_floor_however_its_readings_vary() {
    for kind in KINDS {
        let called = watched(RUNS, kind, 1.0);
        assert!(called <= 0.01, "{}: {called}", kind.name);
    }
}

#[test]
fn a_watch_finds_what_is_slow_and_leaves_alone_what_is_not() {
    for busy in [0.0, 0.2, 0.5, 0.8, 1.0] {
        let quarter = found_slow(RUNS, FLOOR / 4.0, 0.2, busy, 1.0, true);
        assert!(quarter > 0.999, "{busy}: {quarter}");
        for variation in [0.05, 0.1, 0.2] {
            let sound = found_slow(RUNS, FLOOR * 1.02, variation, busy, 1.0, true);
            assert!(sound <= 0.02, "{busy} {variation}: {sound}");
        }
        // Four at a time get less each, and more together.
        assert!(found_slow(RUNS, FLOOR * 1.02, 0.1, busy, 4.0, true) == 0.0, "{busy}");
    }
    assert!(found_slow(RUNS, FLOOR * 2.0, 0.2, 1.0, 4.0, false) == 0.0, "nobody knows who uses it");
}

/// The watch's table for the document.
pub(crate) fn watch_table() -> String {
    let mut out = String::from(
        "| alone it decodes at, of the floor | readings vary by | looks that meet users | found too slow |\n|---:|---:|---:|---:|\n",
    );
    for (rate, variation) in
        [(0.25, 0.2), (0.5, 0.2), (0.7, 0.1), (1.02, 0.05), (1.02, 0.1), (1.02, 0.2), (1.3, 0.3)]
    {
        for (busy, users) in [(0.0, 0.0), (0.5, 1.0), (0.5, 4.0)] {
            let met = if users > 0.0 {
                format!("{:.0} %, {users:.0} at a time", busy * 100.0)
            } else {
                "none".to_owned()
            };
            let found = found_slow(RUNS, FLOOR * rate, variation, busy, users, true) * 100.0;
            let _ = writeln!(out, "| {rate:.2} | {:.0} % | {met} | {found:.1} % |", variation * 100.0);
        }
    }
    out
}

/// The table for the document: claimed and simulated error rates.
pub(crate) fn table() -> String {
    rates(RUNS)
}

#[test]
#[ignore = "minutes: ten times as many runs as the document's table"]
fn simulation() {
    println!("{}", rates(10 * RUNS));
}

fn rates(runs: u32) -> String {
    let mut out = String::from(
        "| requests are | floor: passes, at the limit | floor: fails, at the limit | ratio: passes, at the limit | \
         ratio: fails, at the limit | `compare` tells equal ones apart | interval covers | watch: slow, at the floor | \
         a sound one fails by anything |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n\
         | *claimed* | *5 %* | *5 %* | *5 %* | *5 %* | *5 %* | *95 %* | *1 %* | *5 %* |\n",
    );
    for kind in KINDS.into_iter().chain(BEYOND) {
        let (floor, ratio) = (floor(runs, kind, 1.0, 0.0), ratio(runs, kind, LEAST, [0.0; 2]));
        let figures = [
            floor.passes,
            floor.fails,
            ratio.passes,
            ratio.fails,
            told_apart(runs, kind, 8, [0.0; 2]),
            covers(runs, kind, 1.2),
            watched(runs, kind, 1.0),
            family(runs, kind),
        ];
        let shown: Vec<String> = figures.iter().map(|figure| format!("{:.1} %", figure * 100.0)).collect();
        let _ = writeln!(out, "| {} | {} |", kind.name, shown.join(" | "));
    }
    for (users, what) in
        [([2.0, 0.0], "2 users on the old server only"), ([0.0, 2.0], "2 users on the new server only")]
    {
        let (slow, equal) = (ratio(runs, INDEPENDENT, 0.7, users), ratio(runs, INDEPENDENT, 1.0, users));
        let at = floor(runs, INDEPENDENT, 1.0, users[1]);
        let told = told_apart(runs, INDEPENDENT, 8, users);
        let _ = writeln!(
            out,
            "| {what} | {:.1} % | {:.1} % | {:.1} % (of 0.70) | {:.1} % (of 1.00) | {:.1} % | | | |",
            at.passes * 100.0,
            at.fails * 100.0,
            slow.passes * 100.0,
            equal.fails * 100.0,
            told * 100.0
        );
    }
    out
}

//! Reads the journal of one activation: the time of each step, and how long no server ran.

use super::machine::{Activation, End, State, Step};
use crate::domain::generation_id::GenerationId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One line of a journal: when the activation reached which state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When the state was recorded, which is when its step began.
    pub at: jiff::Timestamp,
    /// The uptime of the host then, which nobody sets. Earlier versions recorded none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Uptime>,
    /// The activation in that state.
    #[serde(flatten)]
    pub activation: Activation,
}

/// How long a host is up, sleep included: a clock that nobody sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uptime {
    /// The name that the kernel gave this boot.
    pub boot: String,
    /// Seconds since that boot.
    pub seconds: f64,
}

impl Uptime {
    /// Seconds from an earlier moment of the same boot. Boots without a name are not told apart.
    pub(crate) fn since(&self, earlier: &Self) -> Option<f64> {
        (self.boot == earlier.boot && !self.boot.is_empty())
            .then(|| (self.seconds - earlier.seconds).max(0.0))
    }
}

/// The lines of a journal, and which of them are damaged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Every state that can be read. Where the last ones cannot, [`Activation::with_lost_records`] is applied
    /// to the one before them.
    pub entries: Vec<Entry>,
    /// The numbers of the lines that cannot be read, from 1.
    pub damaged: Vec<usize>,
}

/// Reads a journal. A torn last line is left out, since nothing acted on it. A damaged line is skipped.
pub fn read(bytes: &[u8]) -> Reading {
    let whole = whole_lines(bytes);
    let mut reading = Reading::default();
    let mut lost = false;
    let lines =
        bytes[..whole].strip_suffix(b"\n").into_iter().flat_map(|lines| lines.split(|byte| *byte == b'\n'));
    for (line, number) in lines.zip(1..) {
        match serde_json::from_slice(line) {
            Ok(entry) => reading.entries.push(entry),
            Err(_) => reading.damaged.push(number),
        }
        lost = reading.damaged.last() == Some(&number);
    }
    if let Some(last) = reading.entries.last().filter(|_| lost).cloned() {
        reading.entries.push(Entry { activation: last.activation.with_lost_records(), ..last });
    }
    reading
}

/// How many bytes of a journal are whole lines.
pub(crate) fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// A step with the time that it took.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Phase {
    /// `start`, or `back: start` in a rollback.
    pub name: String,
    /// Seconds from the activation's first record to its own.
    pub(crate) begins: f64,
    /// From its record to the next. A clock that was set back counts as no time.
    pub seconds: f64,
}

/// How much of its probation of so many minutes an activation has left. Absent once that is over, and where
/// nothing was committed, or there is no rollback target. The window is counted by the uptime; where a record
/// has none, or one of another boot, it begins now.
pub fn watch_left(journal: &[Entry], minutes: u32, now: &Uptime) -> Option<Duration> {
    let last = journal.last()?;
    last.activation.from?;
    last.activation.end().filter(|end| **end == End::Committed)?;
    let passed = last.uptime.as_ref().and_then(|then| now.since(then)).unwrap_or_default();
    let whole = Duration::from_secs(60 * u64::from(minutes));
    whole.checked_sub(Duration::from_secs_f64(passed)).filter(|left| !left.is_zero())
}

/// The steps that ended, in order. An interrupted step ends with the first record after it.
pub fn phases(journal: &[Entry]) -> Vec<Phase> {
    let named = |entry: &Entry| match &entry.activation.state {
        State::Forward { step } => Some(step.to_string()),
        State::Back { step, .. } => Some(format!("back: {step}")),
        // Only a failed probation has a record after this one.
        State::Done { end: End::Committed } => Some("watch".to_owned()),
        State::Done { .. } => None,
    };
    let phase = |pair: &[Entry]| {
        let begins = seconds(journal.first()?, &pair[0]);
        Some(Phase { name: named(&pair[0])?, begins, seconds: seconds(&pair[0], &pair[1]) })
    };
    journal.windows(2).filter_map(phase).collect()
}

/// Seconds without a running server: from the stop of the old generation until one was ready, and once more
/// where the probation failed. Absent where no server ran before, while the activation goes on, and where
/// none may run in the end.
pub fn downtime(journal: &[Entry]) -> Option<f64> {
    let (first, last) = (journal.first()?, journal.last()?);
    last.activation.from?;
    last.activation.end().filter(|end| !matches!(end, End::Stuck { .. }))?;
    let committed = |entry: &Entry| entry.activation.end() == Some(&End::Committed);
    let Some(commit) = journal.iter().position(committed) else {
        return Some(seconds(first, last));
    };
    let validating = |entry: &&Entry| entry.activation.state == State::Forward { step: Step::Validate };
    let ready = journal.iter().find(validating)?;
    let again = journal.get(commit + 1).map_or(0.0, |back| seconds(back, last));
    Some(seconds(first, ready) + again)
}

/// A time in which a generation ran, by the clock of the host. Open where nothing is on record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// When it was started last.
    pub from: Option<jiff::Timestamp>,
    /// When it was stopped after that.
    pub until: Option<jiff::Timestamp>,
}

/// When a generation last ran, by the journals of all activations, oldest first. Absent if none started it.
pub fn served<'a>(journals: impl IntoIterator<Item = &'a [Entry]>, id: GenerationId) -> Option<Period> {
    let mut period: Option<Period> = None;
    for entry in journals.into_iter().flatten() {
        match (&entry.activation.state, entry.activation.next()) {
            (_, Some((Step::Start, aim))) if aim == Some(id) => {
                period = Some(Period { from: Some(entry.at), until: None });
            }
            (_, Some((Step::Stop, _))) => {
                if let Some(Period { until: until @ None, .. }) = &mut period {
                    *until = Some(entry.at);
                }
            }
            // An adopted generation was never started by an activation.
            (State::Done { end: End::Committed }, _) if entry.activation.to == id && period.is_none() => {
                period = Some(Period::default());
            }
            _ => {}
        }
    }
    period
}

/// The steps without a running server, of an activation that has a [`downtime`].
pub fn outage(journal: &[Entry]) -> Vec<Phase> {
    let Some(downtime) = downtime(journal) else { return Vec::new() };
    phases(journal).into_iter().filter(|phase| phase.begins < downtime).collect()
}

/// Seconds that a plain restart of `id` takes: its stop in this journal, and its newest start in those of the activations
/// before, which are given newest first. A first start is none: vLLM compiles kernels then, and a restart finds them (219 s
/// and 43 s on one H200). Absent where either is not on record.
pub fn plain_restart(
    journal: &[Entry],
    earlier: impl IntoIterator<Item = impl AsRef<[Entry]>>,
    id: GenerationId,
) -> Option<f64> {
    let stop = phases(journal).into_iter().find(|phase| phase.name == "stop")?.seconds;
    let mut starts = earlier.into_iter().flat_map(|journal| starts(journal.as_ref(), id).into_iter().rev());
    let newest = starts.next()?;
    starts.next().map(|_first| stop + newest)
}

/// Seconds of each start of this generation that ended well.
fn starts(journal: &[Entry], id: GenerationId) -> Vec<f64> {
    let well = |before: &Entry, after: &Entry| before.activation.clone().after(Ok(())) == after.activation;
    let pairs = journal.iter().zip(journal.iter().skip(1));
    pairs
        .filter(|(before, _)| before.activation.next() == Some((Step::Start, Some(id))))
        .filter(|(before, after)| well(before, after))
        .map(|(before, after)| seconds(before, after))
        .collect()
}

/// Seconds from the start of the new generation until it was ready. Absent if it never was.
pub(crate) fn start_up(journal: &[Entry]) -> Option<f64> {
    let at = |wanted: Step| {
        let wanted = State::Forward { step: wanted };
        journal.iter().find(|entry| entry.activation.state == wanted)
    };
    Some(seconds(at(Step::Start)?, at(Step::Validate)?))
}

fn seconds(from: &Entry, to: &Entry) -> f64 {
    let uptime = from.uptime.as_ref().zip(to.uptime.as_ref()).and_then(|(from, to)| to.since(from));
    uptime.unwrap_or_else(|| wall_seconds(from, to))
}

fn wall_seconds(from: &Entry, to: &Entry) -> f64 {
    to.at.duration_since(from.at).as_secs_f64().max(0.0)
}

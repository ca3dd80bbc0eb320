//! One connection: takes runs of pieces and fetches them, piece by piece, whatever goes wrong.

use super::{
    proof::{Follower, Verdict},
    shared::{Fetched, Message, Shared},
};
use crate::{
    domain::{
        digest::Sha256Digest,
        hub::{
            HubError,
            schedule::{Next, Run},
        },
        lockfile::PIECE,
        problem::{Kind, Problem},
    },
    host::{
        event_loop,
        hub::{Ask, BodyStream, Hub, Source, Turns},
    },
};
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{PoisonError, atomic::Ordering, mpsc::Sender},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Bytes that a try must bring to count as progress. A server that always ends early must not be asked
/// for ever.
const PROGRESS: u64 = 256 << 10;
/// How often a complete file may be wrong, each time with its damaged pieces fetched again.
const WRONG_TRIES: usize = 3;
/// A file is refused so many times as often as all together before its source is given up: the others may be served.
const REFUSALS_FOR_ONE: u32 = 4;
/// The longest that a connection without work sleeps before it looks around.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The state of one connection.
struct Connection<'s, 'a> {
    shared: &'s Shared<'a>,
    number: usize,
    messages: &'s Sender<Message>,
    hub: Hub,
    /// An open answer, and the next byte in it.
    open: Option<Answer>,
}

struct Answer {
    flow: BodyStream,
    source: Source,
    file: usize,
    at: u64,
    /// Bytes that came and are not written yet.
    rest: Bytes,
}

/// A piece that is being read: how much of it is written, and its hash, where it is the next to be hashed.
struct Cursor {
    at: u64,
    led: Option<Follower>,
}

/// Works until nothing is left, or all are told to stop.
pub(super) fn run(shared: &Shared<'_>, number: usize, messages: &Sender<Message>) -> Result<(), Problem> {
    let hub = Hub::new(shared.means.settings)?;
    let mut connection = Connection { shared, number, messages, hub, open: None };
    event_loop()?.block_on(connection.work())
}

impl Connection<'_, '_> {
    async fn work(&mut self) -> Result<(), Problem> {
        loop {
            let next = self.shared.schedule().next(self.number);
            match next {
                Next::Run(run) => self.fetch(run).await?,
                Next::Wait => self.wait(),
                Next::End => {
                    self.shared.changed.notify_all();
                    return Ok(());
                }
            }
            if self.shared.stopped().is_err() {
                return Ok(());
            }
        }
    }

    /// Sleeps until something changes.
    fn wait(&self) {
        let schedule = self.shared.schedule();
        let woken = self.shared.changed.wait_timeout(schedule, LOOK_EVERY);
        drop(woken.unwrap_or_else(PoisonError::into_inner));
    }

    async fn fetch(&mut self, run: Run) -> Result<(), Problem> {
        for piece in run.pieces.clone() {
            if self.shared.stopped().is_err() {
                self.shared.schedule().abandon(self.number);
                return Ok(());
            }
            let file = &self.shared.files[run.file];
            let led = if self.is_left(file, piece) {
                None
            } else if let Some(cursor) = self.piece(run.file, piece).await? {
                cursor.led
            } else {
                self.shared.schedule().abandon(self.number);
                return Ok(());
            };
            file.part.mark(piece)?;
            file.proof.follow(&file.part, file.size(), piece, led)?;
            if file.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.conclude(run.file)?;
            }
            if !self.shared.schedule().finished_piece(self.number) {
                break;
            }
        }
        self.open = None;
        Ok(())
    }

    /// Whether an earlier run left this piece. The hash of the whole file shows whether it is right.
    fn is_left(&self, file: &Fetched<'_>, piece: usize) -> bool {
        let left = file.left[piece].swap(false, Ordering::Relaxed);
        if left {
            self.count(bounds(piece, file.size()));
        }
        left
    }

    /// Fetches one piece. Nothing if all are told to stop.
    async fn piece(&mut self, number: usize, piece: usize) -> Result<Option<Cursor>, Problem> {
        let shared = self.shared;
        let file = &shared.files[number];
        let bounds = bounds(piece, file.size());
        let to = self::bounds(self.last_ahead(file, piece), file.size()).end;
        let mut cursor = Cursor { at: bounds.start, led: file.proof.lead(piece) };
        let mut failures = 0;
        loop {
            if !self.hush().await {
                return Ok(None);
            }
            let turns = shared.means.settings.share.turns;
            let Some(asked) = file.source(self.number, turns) else { return Err(given_up(file)) };
            let (before, sent) = (cursor.at, Instant::now());
            let read = self.read(number, asked, &mut cursor, bounds.end, to);
            let ended = tokio::select! {
                ended = read => ended?,
                () = stop(shared) => return Ok(None),
            };
            if cursor.at > before {
                shared.quiet().answered();
            }
            let Err(fault) = ended else { return Ok(Some(cursor)) };
            self.open = None;
            failures = if cursor.at >= before + PROGRESS { 1 } else { failures + 1 };
            if matches!(fault, HubError::NoPart(_)) && !file.no_parts.swap(true, Ordering::Relaxed) {
                // All of the file is asked for from now on.
                continue;
            }
            match self.leave_alone(file, &fault, sent, failures) {
                Some(true) => continue,
                Some(false) => failures = shared.means.settings.patience.tries,
                None => {}
            }
            if !self.bear(file, asked, &fault, &mut failures).await? {
                return Ok(None);
            }
        }
    }

    /// The last piece of one request: up to where another connection may take over, or an earlier run left
    /// something.
    fn last_ahead(&self, file: &Fetched<'_>, piece: usize) -> usize {
        let end = self.shared.schedule().ahead(self.number).end;
        let wanted = |next: &usize| !file.left[*next].load(Ordering::Relaxed);
        (piece + 1..end).take_while(wanted).last().unwrap_or(piece)
    }

    /// Waits while the hub wants to be left alone. Whether to go on then.
    async fn hush(&self) -> bool {
        loop {
            let left = self.shared.quiet().left(Instant::now());
            if left.is_zero() {
                return self.shared.stopped().is_ok();
            }
            tokio::select! {
                () = sleep(left) => {}
                () = stop(self.shared) => return false,
            }
        }
    }

    /// Where the hub wants to be left alone: lets all connections wait. Whether to go on then; nothing for any other
    /// fault.
    fn leave_alone(
        &self,
        file: &Fetched<'_>,
        fault: &HubError,
        sent: Instant,
        failures: u32,
    ) -> Option<bool> {
        let HubError::NotNow { status: 429 | 503, retry_after } = fault else { return None };
        let patience = self.shared.means.settings.patience;
        if failures >= patience.tries * REFUSALS_FOR_ONE {
            return Some(false);
        }
        let mut quiet = self.shared.quiet();
        let (now, before) = (Instant::now(), quiet.left(Instant::now()));
        let goes_on = quiet.refused(sent, now, |refused| {
            let pause = patience.pause(refused, *retry_after, fastrand::f64());
            pause.filter(|_| refused < patience.tries)
        });
        let left = quiet.left(now);
        drop(quiet);
        if goes_on && before.is_zero() {
            let path = file.wanted.file.path.display();
            self.tell(format!("`{path}`: {fault}; all wait {:.1} s", left.as_secs_f64()));
        }
        Some(goes_on)
    }

    /// After a fault: pauses, or turns to another source. A problem where there is none. Returns whether
    /// to go on.
    async fn bear(
        &self,
        file: &Fetched<'_>,
        asked: usize,
        fault: &HubError,
        failures: &mut u32,
    ) -> Result<bool, Problem> {
        let patience = self.shared.means.settings.patience;
        let pause = patience.pause(*failures, fault.retry_after(), fastrand::f64());
        let path = file.wanted.file.path.display();
        if let Some(pause) = pause.filter(|_| fault.passes() && *failures < patience.tries) {
            // The first failure of its kind is not reported.
            if *failures > 1 || fault.retry_after().is_some() {
                self.tell(format!("`{path}`: {fault}; again in {:.1} s", pause.as_secs_f64()));
            }
            return tokio::select! {
                () = sleep(pause) => Ok(true),
                () = stop(self.shared) => Ok(false),
            };
        }
        let sources = &file.wanted.sources;
        // Another connection may have turned away from it already.
        let is_news = file.give_up(asked);
        let turns = self.shared.means.settings.share.turns;
        let Some(next) = file.source(self.number, turns) else { return Err(nowhere(file, fault)) };
        *failures = 0;
        self.shared.quiet().answered();
        if is_news {
            let (from, next) = (&sources[asked].repo, &sources[next].repo);
            self.tell(format!("`{path}` of `{from}`: {fault}; from `{next}` instead"));
        }
        Ok(true)
    }

    /// Reads from the cursor to `end`, where a piece ends; what is asked for goes on to `to`.
    async fn read(
        &mut self,
        number: usize,
        asked: usize,
        cursor: &mut Cursor,
        end: u64,
        to: u64,
    ) -> Result<Result<(), HubError>, Problem> {
        let shared = self.shared;
        let file = &shared.files[number];
        let source = &file.wanted.sources[asked];
        let fits = |open: &Answer| open.file == number && open.at == cursor.at && open.source == *source;
        if !self.open.as_ref().is_some_and(fits) {
            self.open = None;
            let wanted = &file.wanted.file;
            let ask = if file.no_parts.load(Ordering::Relaxed) { Ask::Whole } else { Ask::Part };
            let flow = self.hub.open(source, &wanted.path, cursor.at..to, wanted.size, ask).await;
            match flow {
                Ok(flow) => {
                    self.open = Some(Answer {
                        flow,
                        source: source.clone(),
                        file: number,
                        at: cursor.at,
                        rest: Bytes::new(),
                    });
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let Some(open) = &mut self.open else { return Ok(Ok(())) };
        while cursor.at < end {
            let bytes = match open.next(end - cursor.at).await {
                Ok(bytes) => bytes,
                Err(fault) => return Ok(Err(fault)),
            };
            if bytes.is_empty() {
                return Ok(Err(HubError::Cut("fewer bytes than announced".to_owned())));
            }
            if let Some(led) = &mut cursor.led {
                led.hash(&bytes);
            }
            file.part.write(&bytes, cursor.at)?;
            cursor.at += bytes.len() as u64;
            let wait = shared.take(bytes.len() as u64);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        Ok(Ok(()))
    }

    /// Ends a file whose pieces are all there: hands it over, or fetches the wrong pieces again.
    fn conclude(&self, number: usize) -> Result<(), Problem> {
        let file = &self.shared.files[number];
        let (found, wrong) = match file.proof.conclude(&file.part, file.size())? {
            Verdict::Right => {
                file.part.close();
                let _over = self.messages.send(Message::Whole(number));
                return Ok(());
            }
            Verdict::Wrong(found, wrong) => (found, wrong),
            Verdict::Contradicted(found) => {
                file.part.unmark(0..file.left.len())?;
                return Err(contradicted(file, found));
            }
        };
        let fault = HubError::Changed(format!("it has sha256 {found}"));
        let tries = file.wrong.fetch_add(1, Ordering::Relaxed) + 1;
        file.part.unmark(wrong.iter().copied())?;
        for piece in &wrong {
            self.uncount(&bounds(*piece, file.size()));
        }
        // Where all were asked at once, none is to blame yet.
        let blameless = usize::from(self.shared.means.settings.share.turns == Turns::AtOnce);
        if tries >= WRONG_TRIES.max(file.wanted.sources.len()) + blameless {
            return Err(nowhere(file, &fault));
        }
        if tries > blameless {
            file.turn_away();
        }
        let path = file.wanted.file.path.display();
        let what = match (wrong.as_slice(), file.left.len()) {
            (all, count) if all.len() == count => "all of it".to_owned(),
            ([piece], _) => format!("piece {piece}"),
            (some, count) => format!("{} of its {count} pieces", some.len()),
        };
        self.tell(format!("`{path}`: {fault}; fetching {what} again"));
        file.missing.store(wrong.len(), Ordering::Release);
        for run in wrong.chunk_by(|one, next| one + 1 == *next) {
            self.shared.schedule().again(Run { file: number, pieces: run[0]..run[0] + run.len() });
        }
        self.shared.changed.notify_all();
        Ok(())
    }

    fn count(&self, bytes: Range<u64>) {
        self.shared.bytes.fetch_add(bytes.end - bytes.start, Ordering::Relaxed);
    }

    fn uncount(&self, bytes: &Range<u64>) {
        self.shared.bytes.fetch_sub(bytes.end - bytes.start, Ordering::Relaxed);
    }

    fn tell(&self, text: String) {
        let _over = self.messages.send(Message::Trouble(text));
    }
}

impl Answer {
    /// The next bytes, at most `most`; none at the end.
    async fn next(&mut self, most: u64) -> Result<Bytes, HubError> {
        if self.rest.is_empty() {
            self.rest = self.flow.next().await?.unwrap_or_default();
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.rest.len());
        let bytes = self.rest.split_to(length);
        self.at += length as u64;
        Ok(bytes)
    }
}

/// Waits until all are told to stop.
async fn stop(shared: &Shared<'_>) {
    while shared.stopped().is_ok() {
        sleep(LOOK_EVERY).await;
    }
}

/// The bytes of a piece.
fn bounds(piece: usize, size: u64) -> Range<u64> {
    let start = piece as u64 * PIECE.0;
    start..size.min(start + PIECE.0)
}

/// The problem of a connection that comes to a file after others have given up all of its sources.
fn given_up(file: &Fetched<'_>) -> Problem {
    nowhere(file, &HubError::Missing)
}

fn nowhere(file: &Fetched<'_>, fault: &HubError) -> Problem {
    let path = file.wanted.file.path.display();
    let from: Vec<String> = file.wanted.sources.iter().map(|source| format!("`{}`", source.repo)).collect();
    Problem::new(Kind::Unverified, format!("cannot fetch `{path}` from {}", from.join(", ")))
        .because(fault.clone())
        .help(fault.help())
}

/// The problem of a lock that contradicts itself. Only an edited lock does: file and pieces were once hashed
/// from the same bytes.
fn contradicted(file: &Fetched<'_>, found: Sha256Digest) -> Problem {
    let path = file.wanted.file.path.display();
    Problem::new(Kind::Unverified, format!("the lock contradicts itself about `{path}`"))
        .because(format!("a file of its pieces has sha256 {found}, and not the one that was locked"))
        .help("undo the last edit of the lock, or make it anew: `awqdeploy lock PROFILE`")
}

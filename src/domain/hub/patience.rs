//! Decides how long to wait for a hub: by its own wishes, and without any.

use crate::domain::size::ByteSize;
use jiff::fmt::rfc2822;
use std::time::{Duration, Instant};

/// How long `Retry-After` asks to wait (RFC 9110, 10.2.3): seconds, or until a date. A date is compared with
/// the hub's own `Date`, so that no two clocks need agree; without that it is ignored.
pub fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| rfc2822::parse(text.trim()).ok().map(|moment| moment.timestamp());
    let wait = moment(text)?.duration_since(moment(date?)?);
    // A time that is past already: now.
    Some(wait.try_into().unwrap_or_default())
}

/// How long `RateLimit` asks to wait: `"resolvers";r=0;t=25`, where `r` requests are left for `t` seconds (IETF
/// draft-ietf-httpapi-ratelimit-headers, as the Hugging Face hub sends it). The longest of all limits that are used up.
pub(crate) fn rate_limit(text: &str) -> Option<Duration> {
    let limit = |limit: &str| {
        let value = |name: &str| {
            let mut parameters = limit.split(';').filter_map(|parameter| parameter.trim().split_once('='));
            parameters
                .find_map(|(key, value)| (key.trim() == name).then(|| value.trim().parse::<u64>().ok()))?
        };
        (value("r")? == 0).then(|| value("t").map(Duration::from_secs))?
    };
    text.split(',').filter_map(limit).max()
}

/// The limits of a download: tries, pauses and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries without any progress before giving up.
    pub tries: u32,
    /// The pause after the first failure; it doubles with each.
    pub first_pause: Duration,
    /// The longest pause of our own.
    pub longest_pause: Duration,
    /// The longest that a hub may ask us to wait.
    pub longest_asked: Duration,
    /// The longest wait for a connection.
    pub connect: Duration,
    /// The longest time without a byte.
    pub silence: Duration,
    /// The longest that a whole answer, or a whole listing with all its pages, may take.
    pub whole: Duration,
    /// Over how long a rate is taken…
    pub slow_after: Duration,
    /// … and below how many bytes a second the connection is given up for a new one.
    pub slow_below: ByteSize,
}

impl Patience {
    /// The limits for the Internet.
    pub const DEFAULT: Self = Self {
        tries: 6,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(30),
        longest_asked: Duration::from_mins(5),
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(30),
        whole: Duration::from_mins(2),
        slow_after: Duration::from_mins(1),
        slow_below: ByteSize(4 << 10),
    };

    /// How long to wait after so many failures in a row, at least 1. Never less than the hub asked for, nor than what
    /// doubles from the first pause: a hub that says "now" says it to all at once. `random` in [0, 1) spreads many
    /// clients out. Nothing where the hub asks for more than is sensible.
    pub fn pause(&self, failures: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        let random = random.clamp(0.0, 1.0);
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let own = doubled.min(self.longest_pause).mul_f64(1.0 - random / 2.0);
        let Some(asked) = asked else { return Some(own) };
        let spread = self.first_pause.mul_f64(random);
        (asked <= self.longest_asked).then(|| own.max(asked + spread))
    }
}

/// The pause that a hub asked for. It counts for all connections to the hub.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    /// The beginning and the end of the pause.
    pause: Option<(Instant, Instant)>,
    /// Refusals in a row. Those of requests that were under way together count once.
    refused: u32,
}

impl Quiet {
    /// The rest of the pause.
    pub fn left(&self, now: Instant) -> Duration {
        self.pause.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now))
    }

    /// Records an answer.
    pub fn answered(&mut self) {
        self.refused = 0;
    }

    /// A request that was `sent` then was refused `now`. `pause` says how long to wait after so many refusals in a row:
    /// nothing if that is enough. Returns whether to go on.
    pub fn refused(
        &mut self,
        sent: Instant,
        now: Instant,
        pause: impl FnOnce(u32) -> Option<Duration>,
    ) -> bool {
        let is_news = self.pause.is_none_or(|(since, _)| sent >= since);
        let refused = self.refused + u32::from(is_news);
        let Some(pause) = pause(refused) else { return false };
        self.refused = refused;
        let until = self.pause.map_or(now, |(_, until)| until).max(now + pause);
        self.pause = Some((if is_news { now } else { self.pause.map_or(now, |(since, _)| since) }, until));
        true
    }
}

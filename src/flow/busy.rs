//! How busy this host is, by what it makes of a pause: whoever is played to measures with the same clock.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// Pauses that are looked at, and how long each is to be.
const PAUSES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);
/// So late after a pause no one is on an idle host, which is late by a tenth of this.
const NOTABLE: Duration = Duration::from_millis(1);
/// Nothing is waited for so many times longer than on an idle host.
const MOST: f64 = 30.0;

/// How late one is after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    late: Duration,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = self.late.as_secs_f64() * 1000.0;
        write!(f, "a pause of {} ms ends {late:.1} ms late", PAUSE.as_millis())
    }
}

impl Busy {
    /// Looks for a tenth of a second, or for as long as a busy host makes of it.
    pub(super) fn look() -> Self {
        let began = Instant::now();
        (0..PAUSES).for_each(|_| thread::sleep(PAUSE));
        Self { late: began.elapsed().saturating_sub(PAUSE * PAUSES) / PAUSES }
    }

    /// Whether it is so busy that speeds say little.
    pub(super) fn is_notable(self) -> bool {
        self.late > NOTABLE
    }

    /// The busier of the two.
    pub(super) fn or(self, other: Self) -> Self {
        Self { late: self.late.max(other.late) }
    }

    /// How long to wait here for what takes so long at most on an idle host.
    pub(super) fn patience(self, idle: Duration) -> Duration {
        let times = 1.0 + self.late.as_secs_f64() / NOTABLE.as_secs_f64();
        idle.mul_f64(times.min(MOST))
    }
}

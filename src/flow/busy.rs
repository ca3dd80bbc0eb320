//! Measures how busy this host is, by how late a pause ends: programs in a rehearsal measure with the same
//! clock.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// The number of pauses, and the length of each.
const PAUSES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);
/// The lateness that is notable. On an idle host it is a tenth of this.
const NOTABLE: Duration = Duration::from_millis(1);
/// The greatest factor by which waits are lengthened.
const MOST: f64 = 30.0;

/// The lateness after a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    late: Duration,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = self.late.as_secs_f64() * 1000.0;
        write!(f, "a pause of {} ms ends {late:.1} ms late", PAUSE.as_millis())
    }
}

impl Busy {
    /// Measures for a tenth of a second, or longer on a busy host.
    pub(crate) fn look() -> Self {
        let began = Instant::now();
        (0..PAUSES).for_each(|_| thread::sleep(PAUSE));
        Self { late: began.elapsed().saturating_sub(PAUSE * PAUSES) / PAUSES }
    }

    /// Whether the host is so busy that speeds say little.
    pub(super) fn is_notable(self) -> bool {
        self.late > NOTABLE
    }

    /// The busier of the two.
    pub(super) fn or(self, other: Self) -> Self {
        Self { late: self.late.max(other.late) }
    }

    /// The wait on this host for something that takes so long at most on an idle one.
    pub(super) fn patience(self, idle: Duration) -> Duration {
        let times = 1.0 + self.late.as_secs_f64() / NOTABLE.as_secs_f64();
        idle.mul_f64(times.min(MOST))
    }
}

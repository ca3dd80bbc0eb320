//! The uptime of this host: the clock that nobody sets.

use crate::domain::activation::journal::Uptime;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The name of this boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The uptime now. Without a name where the kernel has none for its boot.
pub(crate) fn now() -> Uptime {
    let boot = std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned();
    Uptime { boot, seconds: seconds() }
}

/// Seconds since the boot, sleep included.
pub(crate) fn seconds() -> f64 {
    read(ClockId::Boottime).as_secs_f64()
}

/// The clock by which systemd tells when something happened: sleep is not counted.
pub(in crate::host) fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let whole = Duration::from_secs(now.tv_sec.try_into().unwrap_or_default());
    let part = Duration::from_nanos(now.tv_nsec.try_into().unwrap_or_default());
    whole + part
}

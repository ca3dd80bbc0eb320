//! Decides how long connections wait, so that all together keep below a rate.

use crate::domain::size::ByteSize;
use std::time::{Duration, Instant};

/// The rate that all connections of a fetch share.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Bytes a second, at least 1.
    rate: u64,
    /// When all bytes that came so far have had their time.
    free: Option<Instant>,
}

impl Throttle {
    /// A rate in bytes a second.
    pub fn new(rate: ByteSize) -> Self {
        Self { rate: rate.0.max(1), free: None }
    }

    /// Counts bytes that came now. Returns how long their reader is to wait before it goes on.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let free = self.free.map_or(now, |free| free.max(now));
        let free = free + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.free = Some(free);
        free.saturating_duration_since(now)
    }
}

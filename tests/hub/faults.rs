//! Faults on the way, switched per path and per request.

use std::time::Duration;

/// One way to go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status instead of the file; 429 and 503 may say how many seconds to wait.
    Status { status: u16, retry_after: Option<u64> },
    /// 503 until a date, which is so many seconds away by the hub's clock.
    Closed { seconds: i64 },
    /// The connection ends after so many bytes of the body: with FIN from the hub, with RST from the CDN.
    Cut { after: u64 },
    /// The byte at this place of the file is another one.
    Flip { at: u64 },
    /// The file is said to be, and is, this many bytes shorter.
    Shorter { by: u64 },
    /// So many bytes, a pause, so many bytes.
    Drip { bytes: usize, every: Duration },
    /// So many bytes, then nothing, with the connection open.
    Stall { after: u64 },
    /// The whole file, whatever range was asked for.
    WholeFile,
    /// A range is answered in an odd way, and the whole file as it should be.
    Ranges(Odd),
    /// 429, with when to come again as Hugging Face says it.
    RateLimit { seconds: u64 },
    /// The file coded by gzip, which was not asked for.
    Coded,
    /// On `next`: the link to the next page names no host.
    Relative,
}

/// How a hub, or a proxy before it, may answer a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// The range, as if it were the whole: 200.
    Slice,
    /// 206 without a `Content-Range`.
    Unnamed,
    /// 206 with `bytes A-B/*`.
    Lengthless,
    /// 206 with the first bytes of the file, and so named.
    Elsewhere,
    /// 416.
    Refused,
}

/// On which requests for the file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// Only on this one.
    Nth(u64),
    /// On these and all before.
    First(u64),
}

/// A fault, and where it lies in wait.
#[derive(Clone, Debug)]
pub(super) struct Trap {
    /// `owner/name`; every repository if empty.
    pub(super) repo: String,
    /// A file's path.
    pub(super) path: String,
    pub(super) fault: Fault,
    pub(super) when: When,
    pub(super) seen: u64,
}

impl Trap {
    /// Counts a request for this file; the fault if it strikes.
    pub(super) fn spring(&mut self, repo: &str, path: &str) -> Option<Fault> {
        if path != self.path || !(self.repo.is_empty() || self.repo == repo) {
            return None;
        }
        self.seen += 1;
        let strikes = match self.when {
            When::Always => true,
            When::Nth(nth) => self.seen == nth,
            When::First(last) => self.seen <= last,
        };
        strikes.then(|| self.fault.clone())
    }
}

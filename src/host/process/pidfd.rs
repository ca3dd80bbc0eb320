//! Identifies one process among all of the same number, and signals it or nobody.

use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process at the moment when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessHandle {
    pid: Pid,
    /// The time of its start, in clock ticks since the boot.
    started: u64,
}

impl ProcessHandle {
    /// The process with this number that started then.
    pub(crate) fn started_at(pid: i32, started: u64) -> Option<Self> {
        let pid = Pid::from_raw(pid).filter(|_| pid > 0)?;
        Some(Self { pid, started })
    }

    /// The number.
    pub(crate) fn pid(self) -> Pid {
        self.pid
    }

    /// Sends a signal. A process that is gone gets none, and neither does its successor in the number: its
    /// start is checked again once a descriptor holds it.
    pub(crate) fn signal(self, signal: Signal) {
        let Ok(held) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        let now = Process::new(self.pid.as_raw_nonzero().get()).and_then(|process| process.stat());
        if now.is_ok_and(|now| now.starttime == self.started) {
            // A process that is gone by now is what is wanted.
            let _gone = pidfd_send_signal(&held, signal);
        }
    }
}

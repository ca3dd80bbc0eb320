//! One process, told from any later one of the same number, and signals that reach it or nobody.

use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessHandle {
    pid: Pid,
    /// When it started, in clock ticks since the boot.
    started: u64,
}

impl ProcessHandle {
    /// The process with this number that started then.
    pub(crate) fn started_at(pid: i32, started: u64) -> Option<Self> {
        let pid = Pid::from_raw(pid).filter(|_| pid > 0)?;
        Some(Self { pid, started })
    }

    /// Its number.
    pub(crate) fn pid(self) -> Pid {
        self.pid
    }

    /// Sends it a signal. One that is gone already hears nothing, and neither does its successor in the number: who it
    /// is, is asked again once a descriptor holds it.
    pub(crate) fn signal(self, signal: Signal) {
        let Ok(held) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        let now = Process::new(self.pid.as_raw_nonzero().get()).and_then(|process| process.stat());
        if now.is_ok_and(|now| now.starttime == self.started) {
            // Gone by now is what is wanted.
            let _gone = pidfd_send_signal(&held, signal);
        }
    }
}

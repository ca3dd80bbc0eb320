//! A full disk, by the limit that the kernel puts on the size of a process's files: a write ends in the middle, and
//! the next one fails.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::{consts::SIGXFSZ, flag};
use std::sync::{Arc, Once, atomic::AtomicBool};

/// No file of this process grows beyond so many bytes from now on; or as far as it likes.
pub(crate) fn limit(bytes: Option<u64>) {
    static HEARD: Once = Once::new();
    // Unheard, the signal that comes with it ends the process.
    HEARD.call_once(|| {
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).expect("the signal can be heard");
    });
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).expect("the limit can be set");
}

/// Does what another process does, which has room.
pub(crate) fn elsewhere<T>(act: impl FnOnce() -> T) -> T {
    let Rlimit { current, .. } = getrlimit(Resource::Fsize);
    limit(None);
    let done = act();
    limit(current);
    done
}

//! The host's journal.

use crate::domain::generation::notice::Notice;
use std::{os::unix::net::UnixDatagram, time::Duration};

/// The socket at which systemd's journal takes entries with fields of their own.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest wait for an overwhelmed journal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the journal, if there is one. The end of an activation does not depend on it.
pub(crate) fn tell(notice: &Notice) {
    let _unheard = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to(&notice.datagram(), SOCKET)
    });
}

//! The host's journal.

use crate::domain::generation::notice::Notice;
use std::{os::unix::net::UnixDatagram, time::Duration};

/// Where systemd's journal takes entries with fields of their own.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal that is overwhelmed may hold up what it is told of.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the journal, if there is one. What ends an activation does not depend on who hears of it.
pub(crate) fn tell(notice: &Notice) {
    let _unheard = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to(&notice.datagram(), SOCKET)
    });
}

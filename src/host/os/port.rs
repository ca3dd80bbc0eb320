//! The port that the service listens on, and who holds it.

use super::watchdog;
use crate::domain::{
    problem::{Kind, Problem},
    profile::Listen,
};
use procfs::{net::TcpState, process::FDTarget};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

/// How long the port of a stopped service may stay taken.
const FREE_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A problem that names the holder if something listens on the port.
pub(crate) fn free(listen: Listen) -> Result<(), Problem> {
    let address = SocketAddr::new(listen.host, listen.port);
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            let who = holder(address).unwrap_or_else(|| "another process".to_owned());
            Err(Problem::new(Kind::Refused, format!("port {} is in use by {who}", listen.port))
                .help("stop it (and disable its unit, if it has one), or give the profile another `port`"))
        }
        Err(e) => Err(Problem::new(Kind::Refused, format!("`{address}` cannot be listened on"))
            .because(e)
            .help("correct `host` and `port` in the profile's `[listen]`")),
    }
}

/// Waits for a stopped service to let go of its port.
pub(crate) fn wait_until_free(listen: Listen) -> Result<(), Problem> {
    let began = Instant::now();
    loop {
        match free(listen) {
            Err(_) if began.elapsed() < FREE_PATIENCE => watchdog::pause(LOOK_EVERY),
            outcome => return outcome,
        }
    }
}

/// The process that listens on an address, as far as this process may know: "`nginx` (process 123)".
fn holder(address: SocketAddr) -> Option<String> {
    let sockets = [procfs::net::tcp(), procfs::net::tcp6()];
    let inode = sockets
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| {
            let local = entry.local_address;
            let same_host =
                local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified();
            entry.state == TcpState::Listen && local.port() == address.port() && same_host
        })?
        .inode;
    for process in procfs::process::all_processes().ok()?.flatten() {
        let Ok(files) = process.fd() else { continue };
        if files.flatten().any(|file| file.target == FDTarget::Socket(inode)) {
            let name = process.stat().ok()?.comm;
            return Some(format!("`{name}` (process {})", process.pid));
        }
    }
    None
}

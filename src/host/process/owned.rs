//! Which processes count as a service's own, and whether a connection leads to one of them.

use super::{control_group::ControlGroup, process_tree};
use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process},
};
use rustix::process::{Pid, getpid};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// Whose processes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedProcesses {
    /// Those of a unit's control group.
    Group(ControlGroup),
    /// This process and all that descends from it.
    Ours,
    /// A process and all that descends from it.
    Family(i32),
    /// Nobody's: the service has none now.
    Nobody,
    /// Anybody's: whose sockets those of another user's service are, only root sees.
    Anybody,
}

impl OwnedProcesses {
    /// Their numbers.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let pids = match self {
            Self::Group(group) => group.processes(),
            Self::Ours => family(getpid()),
            Self::Family(pid) => Pid::from_raw(*pid).filter(|_| *pid > 0).map(family).unwrap_or_default(),
            Self::Nobody | Self::Anybody => Vec::new(),
        };
        pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect()
    }

    /// Proves that the other end of a connection on this host is theirs: that one of them accepted it, or, where nobody
    /// has yet, that nobody else listens there. What they share with a service manager, which may have opened the
    /// socket for them, is theirs.
    ///
    /// # Errors
    /// Who it is instead.
    pub fn hold(&self, ours: SocketAddr, theirs: SocketAddr) -> Result<(), String> {
        if *self == Self::Anybody {
            return Ok(());
        }
        let (ours, theirs) = (canonical(ours), canonical(theirs));
        // Listeners first: one that came after the connection was made cannot have it, one that went away took what it had
        // not accepted along.
        let sockets = sockets();
        let listens = |entry: &&TcpNetEntry| {
            let local = canonical(entry.local_address);
            let reached = local.ip().is_unspecified() || local.ip() == theirs.ip();
            entry.state == TcpState::Listen && local.port() == theirs.port() && reached
        };
        let listeners: BTreeSet<u64> = sockets.iter().filter(listens).map(|entry| entry.inode).collect();
        let accepted = sockets.iter().find(|entry| {
            canonical(entry.local_address) == theirs && canonical(entry.remote_address) == ours
        });
        let inodes = match accepted.map(|entry| entry.inode) {
            Some(inode) if inode != 0 => BTreeSet::from([inode]),
            _ => listeners,
        };
        let held = self.held(&inodes);
        match inodes.iter().find(|inode| !held.contains(inode)) {
            None if !inodes.is_empty() => Ok(()),
            None => Err("nobody listens there any more".to_owned()),
            Some(foreign) => Err(format!("{} listens there, which is not the service", holder(*foreign))),
        }
    }

    /// Which of these sockets one of them has open.
    fn held(&self, inodes: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut held = BTreeSet::new();
        for pid in self.processes() {
            if held.len() == inodes.len() {
                break;
            }
            let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
            held.extend(process.iter().flat_map(open_sockets).filter(|inode| inodes.contains(inode)));
        }
        held
    }
}

/// The process that has this socket open, as far as this one may know: "`nginx` (process 123)".
pub(crate) fn holder(inode: u64) -> String {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let found = all.into_iter().find(|process| open_sockets(process).contains(&inode));
    let named =
        found.and_then(|process| Some(format!("`{}` (process {})", process.stat().ok()?.comm, process.pid)));
    named.unwrap_or_else(|| "another process".to_owned())
}

fn open_sockets(process: &Process) -> Vec<u64> {
    let files = process.fd().into_iter().flatten().flatten();
    files
        .filter_map(|file| if let FDTarget::Socket(inode) = file.target { Some(inode) } else { None })
        .collect()
}

/// Listeners come before everything else in these lists.
fn sockets() -> Vec<TcpNetEntry> {
    [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten().collect()
}

/// IPv4 as such where a socket of IPv6 serves it too.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V6(ip) => ip.to_canonical(),
        v4 @ IpAddr::V4(_) => v4,
    };
    SocketAddr::new(ip, address.port())
}

fn family(first: Pid) -> Vec<i32> {
    let below = process_tree::descendants_of(first).unwrap_or_default();
    std::iter::once(first).chain(below).map(|pid| pid.as_raw_nonzero().get()).collect()
}

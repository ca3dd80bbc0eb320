//! Finds the processes of a service, and whether a connection leads to one of them.

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

/// The processes that count as a service's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedProcesses {
    /// The processes of a unit's control group.
    Group(ControlGroup),
    /// This process and all that descends from it.
    Ours,
    /// A process and all that descends from it.
    Family(i32),
    /// None: the service has none now.
    Nobody,
    /// Any: only root sees whose sockets those of another user's service are.
    Anybody,
}

impl OwnedProcesses {
    /// The numbers of the processes.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let pids = match self {
            Self::Group(group) => group.processes(),
            Self::Ours => family(getpid()),
            Self::Family(pid) => Pid::from_raw(*pid).filter(|_| *pid > 0).map(family).unwrap_or_default(),
            Self::Nobody | Self::Anybody => Vec::new(),
        };
        pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect()
    }

    /// Proves that these processes hold the other end of a connection on this host: that one of them accepted
    /// it, or, where nobody has yet, that nobody else listens there. A socket shared with a service manager,
    /// which may have opened it for them, counts as theirs.
    ///
    /// # Errors
    /// Who it is instead.
    pub fn hold(&self, ours: SocketAddr, theirs: SocketAddr) -> Result<(), String> {
        if *self == Self::Anybody {
            return Ok(());
        }
        let (ours, theirs) = (canonical(ours), canonical(theirs));
        // Listeners first: one that came after the connection cannot have it, and one that went away took
        // unaccepted connections along.
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

    /// The sockets of these that one of the processes has open.
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

/// All sockets. Listeners come before everything else in these lists.
fn sockets() -> Vec<TcpNetEntry> {
    [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten().collect()
}

/// The address as IPv4, where a socket of IPv6 serves it too.
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

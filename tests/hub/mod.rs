//! A hub on loopback: the part of the Hugging Face hub's HTTP interface that clients need to download a
//! model, with faults to switch on. `hf` itself is a client in `tests/it/models/interop.rs`, so that what is
//! imitated here is not only what we believe.
//!
//! Two ports, as in life: the hub, which knows names and tokens, and the "CDN" that it redirects large
//! files to, which must never see a token.

#![allow(dead_code, reason = "each program that includes this uses a part")]

mod content;
mod faults;
mod serve;

#[allow(unused_imports, reason = "the program `hub` takes its files from a folder")]
pub(crate) use content::{Entry, Repo};
#[allow(unused_imports, reason = "the program `hub` has no tests of its own")]
pub(crate) use faults::{Fault, Odd, When};

use faults::Trap;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// A running hub. It ends with its owner.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Whether it came to the CDN's port.
    pub(crate) cdn: bool,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

/// How large files are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// By a redirect to the other port, as the real hub does.
    #[default]
    Cdn,
    /// By the hub itself.
    Direct,
}

pub(crate) struct Shared {
    hub: SocketAddr,
    cdn: SocketAddr,
    delivery: Delivery,
    /// Bytes of files handed to connections.
    sent: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<String, Repo>,
    traps: Vec<Trap>,
    seen: Vec<Seen>,
    /// Entries on one page of a listing.
    page: usize,
}

impl Hub {
    /// Starts a hub on two free ports with this repository.
    pub(crate) fn start(name: &str, repo: Repo) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Delivery::Cdn, name, repo)
    }

    /// Starts a hub at this address.
    pub(crate) fn start_at(address: SocketAddr, delivery: Delivery, name: &str, repo: Repo) -> Self {
        let bind = |address| {
            let listener = std::net::TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let (hub, cdn) = (bind(address), bind(SocketAddr::new(address.ip(), 0)));
        let state =
            State { page: 1000, repos: BTreeMap::from([(name.to_owned(), repo)]), ..State::default() };
        let shared = Arc::new(Shared {
            hub: hub.local_addr().unwrap(),
            cdn: cdn.local_addr().unwrap(),
            delivery,
            sent: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve::both(hub, cdn, serving) => {}
                    _ = stopped => {}
                }
            });
            // A body that stalls must not keep the hub alive.
            runtime.shutdown_background();
        });
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The value for `HF_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Adds a repository, or puts another one in its place.
    pub(crate) fn put(&self, name: &str, repo: Repo) {
        self.state().repos.insert(name.to_owned(), repo);
    }

    /// Changes a repository.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Repo)) {
        change(self.state().repos.get_mut(name).unwrap());
    }

    /// Takes a repository away.
    pub(crate) fn remove(&self, name: &str) {
        self.state().repos.remove(name);
    }

    /// Lists so many files a page.
    pub(crate) fn page(&self, entries: usize) {
        self.state().page = entries;
    }

    /// Lets something go wrong with a file of every repository.
    pub(crate) fn trap(&self, path: &str, fault: Fault, when: When) {
        self.trap_in("", path, fault, when);
    }

    /// Lets something go wrong with a file of one repository. The path `tree` is its listing, `revision`
    /// its commit.
    pub(crate) fn trap_in(&self, repo: &str, path: &str, fault: Fault, when: When) {
        let (repo, path) = (repo.to_owned(), path.to_owned());
        self.state().traps.push(Trap { repo, path, fault, when, seen: 0 });
    }

    /// As [`Hub::trap`], before all others.
    pub(crate) fn trap_first(&self, path: &str, fault: Fault, when: When) {
        let (repo, path) = (String::new(), path.to_owned());
        self.state().traps.insert(0, Trap { repo, path, fault, when, seen: 0 });
    }

    /// Nothing goes wrong any more.
    pub(crate) fn mend(&self) {
        self.state().traps.clear();
    }

    /// The requests since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    /// Bytes of files handed out since the last call.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.swap(0, Ordering::Relaxed)
    }

    /// The first of the requests since the last call for a file's content.
    pub(crate) fn downloads(&self) -> Vec<Seen> {
        let content = |seen: &Seen| seen.method == "GET" && seen.path.contains("/resolve/") && !seen.cdn;
        self.seen().into_iter().filter(content).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the hub panicked");
        }
    }
}

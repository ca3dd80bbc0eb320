//! Fetching from a hub that goes wrong in every way that hubs were seen to.

mod bad_input;
mod faults;
mod kill_loop;
pub(crate) mod killed;
mod locking;
mod odd_hubs;
mod own_authority;
mod repairing;

use super::{
    hub::{Entry, Hub, Repo},
    scratch::tempdir,
    stand::{FOREVER, patiently},
};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::Sha256Digest,
        hub::Patience,
        lockfile::{LockedModel, PIECE},
        problem::Problem,
        size::ByteSize,
        store::layout::{Layout, Scope},
    },
    flow::{
        context::{Context, Engine, Estimates, Executor, ServiceManager},
        event::Event,
        models::{
            fetch::{self, Fetched},
            lock,
        },
    },
    host::{
        hub::{Reach, Settings, Share},
        os::signals::Interrupt,
        profiles::ProfileLibrary,
        store::Store,
    },
};
use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::LazyLock,
    time::Duration,
};
use tempfile::TempDir;

/// The repository of these tests.
pub(crate) const REPO: &str = "owner/model";
/// Two pieces and a bit, so that there are a first, a middle and a last.
pub(crate) const LARGE: &str = "model-00001-of-00002.safetensors";
/// One piece.
pub(crate) const SMALL: &str = "model-00002-of-00002.safetensors";

/// Bytes that no two places of a file share.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

/// A model in six files, of 21 MB.
pub(crate) fn model() -> Repo {
    static MODEL: LazyLock<Repo> = LazyLock::new(make_model);
    MODEL.clone()
}

fn make_model() -> Repo {
    let piece = usize::try_from(PIECE.0).unwrap();
    let files = [
        (".gitattributes", b"*.safetensors filter=lfs\n".to_vec()),
        ("config.json", br#"{"architectures":["Qwen3NextForCausalLM"]}"#.to_vec()),
        ("empty.txt", Vec::new()),
        (LARGE, noise(1, 2 * piece + 100_000)),
        (SMALL, noise(2, 4_000_000)),
        ("sub folder/tokenizer.json", noise(3, 300_000)),
    ];
    Repo::of(files.map(|(path, bytes)| (path.to_owned(), Entry::of(path, bytes))))
}

/// A hub, and a host that knows of it.
pub(crate) struct Bench {
    pub(crate) hub: Hub,
    pub(crate) settings: Settings,
    pub(crate) told: Rc<RefCell<Vec<Event>>>,
    pub(crate) root: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// A host whose profile says this of its model too.
    pub(crate) fn with(model_lines: &str) -> Self {
        let root = tempdir().unwrap();
        fs::create_dir(root.path().join("profiles")).unwrap();
        let profile = format!(
            "service = \"vllm\"\n[model]\nrepo = \"{REPO}\"\nserved-name = \"m\"\n{model_lines}\n\
             [runtime]\nvllm = \"0.26.0\"\n"
        );
        fs::write(root.path().join("profiles/awq.toml"), profile).unwrap();
        Self::of(root, Hub::start(REPO, model()))
    }

    fn of(root: TempDir, hub: Hub) -> Self {
        let settings = Settings {
            endpoint: hub.endpoint(),
            token: None,
            reach: Reach::Online,
            cache: Some(root.path().join("cache")),
            share: Share::default(),
            patience: Patience {
                tries: 3,
                first_pause: Duration::from_millis(5),
                longest_pause: Duration::from_millis(20),
                longest_asked: Duration::from_secs(5),
                connect: FOREVER,
                silence: FOREVER,
                whole: FOREVER,
                slow_after: FOREVER,
                slow_below: ByteSize(1 << 20),
            },
        };
        Self { hub, settings, told: Rc::default(), root }
    }

    pub(crate) fn context(&self) -> Context {
        let told = Rc::clone(&self.told);
        Context {
            store: Store::new(Layout::new(self.root.path().join("root"))),
            library: ProfileLibrary::at(self.profiles()),
            facts: awqdeploy::domain::machine::facts::Facts::default().into(),
            engine: Engine::Locked,
            interrupt: Interrupt::default(),
            observer: Rc::new(move |event| told.borrow_mut().push(event)),
            binary: PathBuf::new(),
            service_manager: ServiceManager::Systemd(Scope::System),
            executor: Executor::Here,
            estimates: Estimates::default(),
        }
    }

    pub(crate) fn profiles(&self) -> PathBuf {
        self.root.path().join("profiles")
    }

    /// `awqdeploy lock awq`
    pub(crate) fn lock(&self) -> Result<LockedModel, Problem> {
        lock::lock(&self.context(), "awq", None, &self.settings)
    }

    /// `awqdeploy lock awq --fetch`, and then as if the store had been emptied.
    pub(crate) fn lock_pieces(&self) -> LockedModel {
        let lock = || lock::lock_and_fetch(&self.context(), "awq", &self.settings);
        let locked = patiently(lock).unwrap();
        self.empty();
        self.hub.seen();
        self.told.borrow_mut().clear();
        locked
    }

    /// Empties the store.
    pub(crate) fn empty(&self) {
        fs::remove_dir_all(self.root.path().join("root")).unwrap();
    }

    /// `awqdeploy fetch awq`
    pub(crate) fn fetch(&self) -> Result<Fetched, Problem> {
        patiently(|| fetch::fetch(&self.context(), "awq", &self.settings))
    }

    /// Fetches, and compares every byte with what the hub has.
    pub(crate) fn fetched(&self) -> Fetched {
        let fetched = self.fetch().unwrap_or_else(|problem| panic!("{}", shown(&problem)));
        same(&fetched.path, &model());
        assert_eq!(self.remains(), Vec::<String>::new(), "nothing half-made is left");
        fetched
    }

    /// The files in the store's staging.
    pub(crate) fn remains(&self) -> Vec<String> {
        let staging = self.root.path().join("root/store/staging");
        let mut found = Vec::new();
        let mut folders = vec![staging];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.file_name().unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found
    }

    pub(crate) fn warnings(&self) -> String {
        let told = self.told.borrow();
        let texts = told.iter().filter_map(|event| match event {
            Event::Warning(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// Whether a folder has exactly these files.
pub(crate) fn same(folder: &Path, repo: &Repo) {
    for (path, entry) in &repo.files {
        let found = fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let due = entry.bytes.read(0, usize::try_from(entry.size).unwrap()).unwrap();
        assert_eq!(Sha256Digest::of(found), Sha256Digest::of(due), "{path}");
    }
}

pub(crate) fn shown(problem: &Problem) -> String {
    render(problem, Style::Plain)
}

/// The result as it is shown, with the hub's changing address left out.
pub(crate) fn shown_of<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
    match result {
        Ok(done) => panic!("no problem: {done:?}"),
        Err(problem) => shown(&problem),
    }
}

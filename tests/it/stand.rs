//! A throw-away host: the real stories on a temporary root, the embedded supervisor in systemd's place and
//! the embedded engine in vLLM's.

use super::scratch::tempdir;
use awqdeploy::{
    domain::{
        checkpoint::known_config,
        problem::{Kind, Problem},
        store::layout::Layout,
    },
    flow::{
        activation::{
            outcome::{Ended, Outcome},
            recover::recover,
        },
        context::{Context, Engine, Estimates, Executor, ServiceManager},
        deploy::deploy,
        event::Observer,
        models::lock::lock,
        plan::prepare,
        validate::command::validate,
    },
    host::{
        hub::Settings,
        os::{fs::names, signals::Interrupt},
        profiles::ProfileLibrary,
        store::Store,
        systemd::service::Condition,
    },
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    rc::Rc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The program itself.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_awqdeploy");

/// The profile that serves first.
pub(crate) const OLD: &str = "gptq";
/// The profile that is to replace it.
pub(crate) const NEW: &str = "awq";

/// Longer than anything takes, however busy the machine is: what is waited for so long never comes.
pub(crate) const NEVER: Duration = Duration::from_mins(10);
/// A wait of so long is a test that fails: nothing may wait for a timeout like this one.
pub(crate) const FOREVER: Duration = Duration::from_hours(1);
/// [`FOREVER`], as a profile says it of a start and of a request.
const TIMEOUT: &str = "1h";

/// A root, a folder of profiles and a folder of models, all in one folder that goes with it.
pub(crate) struct Stand {
    pub(crate) context: Context,
    pub(crate) port: u16,
    folder: TempDir,
}

/// The things that a refused deployment must leave as they were.
#[derive(Debug, PartialEq)]
pub(crate) struct Serving {
    pub(crate) profile: Option<String>,
    pub(crate) generations: Vec<String>,
    activations: Vec<String>,
    models: Vec<String>,
    staged: Vec<String>,
}

/// How long a lock may be held by nobody: a child that another test forked meanwhile holds it, too, until it has
/// become another program.
pub(crate) const FORKED: Duration = Duration::from_mins(1);
/// How long it is waited for where somebody may hold it in truth, who is waited for in vain.
const FORKED_OR_BUSY: Duration = Duration::from_secs(10);

/// Tries again while the root is locked, for as long as that may be another test's doing.
pub(crate) fn patiently<T>(mut act: impl FnMut() -> Result<T, Problem>) -> Result<T, Problem> {
    let began = Instant::now();
    loop {
        match act() {
            Err(problem) if problem.kind == Kind::Busy && began.elapsed() < FORKED_OR_BUSY => {
                sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

/// The time that this thread has computed for so far. Unlike a clock it stands still while others have the processor.
pub(crate) fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

impl Stand {
    /// Both profiles locked, nothing deployed.
    pub(crate) fn new() -> Self {
        let folder = tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let stand = Self { context: context(folder.path()), port, folder };
        fs::create_dir(stand.path("profiles")).unwrap();
        let offline = Settings::of(|_| None).unwrap();
        for name in [OLD, NEW] {
            fs::create_dir_all(stand.model(name)).unwrap();
            fs::write(stand.model(name).join("config.json"), known_config(repo(name)).unwrap()).unwrap();
            fs::write(stand.model(name).join("model.safetensors"), name.repeat(1000)).unwrap();
            stand.write_profile(name, "", "");
            lock(&stand.context, name, None, &offline).unwrap();
        }
        stand
    }

    /// The old profile serves.
    pub(crate) fn serving() -> Self {
        let mut stand = Self::new();
        let outcome = stand.deploy(OLD).unwrap();
        assert_eq!(outcome.generation.0, 1);
        stand
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that a profile's model is taken from.
    pub(crate) fn model(&self, profile: &str) -> PathBuf {
        self.path("models").join(profile)
    }

    /// Writes a profile, with one piece of its text replaced.
    pub(crate) fn write_profile(&self, name: &str, from: &str, to: &str) {
        let text = format!(
            "service = \"vllm\"\n\
             [model]\nrepo = \"{repo}\"\npath = \"{path}\"\nserved-name = \"tiny\"\n\
             [runtime]\nvllm = \"0.26.0\"\n\
             [listen]\nport = {port}\n\
             [parallelism]\ntensor-parallel-size = 4\n\
             [timeouts]\nstart = \"{TIMEOUT}\"\nrequest = \"{TIMEOUT}\"\n\
             [validation]\noutput-tokens = 8\nrepetitions = 1\nwarmups = 0\n\
             [validation.sweep]\nprompt-tokens = [40, 400]\nconcurrency = [1, 2]\ntime = \"2s\"\n\
             [vllm]\narguments = []\n\
             [vllm.environment]\n\
             AWQDEPLOY_REHEARSAL_LOAD_MS = \"30\"\nAWQDEPLOY_REHEARSAL_TOKENS_PER_SECOND = \"200\"\n",
            repo = repo(name),
            path = self.model(name).display(),
            port = self.port,
        );
        assert!(text.contains(from), "nothing to replace");
        fs::write(self.path("profiles").join(name).with_extension("toml"), text.replacen(from, to, 1))
            .unwrap();
    }

    pub(crate) fn deploy(&mut self, profile: &str) -> Result<Outcome, Problem> {
        let prepared = prepare(&self.context, profile)?;
        patiently(|| deploy(&mut self.context, &prepared))
    }

    pub(crate) fn deploy_watched(
        &mut self,
        profile: &str,
        observer: impl Observer + 'static,
    ) -> Result<Outcome, Problem> {
        self.watched(observer, |stand| stand.deploy(profile))
    }

    /// Does something before an observer.
    pub(crate) fn watched<T>(
        &mut self,
        observer: impl Observer + 'static,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = std::mem::replace(&mut self.context.observer, Rc::new(observer));
        let done = act(self);
        self.context.observer = before;
        done
    }

    pub(crate) fn recover(&mut self) -> Option<Ended> {
        patiently(|| recover(&mut self.context)).unwrap()
    }

    /// The state of now. Beside the records it asks the service, since they could lie.
    pub(crate) fn state(&mut self) -> Serving {
        let root = self.context.layout().root().to_owned();
        let current = self.context.store.current().unwrap();
        let active = self.context.service_manager.observe("vllm").condition().unwrap() == Condition::Active;
        let plan = current.filter(|_| active).map(|id| self.context.store.generation(id).unwrap().plan);
        let list = |folder: &str| {
            let mut names = names(&root.join(folder)).unwrap();
            names.sort();
            names
        };
        Serving {
            profile: plan.map(|plan| plan.profile),
            generations: list("generations"),
            activations: list("activations"),
            models: list("store/models"),
            staged: list("store/staging"),
        }
    }

    /// Whether this profile serves: by the records, by its keeper, and by an answer of the engine.
    pub(crate) fn serves(&mut self, profile: &str) {
        assert_eq!(self.state().profile.as_deref(), Some(profile));
        // Asked by another process: whatever signal came was not for it.
        self.context.interrupt = Interrupt::default();
        let report = validate(&self.context, None, None).unwrap();
        assert_eq!((report.profile.as_str(), report.failures.as_slice()), (profile, [].as_slice()));
    }

    /// A text with what differs from run to run made plain.
    pub(crate) fn plain(&self, text: &str) -> String {
        text.replace(self.folder.path().to_str().unwrap(), "DIR").replace(&self.port.to_string(), "PORT")
    }
}

/// The context that a rehearsal acts on, too: `root` and `service` in a folder.
pub(crate) fn context(folder: &Path) -> Context {
    let layout = Layout::new(folder.join("root"));
    Context {
        library: ProfileLibrary::at(folder.join("profiles")),
        facts: crate::inputs::facts("four-16gb").into(),
        engine: Engine::Command(vec![PROGRAM.to_owned(), "engine".to_owned()]),
        interrupt: Interrupt::default(),
        observer: Rc::new(|_| ()),
        binary: PROGRAM.into(),
        service_manager: ServiceManager::embedded(&layout, folder.join("service"), NEVER),
        store: Store::new(layout),
        executor: Executor::Here,
        estimates: Estimates::default(),
    }
}

pub(crate) fn repo(profile: &str) -> &'static str {
    match profile {
        NEW => "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit",
        _ => "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ",
    }
}

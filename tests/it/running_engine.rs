//! A running rehearsal engine, and the plan that it serves.

use crate::inputs::gates;
use crate::stand::{FOREVER, NEVER};
use awqdeploy::{
    domain::{
        planning::{
            inputs::{PlannedModel, PlannedRuntime},
            memory::Budget,
            plan::Plan,
            prediction::Prediction,
        },
        problem::Problem,
        profile::{Listen, Timeouts, Tolerances, VerifyAtStart, Watch, secrets::Secrets},
        vllm::serve::Serve,
    },
    host::rehearsal::engine::{
        Engine, EngineFault, FAULT_VARIABLE, LOAD_MS_VARIABLE, Options, TOKENS_PER_SECOND_VARIABLE,
        TTFT_MS_VARIABLE,
    },
};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The argument vector that the plan and the engine share, but for the port.
pub(crate) fn argv(port: u16) -> Vec<String> {
    let port = port.to_string();
    let words = [
        "serve",
        "/store/models/tiny",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--served-model-name",
        "tiny",
        "--max-model-len",
        "2048",
        "--enforce-eager",
        "--tensor-parallel-size=4",
    ];
    words.map(str::to_owned).into()
}

/// An engine in a thread of its own. When it ends, its connections end, as with a process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Option<Result<(), Problem>>>>,
}

/// Starts an engine at `rate` tokens/s and waits until it listens, or has ended.
pub(crate) fn start(rate: f64, fault: Option<EngineFault>) -> Running {
    let env = move |name: &str| match name {
        TOKENS_PER_SECOND_VARIABLE => Some(rate.to_string()),
        TTFT_MS_VARIABLE => Some("5".to_owned()),
        LOAD_MS_VARIABLE => Some("30".to_owned()),
        FAULT_VARIABLE => fault.map(|fault| fault.to_string()),
        _ => None,
    };
    start_with(Options::from_arguments(&argv(0), env).unwrap())
}

pub(crate) fn start_with(options: Options) -> Running {
    let (stop, stopped) = oneshot::channel();
    let (bound, address) = mpsc::channel();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let engine = Engine::bind(options, move |line| {
                lines.lock().unwrap().push(line.to_owned());
            })
            .unwrap();
            bound.send(engine.address()).unwrap();
            tokio::select! {
                ended = engine.serve() => Some(ended),
                _ = stopped => None,
            }
        })
    });
    let running = Running { address: address.recv().unwrap(), log, stop: Some(stop), thread: Some(thread) };
    let deadline = Instant::now() + NEVER;
    while TcpStream::connect(running.address).is_err() && !running.has_ended() {
        assert!(Instant::now() < deadline, "the engine never listened");
        thread::sleep(Duration::from_millis(5));
    }
    running
}

impl Running {
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it ends by itself, and says how it did.
    pub(crate) fn end(mut self) -> Result<(), Problem> {
        let deadline = Instant::now() + NEVER;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "the engine goes on");
            thread::sleep(Duration::from_millis(5));
        }
        let ended = self.thread.take().unwrap().join().unwrap();
        ended.expect("ended by itself")
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The plan of what runs here.
    pub(crate) fn plan(&self) -> Plan {
        plan(self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Nobody to stop: it has ended by itself.
            let _ = stop.send(());
        }
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A plan for a tiny model at `address`, with gates that an engine at 200 tokens/s meets in no time.
pub(crate) fn plan(address: SocketAddr) -> Plan {
    Plan {
        profile: "awq".to_owned(),
        service: "vllm".to_owned(),
        model: PlannedModel {
            repo: "owner/tiny".to_owned(),
            revision: "main".to_owned(),
            served_name: "tiny".to_owned(),
            digest: None,
            path: "/store/models/tiny".into(),
            verify_at_start: VerifyAtStart::Memo,
        },
        runtime: PlannedRuntime {
            vllm: "0.32.0".to_owned(),
            digest: None,
            command: vec!["vllm".to_owned()],
            python: None,
            needs: Vec::new(),
        },
        serve: Serve {
            argv: argv(address.port()),
            env: BTreeMap::new(),
            listen: Listen { host: address.ip(), port: address.port() },
        },
        memory: Budget { tensor_parallel_size: 1, ..Budget::default() },
        prediction: Prediction::default(),
        secrets: Secrets::default(),
        gates: gates(),
        tolerances: Tolerances::default(),
        timeouts: Timeouts { start: FOREVER, request: FOREVER },
        watch: Watch::default(),
        findings: Vec::new(),
        unit: String::new(),
    }
}

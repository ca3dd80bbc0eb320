//! `supervise`: the program of the unit. It starts the engine, reports READY after the first verified
//! completion, and leaves nothing of the engine behind.

use super::models::verify_at_start::{Known, check_model, verify_runtime};
use crate::{
    domain::{
        api::openai::Request,
        generation::Generation,
        generation_id::GenerationId,
        planning::plan::Plan,
        problem::{Kind, Problem},
        profile::Timeouts,
        service::liveness::{Liveness, Seen, Verdict},
        size::ByteSize,
        vllm::startup_log::{Phase, Reason},
    },
    host::{
        os::{notify, secrets, signals::Interrupt},
        process::{owned::OwnedProcesses, process_tree},
        runtimes::installed::TreeHashCache,
        store::{Store, hash_cache::ServiceHashCache},
        systemd::service,
        vllm::{
            api::{Api, first_completion},
            process::{EngineProcess, Next},
        },
    },
};
use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::{Instant, interval, sleep},
};

/// The time between two questions for a starting engine's health.
const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// Failed first completions after which a healthy engine is given up.
const FIRST_TRIES: u32 = 3;
/// How often the service manager is asked for more time while the engine loads.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// The time that is asked for: several missed turns must not end a loading engine.
const EXTEND_BY: Duration = Duration::from_mins(1);
/// The time between two questions for a ready engine's health: well below the unit's `WatchdogSec=`.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// The longest that an engine may take for one token, and for its metrics. With `/health` and the pause
/// between them all is well below the unit's `WatchdogSec=`.
const ASK_PATIENCE: Duration = Duration::from_secs(30);
/// An idle engine is asked for a token every so many pauses of the probation: every three minutes, by
/// default.
const IDLE_LOOKS: u32 = 12;
/// The longest that the engine may take to stop. The unit's `TimeoutStopSec=` is longer.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Lines of the engine's log that are searched for the cause of its end.
const LOG_LINES: usize = 2000;

/// The behaviour of a supervisor when its own parent dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nothing: the service manager takes care of it.
    Ignored,
    /// Stops: a rehearsal ends with its owner.
    Followed {
        /// The number of the owner's process.
        owner: u32,
    },
}

/// Runs the current generation's engine until it is told to stop. A problem if the engine ends by itself.
pub(crate) async fn supervise(store: &Store, parent: Parent) -> Result<(), Problem> {
    // Before there is anything to clean up: until now a signal simply ends this process.
    let asked = pin!(asked_to_stop()?);
    if let Parent::Followed { owner } = parent {
        process_tree::die_with_parent(owner)?;
    }
    let outcome = run(store, asked).await;
    if let Err(problem) = &outcome {
        // The service manager shows it as the reason.
        notify::status(&problem.in_one_line());
    }
    outcome
}

async fn run(store: &Store, mut asked: Pin<&mut impl Future<Output = ()>>) -> Result<(), Problem> {
    let Generation { id, plan, .. } = store.deployed()?;
    store.record_intact(id)?;
    trusted(store, id)?;
    match proven(store, &plan, asked.as_mut()).await {
        Ok(()) => {}
        // Nothing runs yet that would have to be stopped.
        Err(problem) if problem.kind == Kind::Interrupted => return Ok(()),
        Err(problem) => return Err(problem),
    }
    notify::status(&format!("starting vLLM {} for `{}` (generation {id})", plan.runtime.vllm, plan.profile));
    // All that it starts descends from this process.
    let api = Api::of(&plan, OwnedProcesses::Ours)?;
    let mut environment = plan.serve.env.clone();
    for (name, secret) in secrets::variables(&plan.secrets)? {
        environment.insert(name, secret.reveal().to_owned());
    }
    let mut engine = EngineProcess::start(&plan.serve.argv, &environment)?;
    let ask_after = plan.watch.every * IDLE_LOOKS;
    let outcome = watch(&mut engine, &api, plan.timeouts, ask_after, asked).await;
    notify::stopping();
    engine.stop(STOP_GRACE).await?;
    outcome
}

/// A problem with a generation that was never proven, as after a power cut in the middle of an activation.
/// Records that cannot be read are ignored.
fn trusted(store: &Store, id: GenerationId) -> Result<(), Problem> {
    let unproven = store.is_not_known_good(id).unwrap_or_default();
    if unproven && !service::on_trial() {
        return Err(Problem::new(
            Kind::Unexpected,
            format!("generation {id} was never proven, and nobody is trying it"),
        )
        .help("`awqdeploy recover` rolls back to what was"));
    }
    Ok(())
}

/// Verifies the runtime and the model, however long that takes. [`Kind::Interrupted`] when a signal asks for
/// the end.
async fn proven(
    store: &Store,
    plan: &Plan,
    mut asked: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Problem> {
    notify::status(&format!("verifying vLLM and the model of `{}`", plan.profile));
    let interrupt = Interrupt::default();
    let mut proving = pin!(spawn_blocking({
        let (store, interrupt) = (store.clone(), interrupt.clone());
        let (model, runtime) = (plan.model.clone(), plan.runtime.clone());
        move || {
            let see = &mut telling("vLLM");
            let installed = verify_runtime(&store, &runtime, Known::ToService, &interrupt, see)?;
            let own = ServiceHashCache::of_service();
            let checked = check_model(&store, &model, own.read(), &interrupt, &mut telling("the model"))?;
            let damaged = checked.found.damaged_contents(&checked.lock);
            // Where it cannot be kept, the next start hashes again.
            let _unkept =
                (own.update(&checked.found.noted, damaged), TreeHashCache::add_to_own(&installed.noted));
            checked.judged().map(drop)
        }
    }));
    let mut extend = interval(EXTEND_EVERY);
    loop {
        tokio::select! {
            proved = &mut proving => {
                proved.map_err(|e| Problem::doing("verify what is to serve", e))??;
                // The signal may have come while the last file was read.
                return interrupt.check();
            }
            _ = extend.tick() => notify::extend(EXTEND_BY),
            () = &mut asked, if !interrupt.came() => interrupt.raise(),
        }
    }
}

/// Reports each verified percent to the service manager.
fn telling(what: &'static str) -> impl FnMut(ByteSize, ByteSize) {
    let mut shown = None;
    move |done, of| {
        let percent = (done.0 * 100).checked_div(of.0);
        if shown != percent && done.0 > 0 {
            notify::status(&format!("verifying {what}: {} %", percent.unwrap_or(100)));
            shown = percent;
        }
    }
}

/// Watches a starting, then a ready engine. `Ok` when a signal asks for the end.
async fn watch(
    engine: &mut EngineProcess,
    api: &Api,
    timeouts: Timeouts,
    ask_after: Duration,
    mut asked: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Problem> {
    let mut answering = pin!(first_answer(api));
    let mut extend = interval(EXTEND_EVERY);
    let deadline = Instant::now() + timeouts.start;
    let mut log = Log::default();
    let mut told_phase = None;
    loop {
        tokio::select! {
            next = engine.next() => match next? {
                Next::Line(line) => {
                    let phase = Phase::of(&line).filter(|phase| Some(*phase) != told_phase);
                    if let Some(phase) = phase {
                        notify::status(&phase.to_string());
                        told_phase = Some(phase);
                    }
                    log.push(line);
                }
                Next::Ended { status, last } => return Err(ended(status, last, log)),
            },
            answered = &mut answering => {
                answered?;
                break;
            }
            _ = extend.tick() => notify::extend(EXTEND_BY),
            () = tokio::time::sleep_until(deadline) => {
                return Err(failed(format!("no verified completion within {} s", timeouts.start.as_secs()), &log));
            }
            () = &mut asked => return Ok(()),
        }
    }
    notify::status("serving");
    notify::ready();
    let mut hung = pin!(until_hung(api, ask_after));
    loop {
        tokio::select! {
            next = engine.next() => match next? {
                Next::Line(line) => log.push(line),
                Next::Ended { status, last } => return Err(ended(status, last, log)),
            },
            why = &mut hung => return Err(failed(why, &log)),
            () = &mut asked => return Ok(()),
        }
    }
}

/// Waits for the engine's health, then for a good completion.
async fn first_answer(api: &Api) -> Result<(), Problem> {
    while !healthy(api).await {
        sleep(HEALTH_EVERY).await;
    }
    let mut tries = 1;
    loop {
        match first_completion(api).await {
            Ok(_) => return Ok(()),
            Err(why) if tries == FIRST_TRIES => {
                return Err(failed(
                    format!("the engine says it is healthy, and does not answer: {why}"),
                    &Log::default(),
                ));
            }
            Err(_) => tries += 1,
        }
        sleep(HEALTH_EVERY).await;
    }
}

/// Reports a healthy engine to the service manager. Ends once the engine is hung, and says why.
async fn until_hung(api: &Api, ask_after: Duration) -> String {
    let began = Instant::now();
    let mut liveness = Liveness::since(Duration::ZERO, ask_after);
    loop {
        if healthy(api).await {
            notify::alive();
            let progress = api.clone().within(ASK_PATIENCE).progress().await;
            let mut verdict = liveness.take(began.elapsed(), Seen::Progress(progress));
            if verdict == Verdict::Ask {
                verdict = liveness.take(began.elapsed(), asked_for_a_token(api).await);
            }
            if let Verdict::Hung(why) = verdict {
                return why;
            }
        }
        sleep(WATCH_EVERY.min(ask_after)).await;
    }
}

/// Asks for one token: the cheapest thing that only a working engine can do.
async fn asked_for_a_token(api: &Api) -> Seen {
    let api = api.clone().within(ASK_PATIENCE);
    match api.answer(&Request::complete("1, 2,", 1)).await {
        Ok(_) => Seen::Answered,
        Err(fault) => Seen::Silent { why: fault.to_string(), progress: api.progress().await },
    }
}

fn asked_to_stop() -> Result<impl Future<Output = ()>, Problem> {
    let listen = |kind| signal(kind).map_err(|e| Problem::doing("listen for signals", e));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn healthy(api: &Api) -> bool {
    matches!(api.health().await, Ok(200))
}

/// The last lines of the log, for the cause of a failure.
#[derive(Debug, Default)]
struct Log(VecDeque<String>);

impl Log {
    fn push(&mut self, line: String) {
        if self.0.len() == LOG_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }
}

/// The problem of an engine that ended. vLLM's API server ends with status 0 when its engine died, so every
/// end is a failure.
fn ended(status: std::process::ExitStatus, last: Vec<String>, mut log: Log) -> Problem {
    for line in last {
        log.push(line);
    }
    failed(format!("the engine ended by itself ({status})"), &log)
}

fn failed(what: String, log: &Log) -> Problem {
    let reason = Reason::among(log.0.iter().map(String::as_str));
    let problem = match &reason {
        Some(reason) => Problem::new(Kind::Unexpected, format!("{what}: {reason}")),
        None => Problem::new(Kind::Unexpected, what),
    };
    match reason {
        Some(reason) => problem.help(reason.failure.help()),
        None => problem,
    }
}

//! `rehearse`: the same stories in a throw-away root, with embedded stand-ins for systemd and vLLM.

mod fault;

use super::{
    activation::outcome::Outcome,
    busy::Busy,
    context::{Context, Engine, Estimates, Executor, ServiceManager},
    deploy::deploy,
    event::{Event, Observer},
    plan::{self, Weights},
};
use crate::{
    domain::{
        activation::machine::{Conclusion, State, Step},
        checkpoint::known_config,
        generation::Generation,
        lockfile::LockedModel,
        machine::facts::Facts,
        problem::{Kind, Problem},
        profile::{Baseline, Gates, Listen, Profile, Sweep, Timeouts},
        size::ByteSize,
        store::layout::Layout,
        vllm::flags,
    },
    host::{
        models::source_folder::Folder,
        os::{fs, signals::Interrupt},
        profiles::ProfileLibrary,
        rehearsal::engine,
        store::Store,
        systemd::service::Condition,
    },
};
pub(crate) use fault::RehearsalFault;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

/// Tokens and requests of a rehearsal's measurement: enough to tell slow from fast, quick to watch.
const OUTPUT_TOKENS: u32 = 40;
const REPETITIONS: u32 = 3;
const SWEEP: Duration = Duration::from_secs(6);
/// The time for a rehearsed engine on an idle host: it loads nothing.
const START_PATIENCE: Duration = Duration::from_secs(8);
const REQUEST_PATIENCE: Duration = Duration::from_secs(15);
/// How long the embedded engine pretends to load.
const LOAD: Duration = Duration::from_millis(400);
/// The rate where the plan predicts none, tokens/s.
const UNPREDICTED_TOKENS_PER_SECOND: f64 = 50.0;
/// The share of the engine's rate that gates on speed ask for at most on a busy host, where a single figure
/// says little. The slow engine makes a twentieth.
const BUSY_SHARE: f64 = 0.25;
/// VRAM of each GPU for the fault of a model that does not fit.
const TOO_LITTLE: ByteSize = ByteSize::gib(4);

/// The request of a rehearsal.
#[derive(Debug)]
pub(crate) struct Request {
    /// The profile that runs first: its name, or the path of its file.
    pub(crate) from: String,
    /// The profile to move to.
    pub(crate) to: Candidate,
    /// The fault of the second deployment, if any.
    pub(crate) fault: Option<RehearsalFault>,
    /// The facts of the played host.
    pub(crate) facts: Facts,
    /// Whether a plan may rest on an estimate.
    pub(crate) estimates: Estimates,
    /// The library of profiles.
    pub(crate) library: ProfileLibrary,
    /// This program's own file.
    pub(crate) binary: PathBuf,
    /// Whether a person wants it to stop.
    pub(crate) interrupt: Interrupt,
    /// A new folder to keep the root in, for a look at its evidence. Absent: the root is removed.
    pub(crate) keep: Option<PathBuf>,
}

/// The profile to move to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// The name of a profile, or the path of its file.
    Named(String),
    /// The first profile with the newest vLLM whose flags are known.
    Upgraded,
}

/// One deployment of a rehearsal.
#[derive(Debug)]
pub(crate) struct Act {
    /// The profile.
    pub(crate) profile: String,
    /// The outcome, or why it never began.
    pub(crate) outcome: Result<Outcome, Problem>,
    /// The time that it took.
    pub(crate) took: Duration,
}

/// The result of a rehearsal.
#[derive(Debug)]
pub(crate) struct Story {
    /// The deployments, in order.
    pub(crate) acts: Vec<Act>,
    /// The profile that runs in the end.
    pub(crate) serving: Option<String>,
    /// Whether it ended as it should.
    pub(crate) as_it_should: bool,
    /// Whether a signal ended it that was no part of it.
    pub(crate) interrupted: bool,
    /// How busy this host was, if that was too busy.
    pub(crate) busy: Option<Busy>,
}

/// Plays the rehearsal: `from`, then `to` with its fault, if any.
pub(crate) fn rehearse(request: &Request, observer: &Rc<dyn Observer>) -> Result<Story, Problem> {
    // Dropped at the end with all its contents.
    let throw_away;
    let folder = if let Some(folder) = &request.keep {
        if folder.exists() {
            let what = format!("`{}` is there already", folder.display());
            return Err(Problem::new(Kind::Usage, what).help("name a folder that is to be made"));
        }
        fs::make_directory(folder)?;
        folder.as_path()
    } else {
        throw_away = tempfile::Builder::new()
            .prefix("awqdeploy-rehearsal-")
            .tempdir()
            .map_err(|e| Problem::doing("make a throw-away root", e))?;
        throw_away.path()
    };
    let mut stage = Stage::set(request, look(&**observer), folder)?;
    let mut context = stage.context(request).observed_by(observer.clone());
    let mut acts = vec![act(&mut context, &stage.from)];
    if serving(&mut context)?.as_deref() == Some(stage.from.as_str()) {
        // The host may have become busy since the first act.
        let busy = if stage.busy.is_notable() { Busy::look() } else { look(&**observer) };
        stage = stage.calmed(request, busy)?;
        context.library = stage.library();
        if let Some(fault) = request.fault {
            stage.spoil(&mut context, fault)?;
        }
        let interrupted = request.fault == Some(RehearsalFault::Interrupted);
        if interrupted {
            let (screen, interrupt) = (observer.clone(), context.interrupt.clone());
            context.observer = Rc::new(move |event: Event| {
                let starting =
                    matches!(event, Event::Activation { state: State::Forward { step: Step::Start }, .. });
                screen.see(event);
                if starting {
                    interrupt.raise();
                }
            });
        }
        acts.push(act(&mut context, &stage.to));
    }
    let serving = serving(&mut context)?;
    let as_it_should = stage.as_it_should(request.fault, &acts, serving.as_deref());
    let interrupted = request.interrupt.came() && request.fault != Some(RehearsalFault::Interrupted);
    // A failure by itself has its own sentence.
    let by_load = |act: &Act| match &act.outcome {
        Ok(_) => true,
        Err(problem) => problem.kind == Kind::Refused,
    };
    let busy = Some(stage.busy.or(Busy::look())).filter(|_| acts.iter().all(by_load));
    let busy = busy.filter(|busy| busy.is_notable() || acts.iter().any(Act::was_stalled));
    Ok(Story { acts, serving, as_it_should, interrupted, busy })
}

/// Looks how busy this host is, and says so where that changes the story.
fn look(observer: &dyn Observer) -> Busy {
    let busy = Busy::look();
    if busy.is_notable() {
        observer.see(Event::Warning(format!(
            "this host is busy: {busy}. The rehearsal waits longer, and its gates on speed ask for less"
        )));
    }
    busy
}

impl Act {
    /// Whether this host stalled the measuring itself.
    fn was_stalled(&self) -> bool {
        let activated = self.outcome.as_ref().ok().and_then(|outcome| outcome.activation.as_ref());
        let speed = activated.and_then(|activated| activated.report.as_ref()?.throughput.as_ref());
        speed.is_some_and(|speed| speed.thrown_away > 0)
    }
}

fn act(context: &mut Context, profile: &str) -> Act {
    let began = Instant::now();
    context.tell(Event::Stage(format!("deploy {profile}")));
    let outcome = plan::prepare(context, profile).and_then(|prepared| deploy(context, &prepared));
    Act { profile: profile.to_owned(), outcome, took: began.elapsed() }
}

fn serving(context: &mut Context) -> Result<Option<String>, Problem> {
    let Some(Generation { plan, .. }) = context.store.current_generation()? else {
        return Ok(None);
    };
    let active = context.service_manager.observe(&plan.service).condition()? == Condition::Active;
    Ok(active.then_some(plan.profile))
}

fn refused(act: &Act, kind: Kind) -> bool {
    act.outcome.as_ref().is_err_and(|problem| problem.kind == kind)
}

/// The throw-away root, prepared for the rehearsal.
struct Stage {
    root: PathBuf,
    busy: Busy,
    /// The name of the profile that runs first.
    from: String,
    /// The name of the profile to move to.
    to: String,
    listen: Listen,
    profiles: BTreeMap<String, (Profile, String)>,
    locks: BTreeMap<String, LockedModel>,
}

impl Stage {
    fn set(request: &Request, busy: Busy, root: &Path) -> Result<Self, Problem> {
        // A profile may be named by its file, and its model's folder must still be in here.
        let from = request.library.load(&request.from)?;
        let text = request.library.text(&request.from)?;
        let (to, text_of_to) = match &request.to {
            Candidate::Named(to) => (request.library.load(to)?, request.library.text(to)?),
            Candidate::Upgraded => {
                request.fault.map_or(Ok(()), RehearsalFault::of_an_upgrade)?;
                (upgraded(&from)?, text.clone())
            }
        };
        if from.name() == to.name() {
            return Err(Problem::new(
                Kind::Usage,
                format!("a rehearsal moves from one profile to another, and both are `{}`", to.name()),
            )
            .help("name two profiles with `--from` and `--to`"));
        }
        let mut stage = Self {
            root: root.to_owned(),
            busy,
            from: from.name().to_owned(),
            to: to.name().to_owned(),
            listen: listen()?,
            profiles: BTreeMap::new(),
            locks: BTreeMap::new(),
        };
        for (profile, text) in [(from, text), (to, text_of_to)] {
            let name = profile.name().to_owned();
            let model = stage.root.join("models").join(&name);
            stand_in(&profile, &model)?;
            let profile = stage.adapt(profile, &model)?;
            let repo = profile.model().repo.clone();
            let revision = profile.model().revision.clone();
            let folder = Folder::open(&model, &repo, &revision)?;
            let files = folder.survey(&request.interrupt, &mut |_| ())?;
            stage.locks.insert(name.clone(), LockedModel::of(repo, revision, None, files)?);
            stage.profiles.insert(name, (profile, text));
        }
        stage.pace(request)
    }

    /// Adapts a profile to the rehearsal's address, times and measurement.
    fn adapt(&self, profile: Profile, model: &Path) -> Result<Profile, Problem> {
        let gates = Gates {
            output_tokens: OUTPUT_TOKENS.min(profile.gates().output_tokens),
            repetitions: REPETITIONS.min(profile.gates().repetitions),
            sweep: Sweep { time: SWEEP.min(profile.gates().sweep.time), ..profile.gates().sweep.clone() },
            baseline: self.compared(&profile),
            ..profile.gates().clone()
        };
        profile
            .without_secrets()
            .with_path(model.to_owned())?
            .with_listen(self.listen)?
            .with_timeouts(self.timeouts())?
            .with_gates(gates)?
            .with_environment(engine::LOAD_MS_VARIABLE, &LOAD.as_millis().to_string())
    }

    /// The baseline of a profile. Only the first of the two is measured here: what is compared with another stays
    /// without it.
    fn compared(&self, profile: &Profile) -> Option<Baseline> {
        let baseline = profile.gates().baseline.clone()?;
        let measured = profile.name() == self.to && baseline.profile == self.from;
        Some(Baseline { required: baseline.required && measured, ..baseline })
    }

    /// Lets each engine answer at the speed that its plan predicts.
    fn pace(mut self, request: &Request) -> Result<Self, Problem> {
        let context = self.context(request);
        for (name, (profile, _)) in &mut self.profiles {
            // A plan that is refused now is refused again by the deployment, which says why.
            let predicted = plan::plan(&context, name, Weights::Known)?
                .planned
                .ok()
                .and_then(|plan| plan.prediction.expected())
                .unwrap_or(UNPREDICTED_TOKENS_PER_SECOND);
            let gates = profile.gates().clone();
            let gates = if self.busy.is_notable() { lenient(gates, predicted) } else { gates };
            *profile = profile
                .clone()
                .with_gates(gates)?
                .with_environment(engine::TOKENS_PER_SECOND_VARIABLE, &predicted.to_string())?;
        }
        Ok(self)
    }

    /// Gives the rehearsal the patience and the gates of a host that is as busy as the busiest that was seen.
    fn calmed(mut self, request: &Request, busy: Busy) -> Result<Self, Problem> {
        let was_notable = self.busy.is_notable();
        self.busy = self.busy.or(busy);
        if was_notable || !self.busy.is_notable() {
            return Ok(self);
        }
        let timeouts = self.timeouts();
        for (profile, _) in self.profiles.values_mut() {
            *profile = profile.clone().with_timeouts(timeouts)?;
        }
        self.pace(request)
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts { start: self.busy.patience(START_PATIENCE), request: self.busy.patience(REQUEST_PATIENCE) }
    }

    fn library(&self) -> ProfileLibrary {
        ProfileLibrary::of(self.profiles.clone(), self.locks.clone())
    }

    fn context(&self, request: &Request) -> Context {
        let layout = Layout::new(self.root.join("root"));
        let patience = self.busy.patience(START_PATIENCE);
        let service_manager = ServiceManager::embedded(&layout, self.root.join("service"), patience);
        let program = request.binary.to_string_lossy().into_owned();
        Context {
            store: Store::new(layout),
            library: self.library(),
            facts: request.facts.clone().into(),
            engine: Engine::Command(vec![program, "engine".to_owned()]),
            interrupt: request.interrupt.clone(),
            observer: Rc::new(|_| ()),
            binary: request.binary.clone(),
            service_manager,
            executor: Executor::Here,
            estimates: request.estimates,
        }
    }

    fn as_it_should(&self, fault: Option<RehearsalFault>, acts: &[Act], serving: Option<&str>) -> bool {
        let concluded = |act: &Act| act.outcome.as_ref().ok().map(Outcome::conclusion);
        let [first, last] = acts else { return false };
        let began = concluded(first) == Some(Conclusion::Done);
        let ended = match fault {
            None => concluded(last) == Some(Conclusion::Done),
            Some(RehearsalFault::BadHash | RehearsalFault::MissingFile) => refused(last, Kind::Unverified),
            Some(RehearsalFault::DoesNotFit) => refused(last, Kind::Refused),
            Some(RehearsalFault::Engine(_) | RehearsalFault::Interrupted) => {
                concluded(last) == Some(Conclusion::WentBack)
            }
        };
        let expected = if fault.is_some() { &self.from } else { &self.to };
        began && ended && serving == Some(expected.as_str())
    }

    /// Plays the fault of the second deployment.
    fn spoil(&self, context: &mut Context, fault: RehearsalFault) -> Result<(), Problem> {
        let weights = self.root.join("models").join(&self.to).join(WEIGHTS);
        match fault {
            RehearsalFault::Engine(fault) => {
                let mut profiles = self.profiles.clone();
                if let Some((profile, _)) = profiles.get_mut(&self.to) {
                    *profile =
                        profile.clone().with_environment(engine::FAULT_VARIABLE, &fault.to_string())?;
                }
                context.library = ProfileLibrary::of(profiles, self.locks.clone());
            }
            RehearsalFault::BadHash => {
                let mut bytes = self
                    .profiles
                    .get(&self.to)
                    .map_or_else(Vec::new, |(to, _)| stand_in_weights(&to.model().repo));
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                fs::write(&weights, bytes)?;
            }
            RehearsalFault::MissingFile => fs::remove(&weights)?,
            RehearsalFault::DoesNotFit => {
                let mut facts = context.facts()?.clone();
                for gpu in &mut facts.gpus {
                    gpu.memory_total = TOO_LITTLE;
                    gpu.memory_free = TOO_LITTLE;
                }
                context.facts = facts.into();
            }
            RehearsalFault::Interrupted => {}
        }
        Ok(())
    }
}

/// The gates of a rehearsal on a busy host, for an engine of so many tokens per second.
fn lenient(gates: Gates, predicted: f64) -> Gates {
    let floor = gates.min_decode_tokens_per_second.min(predicted * BUSY_SHARE);
    let baseline =
        gates.baseline.map(|baseline| Baseline { min_ratio: baseline.min_ratio.min(BUSY_SHARE), ..baseline });
    Gates { min_decode_tokens_per_second: floor, baseline, ..gates }
}

/// The weights file of a stand-in model.
const WEIGHTS: &str = "model.safetensors";

/// A model folder with the true `config.json`, which the plan reads, and a few bytes of weights.
fn stand_in(profile: &Profile, folder: &Path) -> Result<(), Problem> {
    let own = profile.model().path.as_ref().map(|path| fs::read(&path.join("config.json"))).transpose()?;
    let repo = &profile.model().repo;
    let config = own.flatten().or_else(|| known_config(repo).map(str::to_owned)).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("nothing is known of the model `{repo}`"))
            .help("name a folder with its `config.json` as `path` in the profile's `[model]`")
    })?;
    fs::make_directory(folder)?;
    fs::write_new(&folder.join("config.json"), config)?;
    fs::write_new(&folder.join(WEIGHTS), stand_in_weights(repo))
}

fn stand_in_weights(repo: &str) -> Vec<u8> {
    format!("stand-in for the weights of {repo}, made by awqdeploy rehearse\n").repeat(1000).into_bytes()
}

/// The profile with the newest vLLM: any loss of speed beyond a tenth is refused.
fn upgraded(from: &Profile) -> Result<Profile, Problem> {
    const LEAST_RATIO: f64 = 0.9;
    let newest = flags::versions().last().unwrap_or_default();
    from.upgraded(&format!("{}-upgraded", from.name()), newest, LEAST_RATIO)
}

/// A free port of the loopback interface. It is taken seconds later, so rehearsals side by side begin to look
/// at different ports, below those that connections get.
fn listen() -> Result<Listen, Problem> {
    const FIRST: u32 = 12_000;
    const PORTS: u32 = 20_000;
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let own = std::process::id();
    let mut ports = (0..PORTS).filter_map(|next| u16::try_from(FIRST + (own + next) % PORTS).ok());
    let port = ports.find(|port| TcpListener::bind((host, *port)).is_ok());
    let port = port.ok_or_else(|| Problem::doing("find a free port", "none is free"))?;
    Ok(Listen { host, port })
}

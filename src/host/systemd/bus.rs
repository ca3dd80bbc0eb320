//! systemd over D-Bus: it tells exactly how each job ended.

use super::transport::{
    CallError, EffectiveSettings, Invocation, NOT_FOUND, Persistence, STOPPING, State, Transport, Verb,
};
use crate::{
    domain::{
        problem::Problem,
        service::{active_state::ActiveState, job::JobEnd},
        store::layout::Scope,
    },
    host::event_loop,
};
use futures_util::StreamExt as _;
use rustix::process::Signal;
use std::{fmt::Display, num::NonZeroUsize, time::Duration};
use tokio::{runtime::Runtime, time::timeout};
use zbus::{Connection, OwnedObjectPath, connection, fdo, proxy::CacheProperties};

/// The longest wait for the bus and its manager at first.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for the signal of a job that is gone.
const LAST_SIGNAL: Duration = Duration::from_secs(1);

/// The longest wait for one call. Reading all units anew on a busy host is the slowest.
const CALL_WAIT: Duration = Duration::from_secs(90);
/// The most signals that may queue while a call is answered: more than the jobs of a boot.
const QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// The error of systemd for a unit that was never loaded, which has no failures to forget.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager1 {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    #[zbus(property)]
    fn system_state(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit1 {
    #[zbus(property)]
    fn load_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    /// The number and path of the unit's queued job; 0 where there is none.
    #[zbus(property)]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
    /// Absent before its first start.
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> zbus::Result<Vec<u8>>;
    #[zbus(property)]
    fn state_change_timestamp_monotonic(&self) -> zbus::Result<u64>;
    #[zbus(property)]
    fn drop_in_paths(&self) -> zbus::Result<Vec<String>>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
trait Service1 {
    #[zbus(property)]
    fn status_text(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn tasks_current(&self) -> zbus::Result<u64>;
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> zbus::Result<u32>;
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> zbus::Result<u32>;
    #[zbus(property)]
    fn control_group(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn restart(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn environment(&self) -> zbus::Result<Vec<String>>;
}

/// A connection to a service manager over a message bus.
pub(super) struct Bus {
    events: Runtime,
    connection: Connection,
    manager: Manager1Proxy<'static>,
    removed: JobRemovedStream,
    job: Option<Job>,
}

/// A queued job, and its unit.
struct Job {
    path: OwnedObjectPath,
    unit: String,
}

impl Bus {
    /// Connects to the manager of this scope; nothing where there is no bus, or no manager on it.
    pub(super) fn connect(scope: Scope) -> Result<Option<Self>, Problem> {
        let events = event_loop()?;
        let connected = events.block_on(async { timeout(CONNECT_WAIT, reached(scope)).await });
        // The reason does not matter: `systemctl` is asked next, and tells it.
        let Ok(Ok((connection, manager, removed))) = connected else { return Ok(None) };
        Ok(Some(Self { events, connection, manager, removed, job: None }))
    }

    async fn unit_and_service(
        &self,
        name: &str,
    ) -> zbus::Result<(Unit1Proxy<'static>, Service1Proxy<'static>)> {
        let unit = unit_named(&self.connection, &self.manager, name).await?;
        let service = Service1Proxy::builder(&self.connection)
            .path(unit.inner().path().to_owned())
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok((unit, service))
    }

    async fn state(&self, name: &str) -> zbus::Result<State> {
        let (unit, service) = self.unit_and_service(name).await?;
        Ok(State {
            found: unit.load_state().await? != NOT_FOUND,
            active: ActiveState::named(&unit.active_state().await?),
            invocation: Invocation::of(&hex::encode(unit.invocation_id().await?)),
            status: service.status_text().await?,
            result: service.result().await?,
            tasks: Some(service.tasks_current().await?).filter(|tasks| *tasks != u64::MAX),
            restarts: service.n_restarts().await?,
            main: Some(service.main_pid().await?).filter(|pid| *pid != 0),
            changed: Some(unit.state_change_timestamp_monotonic().await?).filter(|at| *at != 0),
            group: service.control_group().await?,
        })
    }

    async fn in_force(&self, name: &str) -> zbus::Result<EffectiveSettings> {
        let (unit, service) = self.unit_and_service(name).await?;
        Ok(EffectiveSettings {
            restart: service.restart().await?,
            environment: service.environment().await?,
            drop_ins: unit.drop_in_paths().await?,
        })
    }
}

impl Transport for Bus {
    fn state(&mut self, unit: &str) -> Result<State, CallError> {
        self.events.block_on(Self::state(self, unit)).map_err(failed(format_args!("ask about `{unit}`")))
    }

    fn in_force(&mut self, unit: &str) -> Result<EffectiveSettings, CallError> {
        self.events
            .block_on(Self::in_force(self, unit))
            .map_err(failed(format_args!("ask what is set for `{unit}`")))
    }

    fn reload(&mut self) -> Result<(), CallError> {
        self.events.block_on(self.manager.reload()).map_err(failed("have systemd read its units"))
    }

    fn enable(&mut self, units: &[&str], lasting: Persistence) -> Result<(), CallError> {
        let runtime = lasting == Persistence::UntilBoot;
        self.events
            .block_on(async {
                self.manager.enable_unit_files(units, runtime, false).await?;
                // A new link takes effect only with the next reload; `systemctl enable` does the same.
                self.manager.reload().await
            })
            .map_err(failed(format_args!("enable `{}`", units.join("`, `"))))
    }

    fn forget_failures(&mut self, unit: &str) -> Result<(), CallError> {
        match self.events.block_on(self.manager.reset_failed_unit(unit)) {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => Ok(()),
            done => done.map_err(failed(format_args!("forget the failures of `{unit}`"))),
        }
    }

    fn start(&mut self, unit: &str) -> Result<(), CallError> {
        let path = self
            .events
            .block_on(self.manager.start_unit(unit, "replace"))
            .map_err(failed(format_args!("start `{unit}`")))?;
        self.job = Some(Job { path, unit: unit.to_owned() });
        Ok(())
    }

    fn ended(&mut self, wait: Duration) -> Result<Option<JobEnd>, CallError> {
        let Some(job) = self.job.take() else { return Ok(Some(JobEnd::Unheard)) };
        let Self { events, connection, manager, removed, .. } = self;
        let end = events
            .block_on(next_end(connection, manager, removed, &job, wait))
            .map_err(failed(format_args!("wait for the job of `{}`", job.unit)))?;
        if end.is_none() {
            self.job = Some(job);
        }
        Ok(end)
    }

    fn follow(&mut self, unit: &str, _verb: Verb) -> Result<(), CallError> {
        let (number, path) = self
            .events
            .block_on(async { unit_named(&self.connection, &self.manager, unit).await?.job().await })
            .map_err(failed(format_args!("ask about the job of `{unit}`")))?;
        self.job = (number != 0).then(|| Job { path, unit: unit.to_owned() });
        Ok(())
    }

    fn stop(&mut self, unit: &str) -> Result<(), CallError> {
        let path = self
            .events
            .block_on(self.manager.stop_unit(unit, "replace"))
            .map_err(failed(format_args!("stop `{unit}`")))?;
        self.job = Some(Job { path, unit: unit.to_owned() });
        Ok(())
    }

    fn interrupt(&mut self, unit: &str) -> Result<(), CallError> {
        self.events
            .block_on(self.manager.kill_unit(unit, "main", Signal::INT.as_raw()))
            .map_err(failed(format_args!("interrupt `{unit}`")))
    }

    fn goes_down(&mut self) -> Result<bool, CallError> {
        let state = self.events.block_on(self.manager.system_state());
        state.map(|state| state == STOPPING).map_err(failed("ask systemd whether it is going down"))
    }
}

/// Connects and subscribes. That comes before any job is queued: a job can end before the answer that names
/// it is read.
async fn reached(scope: Scope) -> zbus::Result<(Connection, Manager1Proxy<'static>, JobRemovedStream)> {
    let builder = match scope {
        Scope::System => connection::Builder::system(),
        Scope::User => connection::Builder::session(),
    };
    let connection = builder.method_timeout(CALL_WAIT).max_queued(QUEUED).build().await?;
    let manager = Manager1Proxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
    manager.subscribe().await?;
    let removed = manager.receive_job_removed().await?;
    Ok((connection, manager, removed))
}

async fn unit_named(
    connection: &Connection,
    manager: &Manager1Proxy<'_>,
    name: &str,
) -> zbus::Result<Unit1Proxy<'static>> {
    let path = manager.load_unit(name).await?;
    Unit1Proxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await
}

/// The end of this job, if it comes within `wait`.
async fn next_end(
    connection: &Connection,
    manager: &Manager1Proxy<'_>,
    removed: &mut JobRemovedStream,
    job: &Job,
    wait: Duration,
) -> zbus::Result<Option<JobEnd>> {
    if let Ok(end) = timeout(wait, heard(removed, job)).await {
        return end.map(Some);
    }
    if unit_named(connection, manager, &job.unit).await?.job().await?.1 == job.path {
        return Ok(None);
    }
    // The job ended between the two questions, or its signal was lost, which is not waited for.
    match timeout(LAST_SIGNAL, heard(removed, job)).await {
        Ok(end) => end.map(Some),
        Err(_) => Ok(Some(JobEnd::Unheard)),
    }
}

async fn heard(removed: &mut JobRemovedStream, job: &Job) -> zbus::Result<JobEnd> {
    while let Some(signal) = removed.next().await {
        let signal = signal.args()?;
        if *signal.job() == job.path {
            return Ok(JobEnd::named(signal.result()));
        }
    }
    Err(zbus::Error::Failure("the message bus went away".to_owned()))
}

/// The error of doing this, in systemd's own words where it has any.
fn failed(doing: impl Display) -> impl FnOnce(zbus::Error) -> CallError {
    let doing = doing.to_string();
    move |error| match error {
        zbus::Error::MethodError(_, Some(said), _) => CallError::Said(Problem::doing(doing, said)),
        error if is_lost(&error) => CallError::Lost(Problem::doing(doing, error)),
        error => CallError::Said(Problem::doing(doing, error)),
    }
}

/// Whether this says that the bus, or the manager on it, is not there now. Both come back: the bus after its
/// restart, the manager after its re-execution. Meanwhile a message bus tries to start it, which fails.
fn is_lost(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::InputOutput(_)
        | zbus::Error::Failure(_)
        | zbus::Error::Handshake(_)
        | zbus::Error::Connection(..) => true,
        zbus::Error::FDO(error) => matches!(
            **error,
            fdo::Error::ServiceUnknown(_)
                | fdo::Error::NameHasNoOwner(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::Timeout(_)
                | fdo::Error::TimedOut(_)
                | fdo::Error::Disconnected(_)
                | fdo::Error::UnknownObject(_)
                | fdo::Error::SpawnExecFailed(_)
                | fdo::Error::SpawnForkFailed(_)
                | fdo::Error::SpawnChildExited(_)
                | fdo::Error::SpawnChildSignaled(_)
                | fdo::Error::SpawnFailed(_)
        ),
        _ => false,
    }
}

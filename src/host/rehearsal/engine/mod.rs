//! The rehearsal engine: a stand-in for vLLM that `awqdeploy rehearse` starts where a deployment would
//! start the real one.
//!
//! It is not an inference engine. It takes the command line of `vllm serve`, logs what vLLM logs while it
//! loads, and answers vLLM's API in the shapes that were recorded from a real server, at a given decode rate.
//! Its text is made up, except that it knows the answers to [`crate::domain::validation::questions`]. It can
//! play the faults that were seen in real servers ([`EngineFault`]). SIGUSR1 makes it slow; SIGUSR2 makes it
//! hang with a good `/health`. Nothing but a rehearsal uses it, and it listens on loopback only.

mod api;
mod fault;
mod log;
mod options;
mod reply;
mod request;
mod spoil;
mod tokens;

pub use fault::EngineFault;
pub use log::startup_log;
pub use options::{FAULT_VARIABLE, LOAD_MS_VARIABLE, Options, TOKENS_PER_SECOND_VARIABLE, TTFT_MS_VARIABLE};

use crate::domain::{
    problem::{Kind, Problem},
    vllm::startup_log::Phase,
};
use axum::serve::ListenerExt as _;
use std::net::SocketAddr;
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// Takes each line of the log.
type Log = Box<dyn FnMut(&str) + Send>;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// An engine that has its port, and has not begun to load.
pub struct Engine {
    options: Options,
    log: Log,
    socket: TcpSocket,
    address: SocketAddr,
}

/// Loads and serves until told to stop by SIGTERM or SIGINT, or until the rehearsed fault ends it.
///
/// # Errors
///
/// When the port is in use, and for [`EngineFault::Crash`].
pub(crate) async fn run(options: Options) -> Result<(), Problem> {
    Engine::bind(options, log::to_stderr)?.serve().await
}

impl Engine {
    /// Takes the port, as vLLM does before it loads: connections are refused until it listens. Every
    /// line of its log goes to `log`.
    pub fn bind(options: Options, log: impl FnMut(&str) + Send + 'static) -> Result<Self, Problem> {
        let mut log: Log = Box::new(log);
        let wanted = SocketAddr::new(options.host, options.port);
        let bound = || {
            let socket = if wanted.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(wanted)?;
            let address = socket.local_addr()?;
            std::io::Result::Ok((socket, address))
        };
        let (socket, address) = bound().map_err(|error| refused(wanted, error, &mut log))?;
        Ok(Self { options, log, socket, address })
    }

    /// The address on which it will listen: with the real port, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loads, then serves. See [`run`].
    pub async fn serve(self) -> Result<(), Problem> {
        let watch = |kind| signal(kind).map_err(|e| Problem::doing("watch for signals", e));
        let mut terminate = watch(SignalKind::terminate())?;
        let mut interrupt = watch(SignalKind::interrupt())?;
        tokio::select! {
            ended = self.load_and_serve() => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    }

    /// Logs the start-up, spread evenly over the time that loading takes.
    async fn load(&mut self) -> Result<(), Problem> {
        let lines = startup_log(&self.options, self.address);
        let parts = u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1);
        let pause = self.options.load / parts;
        for line in lines {
            sleep(pause).await;
            (self.log)(&line);
            if self.options.fault == Some(EngineFault::Crash) && Phase::of(&line) == Some(Phase::LoadingModel)
            {
                for line in log::out_of_memory() {
                    (self.log)(&line);
                }
                return Err(Problem::new(
                    Kind::Unexpected,
                    "the rehearsal engine crashed while loading, as it was told to",
                ));
            }
        }
        Ok(())
    }

    async fn load_and_serve(mut self) -> Result<(), Problem> {
        self.load().await?;
        let listener = self
            .socket
            .listen(BACKLOG)
            .map_err(|error| refused(self.address, error, &mut self.log))?
            // A token must leave when it is made, not when the next one fills the segment.
            .tap_io(|stream| drop(stream.set_nodelay(true)));
        let state = api::State::new(self.options);
        let served = axum::serve(listener, api::router(state.clone()));
        let listen = |kind| signal(kind).map_err(|e| Problem::doing("watch for signals", e));
        let mut slower = listen(SignalKind::user_defined1())?;
        let mut hanging = listen(SignalKind::user_defined2())?;
        let spoilt = async {
            loop {
                tokio::select! {
                    _ = slower.recv() => state.slow_down(),
                    _ = hanging.recv() => state.hang(),
                }
            }
        };
        tokio::select! {
            () = spoilt => Ok(()),
            ended = served.into_future() => {
                ended.map_err(|error| Problem::doing("serve the rehearsal engine's API", error))
            }
            () = state.gone() => Ok(()),
        }
    }
}

fn refused(wanted: SocketAddr, error: std::io::Error, log: &mut Log) -> Problem {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        log("OSError: [Errno 98] Address already in use");
    }
    Problem::doing(format_args!("listen on `{wanted}`"), error)
}

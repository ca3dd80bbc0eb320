//! The `sd_notify` protocol, from both ends. Without a service manager, telling it something does nothing.

use crate::domain::{problem::Problem, spelling::visible};
use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

/// The variable that names the socket.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";

/// Longest message that is read.
const MESSAGE_LIMIT: usize = 4096;

/// Reports what the service does. It must be one line, since the next would be another message; and it may quote an
/// engine, while `systemctl status` prints it as it is.
pub(crate) fn status(text: &str) {
    send(&[sd_notify::NotifyState::Status(&visible(text).replace('\n', "; "))]);
}

/// Reports that the service answers from now on.
pub(crate) fn ready() {
    send(&[sd_notify::NotifyState::Ready]);
}

/// Reports that the service is going down.
pub(crate) fn stopping() {
    send(&[sd_notify::NotifyState::Stopping]);
}

/// Reports that the service is alive.
pub(crate) fn alive() {
    send(&[sd_notify::NotifyState::Watchdog]);
}

/// Extends the time for starting or stopping by so much from now.
pub(crate) fn extend(by: Duration) {
    let microseconds = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    send(&[sd_notify::NotifyState::ExtendTimeoutUsec(microseconds)]);
}

/// Sends a message. A lost one is no reason to end a service, and there is nobody else to tell.
fn send(states: &[sd_notify::NotifyState<'_>]) {
    let _unheard = sd_notify::notify(states);
}

/// The service manager's end of the socket, for the embedded supervisor.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

/// A message of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The service answers.
    Ready,
    /// The service does this.
    Status(String),
}

impl Listener {
    /// Listens at `path`, replacing what an earlier listener left there.
    pub fn bind(path: &Path) -> Result<Self, Problem> {
        super::fs::remove(path)?;
        let socket = UnixDatagram::bind(path)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|e| super::fs::failed("listen at", path, e))?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// The socket's path, for the service's environment.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The messages since the last call.
    pub fn heard(&self) -> Result<Vec<Notification>, Problem> {
        let mut said = Vec::new();
        let mut buffer = [0; MESSAGE_LIMIT];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    said.extend(text.lines().filter_map(parse));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(said),
                Err(e) => return Err(super::fs::failed("hear", &self.path, e)),
            }
        }
    }
}

fn parse(line: &str) -> Option<Notification> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notification::Ready),
        ("STATUS", text) => Some(Notification::Status(text.to_owned())),
        _ => None,
    }
}

//! HTTP/1.1 connections to one server, kept for the next request. The future that waits for an answer also
//! drives its connection: nothing lies between a clock and the socket.

use crate::{
    domain::api::openai::ApiError,
    host::{os::http::root_of, process::owned::OwnedProcesses},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::Fuse};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{net::TcpStream, task::yield_now, time::timeout};

/// The longest wait for a connection. Everything here is on this host.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The idle connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Server>);

#[derive(Debug)]
struct Server {
    host: String,
    port: u16,
    /// The processes that must hold the other end.
    whose: Option<OwnedProcesses>,
    idle: Mutex<Vec<Connection>>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Boxed: every future that waits on it would be as large.
    driver: Box<Fuse<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

/// An answer whose body is still to come. The connection is kept once all of it was read.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    connection: Option<Connection>,
    connections: Connections,
}

impl Connections {
    pub(super) fn to(host: &str, port: u16) -> Self {
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = host.trim_matches(['[', ']']).to_owned();
        Self(Arc::new(Server { host, port, whose: None, idle: Mutex::default() }))
    }

    /// A new set of connections to the same server.
    pub(super) fn apart(&self) -> Self {
        let Server { host, port, whose, .. } = &*self.0;
        Self(Arc::new(Server {
            host: host.clone(),
            port: *port,
            whose: whose.clone(),
            idle: Mutex::default(),
        }))
    }

    /// A new set of connections, which are only made where these processes hold the other end.
    pub(super) fn held_by(&self, whose: OwnedProcesses) -> Self {
        let Server { host, port, .. } = &*self.0;
        Self(Arc::new(Server { host: host.clone(), port: *port, whose: Some(whose), idle: Mutex::default() }))
    }

    /// A kept connection that is still open, else a new one.
    pub(super) async fn take(&self) -> Result<Connection, ApiError> {
        match self.kept().await {
            Some(kept) => Ok(kept),
            None => self.open().await,
        }
    }

    /// A kept connection that is still open.
    pub(super) async fn kept(&self) -> Option<Connection> {
        // A connection that the server closed shows once the event loop has looked.
        yield_now().await;
        loop {
            let mut kept = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if kept.is_ready().await {
                return Some(kept);
            }
        }
    }

    async fn open(&self) -> Result<Connection, ApiError> {
        let Server { host, port, whose, .. } = &*self.0;
        let unreachable = |why| ApiError::Unreachable { address: self.address(), why };
        let opened = timeout(CONNECT_WAIT, TcpStream::connect((host.as_str(), *port))).await;
        let opened = opened.map_err(|_| unreachable("it accepts no connection".to_owned()))?;
        let stream = opened.map_err(|error| unreachable(root_of(&error)))?;
        if let Some(whose) = whose {
            let ends = stream.local_addr().and_then(|ours| Ok((ours, stream.peer_addr()?)));
            let (ours, theirs) = ends.map_err(|error| unreachable(root_of(&error)))?;
            // Nothing was sent yet, neither a key nor a prompt.
            whose.hold(ours, theirs).map_err(unreachable)?;
        }
        Connection::on(stream).await.map_err(|error| unreachable(root_of(&error)))
    }

    fn keep(&self, connection: Connection) {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// `HOST:PORT`.
    pub(super) fn address(&self) -> String {
        let Server { host, port, .. } = &*self.0;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The answer to `request` on this connection.
    pub(super) async fn ask(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Arriving> {
        let (head, body) = connection.send(request).await?.into_parts();
        let (status, headers) = (head.status, head.headers);
        Ok(Arriving { status, headers, body, connection: Some(connection), connections: self.clone() })
    }
}

impl Connection {
    async fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Box::new(driver.fuse()) })
    }

    /// Whether the connection takes a request: it is open, and the last answer was read.
    async fn is_ready(&mut self) -> bool {
        let Self { sender, driver } = self;
        beside(driver, sender.ready()).await.is_ok()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { sender, driver } = self;
        beside(driver, sender.send_request(request)).await
    }
}

impl Arriving {
    /// The next bytes of the body. None: the body has ended.
    pub(super) async fn chunk(&mut self) -> hyper::Result<Option<Bytes>> {
        while let Some(connection) = &mut self.connection {
            match beside(&mut connection.driver, self.body.frame()).await {
                Some(frame) => match frame?.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    // Trailers are ignored.
                    Err(_trailers) => {}
                },
                None => self.connection.take().into_iter().for_each(|whole| self.connections.keep(whole)),
            }
        }
        Ok(None)
    }
}

/// Waits for `wanted` and drives the connection meanwhile. The connection is polled first: it reads the bytes
/// of `wanted`, and finds its own end.
async fn beside<T>(driver: &mut (impl Future + Unpin), wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    poll_fn(|context| {
        // The end of the connection shows in `wanted`.
        let _ended: Poll<_> = driver.poll_unpin(context);
        wanted.as_mut().poll(context)
    })
    .await
}

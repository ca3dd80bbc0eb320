//! Asks an index what wheels hold before anything is downloaded: reads the directory at the end of each
//! archive.

use crate::{
    domain::{
        lockfile::archive::{self, Member},
        problem::{Kind, Problem},
    },
    host::os::{http, signals::Interrupt},
};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode, header::RANGE};
use std::{ops::Range, time::Duration};
use tokio::time::timeout;

/// Bytes at the end of an archive that hold the directory of nearly every wheel.
const TAIL: u64 = 256 << 10;
/// The longest directory that is read: of 200,000 files.
const MAX_DIRECTORY: u64 = 32 << 20;
/// The number of wheels that are asked for at once.
const AT_ONCE: usize = 16;
/// The longest wait for a server's connection, and for one wheel in all.
const CONNECT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(90);

/// A wheel at its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// `NAME VERSION`.
    pub(crate) name: String,
    /// The file's name.
    pub(crate) file: String,
    /// The address.
    pub(crate) url: String,
    /// The length.
    pub(crate) size: u64,
}

/// The contents of each wheel, in the same order; or why they are not known.
///
/// # Errors
/// [`Kind::Interrupted`] when a signal comes.
pub(crate) fn list(
    wheels: &[Remote],
    interrupt: &Interrupt,
) -> Result<Vec<Result<Vec<Member>, String>>, Problem> {
    let client = http::public().connect_timeout(CONNECT).build();
    let client = client.map_err(|e| Problem::doing("prepare an HTTP client", http::root_of(&e)))?;
    let ask = |wheel: &Remote| {
        let (client, wheel) = (client.clone(), wheel.clone());
        async move {
            let listed = timeout(PATIENCE, one(&client, &wheel)).await;
            listed.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
        }
    };
    let all = interrupt.drive(stream::iter(wheels.iter().map(ask)).buffered(AT_ONCE).collect::<Vec<_>>())?;
    if interrupt.came() {
        return Err(Problem::new(Kind::Interrupted, "stopped before anything was changed"));
    }
    Ok(all)
}

async fn one(client: &Client, wheel: &Remote) -> Result<Vec<Member>, String> {
    let begin = wheel.size.saturating_sub(TAIL);
    let tail = part(client, wheel, begin..wheel.size).await?;
    let none = || "its end is not that of a wheel".to_owned();
    let place = archive::directory(wheel.size, &tail).ok_or_else(none)?;
    if place.end - place.start > MAX_DIRECTORY {
        return Err(none());
    }
    let directory = match place.start.checked_sub(begin) {
        Some(skip) => {
            let skip = usize::try_from(skip).map_err(|_| none())?;
            let length = usize::try_from(place.end - place.start).map_err(|_| none())?;
            tail.get(skip..skip + length).ok_or_else(none)?.to_vec()
        }
        None => part(client, wheel, place).await?,
    };
    archive::members(&directory).ok_or_else(none)
}

async fn part(client: &Client, wheel: &Remote, range: Range<u64>) -> Result<Vec<u8>, String> {
    let said = |error: reqwest::Error| http::root_of(&error);
    let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    let answer = client.get(&wheel.url).header(RANGE, wanted).send().await.map_err(said)?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(format!("asked for a part of it, the index says {}", answer.status()));
    }
    let (mut bytes, mut answer) = (Vec::new(), answer);
    while let Some(chunk) = answer.chunk().await.map_err(said)? {
        bytes.extend(&chunk);
        if bytes.len() as u64 > range.end - range.start {
            return Err("the index gives more than it was asked for".to_owned());
        }
    }
    Ok(bytes)
}

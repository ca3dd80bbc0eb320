//! Interpreters in the store: builds of python-build-standalone, which uv installs too, by the hash of their archive.
//!
//! uv tells their addresses (on a mirror, if `UV_PYTHON_INSTALL_MIRROR` names one), but not their hashes, and
//! knows only builds older than itself. So the archive is fetched here, and checked against the lock.

use super::{
    byte_code,
    installed::{self, Ready},
    uv::Uv,
};
use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Listed, LockedInterpreter},
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        event_loop,
        os::{fs, http, signals::Interrupt},
        store::StoreWriter,
    },
};
use flate2::read::GzDecoder;
use reqwest::Client;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

/// The variable of uv with the mirror's address.
const MIRROR: &str = "UV_PYTHON_INSTALL_MIRROR";
/// The largest archive that is read, and the most that one may unpack to. They have 30 and 110 MB.
const MAX_ARCHIVE: u64 = 1 << 30;
const MAX_UNPACKED: u64 = 4 << 30;
/// The longest wait for a server's connection, and for its next bytes.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_mins(1);

/// The newest build of this minor version that uv knows, with the hash of its archive.
///
/// # Errors
/// [`Kind::Unverified`] where uv knows none, or its archive cannot be had.
pub fn newest(uv: &Uv, python: &str, interrupt: &Interrupt) -> Result<LockedInterpreter, Problem> {
    let listed = listed(uv, python)?;
    let place = LockedInterpreter {
        version: listed.version.clone(),
        build: listed.build.clone(),
        file: listed.file.clone(),
        sha256: Sha256Digest::of(""),
    };
    let folder = tempfile::tempdir().map_err(|e| Problem::doing("make a folder for an archive", e))?;
    let sha256 = fetch(&listed.url_of(&place), &folder.path().join("archive"), interrupt)?;
    Ok(listed.locked(sha256))
}

/// The program of an interpreter in the store, which is installed first if it is missing.
pub(crate) fn install(
    writer: &StoreWriter<'_>,
    uv: &Uv,
    python: &LockedInterpreter,
    interrupt: &Interrupt,
    said: &mut dyn FnMut(&str),
) -> Result<PathBuf, Problem> {
    let store = writer.store();
    let (to, minor) = (store.layout().python(python.sha256), minor(python));
    let program = to.join(format!("bin/python{minor}"));
    if let Some(manifest) = store.manifest(python.sha256)?.filter(|_| to.is_dir()) {
        let seen =
            installed::check((python.sha256, &to), &manifest, &store.trees()?, interrupt, &mut |_| ())?;
        if seen.damaged.is_empty() {
            writer.note_trees(seen.noted.as_slice())?;
            return Ok(program);
        }
    }
    said(&format!("fetch Python {}, build {}", python.version, python.build));
    let staged = writer.stage(&format!("python-{}", python.sha256.short()))?;
    let archive = staged.join("archive");
    let found = fetch(&listed(uv, minor)?.url_of(python), &archive, interrupt)?;
    if found != python.sha256 {
        let what = format!("`{}` is not what was locked: its sha256 is {found}", python.file);
        return Err(Problem::new(Kind::Unverified, what)
            .help("whoever gave it gives something else than when it was locked; ask another mirror"));
    }
    let folder = staged.join("python");
    unpack(&archive, &staged)?;
    let here = folder.join(format!("bin/python{minor}"));
    if !here.is_file() {
        let what = format!("`{}` has no `python/bin/python{minor}`", python.file);
        return Err(Problem::new(Kind::Unverified, what)
            .help("lock another build: `awqdeploy lock PROFILE --runtime`"));
    }
    compile(&here, &folder.join(format!("lib/python{minor}")))?;
    let entries = installed::finish(&folder, interrupt, &mut |_| ())?;
    writer.publish(Ready { staged: &folder, entries, name: python.sha256, to: &to })?;
    Ok(program)
}

/// `3.12` of `3.12.16`.
fn minor(python: &LockedInterpreter) -> &str {
    python.version.rsplit_once('.').map_or(&python.version, |(minor, _)| minor)
}

fn listed(uv: &Uv, minor: &str) -> Result<Listed, Problem> {
    let wanted = format!("cpython-{minor}-linux-x86_64-gnu");
    let list =
        ["python", "list", "--only-downloads", "--all-platforms", "--all-arches", "--output-format", "json"];
    let mut said = String::new();
    uv.run(&[&list[..], &[&wanted]].concat(), &mut |line| said.push_str(line))?;
    Listed::newest(&said).ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("uv knows no build of Python {minor}")).help(
            "use a newer uv; or take the host's own: `python = \"system\"` below `[runtime]` of the profile",
        )
    })
}

/// Compiles the standard library, as the wheels are compiled: the service may not write there.
fn compile(python: &Path, library: &Path) -> Result<(), Problem> {
    byte_code::compile(python, library).map_err(|problem| {
        Problem::new(Kind::Unverified, "the locked interpreter does not run on this host").because(problem).help(
            "it needs glibc 2.17 or newer; or take the host's own: `python = \"system\"` below `[runtime]` of the \
             profile",
        )
    })
}

/// Downloads an address to a file. Returns its hash.
fn fetch(url: &str, to: &Path, interrupt: &Interrupt) -> Result<Sha256Digest, Problem> {
    let unreached = |why: String| {
        Problem::new(Kind::Unverified, format!("cannot get the interpreter `{url}`: {why}")).help(format!(
            "name a mirror that this host reaches: `{MIRROR}=URL`; or take the host's own interpreter: `python = \
             \"system\"` below `[runtime]` of the profile"
        ))
    };
    let mut file = File::create(to).map_err(|e| fs::failed("write", to, e))?;
    let mut hasher = Sha256::new();
    let mut keep = |bytes: &[u8]| {
        hasher.update(bytes);
        file.write_all(bytes).map_err(|e| fs::failed("write", to, e))
    };
    match url.strip_prefix("file://") {
        Some(path) => {
            let path = path.replace("%2B", "+");
            let from = File::open(&path).map_err(|e| unreached(e.to_string()))?;
            copy(from, interrupt, &mut keep)?;
        }
        None => event_loop()?.block_on(download(url, interrupt, &mut keep, &unreached))?,
    }
    Ok(Sha256Digest::finish(hasher))
}

fn copy(
    mut from: File,
    interrupt: &Interrupt,
    keep: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut chunk = vec![0; 1 << 20];
    loop {
        interrupt.check()?;
        let read = from.read(&mut chunk).map_err(|e| Problem::doing("read an interpreter's archive", e))?;
        if read == 0 {
            return Ok(());
        }
        keep(&chunk[..read])?;
    }
}

async fn download(
    url: &str,
    interrupt: &Interrupt,
    keep: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    unreached: &dyn Fn(String) -> Problem,
) -> Result<(), Problem> {
    let said = |error: reqwest::Error| unreached(http::root_of(&error));
    let client: Client =
        http::public().connect_timeout(CONNECT).read_timeout(SILENCE).build().map_err(said)?;
    let asked = timeout(SILENCE, client.get(url).send()).await;
    let response = asked.map_err(|_| unreached("no answer".to_owned()))?.map_err(said)?;
    let mut response = response.error_for_status().map_err(said)?;
    let mut got = 0;
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        interrupt.check()?;
        got += chunk.len() as u64;
        if got > MAX_ARCHIVE {
            return Err(unreached(format!("it is longer than {}", ByteSize(MAX_ARCHIVE))));
        }
        keep(&chunk)?;
    }
    Ok(())
}

/// Unpacks an archive whose hash was locked. Nothing may lie outside of the folder all the same.
fn unpack(archive: &Path, into: &Path) -> Result<(), Problem> {
    let broken = |e: std::io::Error| {
        Problem::new(Kind::Unverified, format!("cannot unpack the interpreter's archive: {e}"))
            .help("lock another build: `awqdeploy lock PROFILE --runtime`")
    };
    let file = File::open(archive).map_err(|e| fs::failed("open", archive, e))?;
    let mut entries = tar::Archive::new(GzDecoder::new(file).take(MAX_UNPACKED));
    for entry in entries.entries().map_err(broken)? {
        entry.and_then(|mut entry| entry.unpack_in(into)).map_err(broken)?;
    }
    Ok(())
}

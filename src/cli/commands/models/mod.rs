//! `lock` and `fetch`: prints what was locked and fetched.

pub(super) mod store;

use crate::{
    cli::{
        args::{Download, Global, LockRequest},
        context::on_screen,
        documents::models::{FetchDocument, LockDocument, RuntimeLockDocument, UpstreamDocument},
        output::show,
        progress::Screen,
    },
    domain::{exit_status::ExitStatus, hub::upstream::lines, problem::Problem},
    flow::{
        context::Context,
        event::{Event, Observer as _},
        models::{
            fetch::{self, Fetched},
            lock::{self, Standing},
        },
    },
    host::hub::{Reach, Settings, pieces::HubPieces},
};
use std::rc::Rc;

fn lock_runtime(global: &Global, context: &Context, request: &LockRequest) -> Result<ExitStatus, Problem> {
    let LockRequest { profile, with, until, .. } = request;
    let locked = lock::lock_runtime(context, profile, with, until.as_deref())?;
    let document = RuntimeLockDocument {
        schema: "awqdeploy/runtime-lock/v1",
        digest: locked.digest(),
        wheels: locked.wheels.len(),
        bytes: locked.wheels.iter().map(|wheel| wheel.size).sum(),
        vllm: locked.vllm,
        device: locked.device,
        python: locked.python,
        platform: locked.platform,
        interpreter: locked.interpreter,
    };
    show(global, &document, |document| {
        let RuntimeLockDocument { vllm, wheels, bytes, digest, interpreter, .. } = document;
        let python = interpreter.as_ref().map_or_else(
            || "the host's Python".to_owned(),
            |python| format!("Python {}, build {}", python.version, python.build),
        );
        format!("vLLM {vllm}: {wheels} wheels ({bytes}) for {python} locked as {}\n", digest.short())
    })
}

pub(crate) fn lock(
    global: &Global,
    request: &LockRequest,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let context = on_screen(global, screen)?;
    if request.runtime {
        return lock_runtime(global, &context, request);
    }
    let settings = Settings::from_environment()?;
    let profile = &request.profile;
    if request.check {
        let checked = lock::check(&context, profile, &settings)?;
        let same = checked.standing == Standing::Same;
        show(global, &UpstreamDocument::of(profile, checked), upstream)?;
        return Ok(if same { ExitStatus::Done } else { ExitStatus::Unverified });
    }
    let from = request.from.as_deref();
    let locked = if request.fetch {
        lock::lock_and_fetch(&context, profile, &settings)?
    } else {
        lock::lock(&context, profile, from, &settings)?
    };
    show(global, &LockDocument::of(profile, locked), |LockDocument { locked, .. }| {
        let commit = locked.commit.map(|commit| format!(" of commit {commit}")).unwrap_or_default();
        let (files, name) = (locked.files.len(), locked.digest().short());
        format!("{profile}: {files} files{commit} locked as {name}\n")
    })
}

pub(crate) fn fetch(
    global: &Global,
    profile: &str,
    offline: bool,
    download: Download,
    screen: &Rc<Screen>,
) -> Result<ExitStatus, Problem> {
    let context = on_screen(global, screen)?;
    let mut settings = Settings::from_environment()?;
    settings.share = download.of(settings.share);
    if offline {
        settings.reach = Reach::Offline;
    }
    let Fetched { path, files, bytes, found, downloaded } = fetch::fetch(&context, profile, &settings)?;
    let (schema, profile) = ("awqdeploy/fetch/v1", profile.to_owned());
    let document = FetchDocument { schema, profile, path, files, bytes, found, downloaded };
    show(global, &document, |document| {
        let FetchDocument { profile, files, bytes, found, downloaded, .. } = document;
        format!(
            "{profile}: {files} files ({bytes}) are in the store: {downloaded} fetched, {found} were on this host\n"
        )
    })
}

/// The hub to repair from, if it can be asked. Without it there may be copies on this host.
pub(crate) fn pieces(context: &Context, profile: Option<&str>, screen: &Rc<Screen>) -> Option<HubPieces> {
    let pieces = Settings::from_environment().and_then(|settings| fetch::pieces(context, profile, &settings));
    pieces.unwrap_or_else(|problem| {
        screen.see(Event::Warning(format!("{}; the hub is not asked", problem.in_one_line())));
        None
    })
}

fn upstream(document: &UpstreamDocument) -> String {
    let UpstreamDocument { profile, repo, revision, .. } = document;
    let text = match document.upstream {
        "same" => format!("{profile}: `{repo}` has what was locked, and `{revision}` is still that\n"),
        "moved" => {
            let now = document.now.as_deref().unwrap_or_default();
            format!("{profile}: `{repo}` has what was locked; `{revision}` is commit {now} now\n")
        }
        "vanished" => {
            let why = document.why.as_deref().unwrap_or_default();
            format!("{profile}: `{repo}` does not give what was locked any more: {why}\n")
        }
        _ => format!("{profile}: `{repo}` has other files than those that were locked\n"),
    };
    if document.changes.is_empty() {
        return text;
    }
    format!("{text}{}\n", lines(&document.changes))
}

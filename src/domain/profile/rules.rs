//! Checks each value, and turns it into the one that the program works with.
//!
//! The limits are far beyond anything sensible; they are there so that a slip of the keyboard is found
//! here and not by an overflow, or by a service that waits for a week.

#![allow(clippy::needless_pass_by_value)] // Each rule takes what was read, so that all are passed on alike.

use super::{
    document::DocumentError,
    raw::CountOrWord,
    values::{Device, Offload, Parallel, Python, VerifyAtStart},
};
use crate::domain::size::ByteSize;
use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

type Checked<T> = Result<T, DocumentError>;

/// The longest name of a service. systemd allows 255 characters with the suffix; the rest is room for names
/// derived from it.
const SERVICE_LENGTH: usize = 200;
/// The longest name that the hub allows for a repository, owner included.
const REPO_LENGTH: usize = 193;
const NAME_LENGTH: usize = 128;
/// The least size: below one MiB somebody forgot the unit.
const LEAST_SIZE: ByteSize = ByteSize::mib(1);
/// The greatest size: one PiB.
const MOST_SIZE: ByteSize = ByteSize::gib(1 << 20);

/// More ranks than any one host has GPUs.
pub(super) const RANKS: RangeInclusive<u32> = 1..=64;
pub(super) const TOKENS: RangeInclusive<u32> = 1..=1 << 24;
pub(super) const SEQUENCES: RangeInclusive<u32> = 1..=65536;
/// The tokens of each answer. One token has no time per output token.
pub(super) const OUTPUT_TOKENS: RangeInclusive<u32> = 2..=65536;
pub(super) const REPETITIONS: RangeInclusive<u32> = 1..=1000;
pub(super) const WARMUPS: RangeInclusive<u32> = 0..=1000;
/// The most lengths of prompts, or numbers of streams: more make no curve any clearer.
const MOST_POINTS: usize = 8;
pub(super) const PROMPT_TOKENS: RangeInclusive<u32> = 1..=1 << 20;
pub(super) const STREAMS: RangeInclusive<u32> = 1..=256;
pub(super) const LONGEST_SWEEP: Duration = Duration::from_hours(1);
/// The longest probation, minutes: a day.
pub(super) const WATCH_MINUTES: RangeInclusive<u32> = 0..=1440;
pub(super) const MOST_TOKENS_PER_SECOND: f64 = 1e6;
pub(super) const MOST_RATIO: f64 = 1e3;
pub(super) const MOST_REQUESTS_PER_SECOND: f64 = 1e3;
/// An hour, milliseconds.
pub(super) const MOST_MS: f64 = 3.6e6;
pub(super) const LONGEST_START: Duration = Duration::from_hours(24);
pub(super) const LONGEST_REQUEST: Duration = Duration::from_hours(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_hours(1);
const SHORTEST: Duration = Duration::from_secs(1);

/// Checks a whole number in this range.
pub(super) fn whole(range: RangeInclusive<u32>) -> impl Fn(i64) -> Checked<u32> {
    move |value| match u32::try_from(value) {
        Ok(value) if range.contains(&value) => Ok(value),
        _ if value < i64::from(*range.start()) => Err(at_least(range.start())),
        _ => Err(at_most(range.end())),
    }
}

/// Checks whole numbers in this range, each above the one before. None is allowed.
pub(super) fn rising(range: RangeInclusive<u32>) -> impl Fn(Vec<i64>) -> Checked<Vec<u32>> {
    move |values| {
        let rule = whole(range.clone());
        let values: Vec<u32> = values.into_iter().map(rule).collect::<Checked<_>>()?;
        if let Some((before, next)) = values.iter().zip(values.iter().skip(1)).find(|(a, b)| a >= b) {
            return Err(DocumentError::new(format!("{next} is not above {before}"))
                .help("write them from the smallest to the largest"));
        }
        if values.len() > MOST_POINTS {
            return Err(DocumentError::new(format!("has {} values, more than {MOST_POINTS}", values.len())));
        }
        Ok(values)
    }
}

/// Checks a number above 0, and at most this.
pub(super) fn above_zero(most: f64) -> impl Fn(f64) -> Checked<f64> {
    move |value| match value {
        value if value.is_nan() => Err(DocumentError::new("not a number")),
        value if value <= 0.0 => Err(DocumentError::new("must be above 0")),
        value if value > most => Err(at_most(most)),
        value => Ok(value),
    }
}

/// Checks a number from 0 to 1.
pub(super) fn share(value: f64) -> Checked<f64> {
    match value {
        value if value.is_nan() => Err(DocumentError::new("not a number")),
        value if value < 0.0 => Err(at_least(0)),
        value if value > 1.0 => Err(at_most(1)),
        value => Ok(value),
    }
}

fn at_least(least: impl std::fmt::Display) -> DocumentError {
    DocumentError::new(format!("must be at least {least}"))
}

fn at_most(most: impl std::fmt::Display) -> DocumentError {
    DocumentError::new(format!("must be at most {most}"))
}

pub(super) fn port(value: i64) -> Checked<u16> {
    let port = whole(1..=u32::from(u16::MAX))(value)?;
    u16::try_from(port).map_err(|_| at_most(u16::MAX))
}

pub(super) fn host(text: String) -> Checked<IpAddr> {
    text.parse().map_err(|_| match text.as_str() {
        "localhost" => DocumentError::new("this is a name").help("write `host = \"127.0.0.1\"`"),
        _ => DocumentError::new("not an IP address").help(
            "for example `host = \"127.0.0.1\"`, or `host = \"0.0.0.0\"` for every address of this host",
        ),
    })
}

/// Checks the name of a service: the characters that systemd allows, without `@` (templates), `\` and `:`
/// (escapes and devices).
pub(super) fn service(text: String) -> Checked<String> {
    const SUFFIXES: [&str; 5] = [".service", ".socket", ".target", ".timer", ".mount"];
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    if let Some(suffix) = SUFFIXES.iter().find(|suffix| text.ends_with(**suffix)) {
        let stem = text.trim_end_matches(suffix);
        return Err(DocumentError::new("has a suffix").help(format!("leave it out: `service = \"{stem}\"`")));
    }
    if text.starts_with("awqdeploy") || text.starts_with("systemd") {
        return Err(DocumentError::new("taken: units of this name are not the model's"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(DocumentError::new("must begin with a letter or digit"));
    }
    no_odd(&text, odd, "a unit's name is letters, digits, `-`, `_` and `.`")?;
    no_longer(text, SERVICE_LENGTH)
}

/// Checks the name of a profile: its file's stem, a TOML key without quotes, and a word on command lines.
pub(crate) fn name(text: String) -> Checked<String> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c));
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(DocumentError::new("must begin with a letter or digit"));
    }
    no_odd(&text, odd, "a profile's name is letters, digits, `-` and `_`")?;
    no_longer(text, NAME_LENGTH)
}

pub(crate) fn repo(text: String) -> Checked<String> {
    if text.starts_with(['/', '.', '~']) {
        return Err(DocumentError::new("this is a folder")
            .help("a local folder goes into `path`; `repo` still says what it is a copy of"));
    }
    if let Some((_, address)) = text.split_once("://") {
        let names: Vec<&str> = address.trim_end_matches('/').split('/').collect();
        let fault = DocumentError::new("this is a URL");
        return Err(match names.as_slice() {
            [_, owner, name, ..] => fault.help(format!("write `repo = \"{owner}/{name}\"`")),
            _ => fault,
        });
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
    no_odd(&text, odd, "a repository is letters, digits, `-`, `_` and `.`")?;
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [owner, name] if [owner, name].iter().all(|part| is_hub_name(part)) => no_longer(text, REPO_LENGTH),
        [_, _] => Err(DocumentError::new("each part must begin and end with a letter or digit")),
        [_] => Err(DocumentError::new("the owner is missing")),
        _ => Err(DocumentError::new("too many parts")),
    }
}

/// Checks a repository that must differ from those named before it.
pub(super) fn alternative(text: String, named: &mut BTreeSet<String>) -> Checked<String> {
    let repo = repo(text)?;
    if !named.insert(repo.clone()) {
        return Err(
            DocumentError::new("named already").help("an alternative is another repository: leave it out")
        );
    }
    Ok(repo)
}

fn is_hub_name(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric() || c == '_';
    part.starts_with(edge) && part.ends_with(edge) && !part.contains("..")
}

pub(in crate::domain) fn revision(text: String) -> Checked<String> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(DocumentError::new("must begin with a letter or digit"));
    }
    if text.contains("..") {
        return Err(DocumentError::new("must not contain `..`"));
    }
    no_odd(&text, odd, "a revision is letters, digits, `-`, `_`, `.` and `/`")?;
    no_longer(text, NAME_LENGTH)
}

/// A file or folder, wherever it is read from.
pub(super) fn python(text: String) -> Checked<Python> {
    if text == "system" { Ok(Python::System) } else { whole_path(text).map(Python::Given) }
}

pub(in crate::domain) fn whole_path(text: String) -> Checked<PathBuf> {
    let path = PathBuf::from(&text);
    if text.starts_with('~') {
        return Err(DocumentError::new("`~` means nothing to a service").help("write the whole path"));
    }
    if !path.is_absolute() {
        return Err(DocumentError::new("this is a relative path")
            .help("write the whole path: the service does not run where you are"));
    }
    if path.components().any(|part| part.as_os_str() == "..") {
        return Err(DocumentError::new("must not contain `..`"));
    }
    one_line(text)?;
    Ok(path)
}

pub(super) fn served_name(text: String) -> Checked<String> {
    if text.is_empty() {
        return Err(DocumentError::new("empty"));
    }
    if text.starts_with('-') {
        return Err(DocumentError::new("must not begin with `-`: vLLM would take it for a flag"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control();
    no_odd(&text, odd, "must be one word")?;
    no_longer(text, NAME_LENGTH)
}

/// Checks a release or pre-release as PEP 440 writes it, without a local part: `0.26.0`, `0.27.0rc1`.
pub(in crate::domain) fn version(text: String) -> Checked<String> {
    if let Some(rest) = text.strip_prefix('v') {
        return Err(DocumentError::new("leave out the `v`").help(format!("write `vllm = \"{rest}\"`")));
    }
    if let Some((release, _)) = text.split_once('+') {
        return Err(DocumentError::new("leave out the local part: the lock decides the build")
            .help(format!("write `vllm = \"{release}\"`")));
    }
    if text.starts_with(['=', '<', '>', '~', '^']) || text.contains('*') || text == "latest" {
        return Err(DocumentError::new("not one version").help(
            "a deployment is reproducible only from one exact version, for example `vllm = \"0.26.0\"`",
        ));
    }
    let release: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let suffix = &text[release.len()..];
    let numbers = release.trim_end_matches('.').split('.');
    let numbered = numbers.clone().count() >= 2 && numbers.clone().all(is_number);
    let trailing = if release.ends_with('.') { "." } else { "" };
    if numbered && is_version_suffix(&format!("{trailing}{suffix}")) {
        no_longer(text, NAME_LENGTH)
    } else {
        Err(DocumentError::new("not a version"))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn is_version_suffix(suffix: &str) -> bool {
    let numbered = ["a", "b", "rc", ".post", ".dev"];
    suffix.is_empty() || numbered.iter().any(|stem| suffix.strip_prefix(stem).is_some_and(is_number))
}

pub(in crate::domain) fn device(text: String) -> Checked<Device> {
    match text.as_str() {
        "cuda" => Ok(Device::Cuda),
        "cpu" => Ok(Device::Cpu),
        "gpu" | "nvidia" => Err(DocumentError::new("not a device").help("write `device = \"cuda\"`")),
        _ => Err(DocumentError::new("not a device")),
    }
}

pub(super) fn verify_at_start(text: String) -> Checked<VerifyAtStart> {
    match text.as_str() {
        "memo" => Ok(VerifyAtStart::Memo),
        "full" => Ok(VerifyAtStart::Full),
        "none" | "never" | "off" => Err(DocumentError::new("it cannot be left out")
            .help("`memo` costs an unchanged model next to nothing")),
        _ => Err(DocumentError::new("neither `memo` nor `full`")),
    }
}

pub(super) fn parallel(key: &'static str) -> impl Fn(CountOrWord) -> Checked<Parallel> {
    move |value| match value {
        CountOrWord::Count(count) => whole(RANKS)(count).map(Parallel::Fixed),
        CountOrWord::Word(word) if word == "auto" => Ok(Parallel::Auto),
        CountOrWord::Word(word) if word.parse::<u32>().is_ok() => {
            Err(DocumentError::new("this is a string")
                .help(format!("leave out the quotes: `{key} = {word}`")))
        }
        CountOrWord::Word(_) => Err(DocumentError::new("neither a number nor `auto`")),
    }
}

/// The largest number of a GPU.
const LAST_GPU: i64 = 1023;

pub(super) fn gpus(values: Vec<CountOrWord>) -> Checked<Vec<String>> {
    const HELP: &str = "`nvidia-smi -L` lists numbers and UUIDs";
    let mut gpus: Vec<String> = Vec::new();
    for value in values {
        let gpu = match value {
            CountOrWord::Count(number @ 0..=LAST_GPU) => number.to_string(),
            CountOrWord::Count(number) => {
                return Err(DocumentError::new(format!("no GPU has the number {number}")).help(HELP));
            }
            CountOrWord::Word(word) if is_uuid(&word) => word,
            CountOrWord::Word(word) => {
                return Err(DocumentError::new(format!("`{word}` is neither a number nor a UUID")).help(HELP));
            }
        };
        if gpus.contains(&gpu) {
            return Err(DocumentError::new(format!("`{gpu}` comes twice")).help("leave it out once"));
        }
        gpus.push(gpu);
    }
    if gpus.is_empty() {
        return Err(DocumentError::new("names no GPU").help("leave `gpus` out to choose among all"));
    }
    Ok(gpus)
}

/// Whether it has the form of a GPU's UUID, whole or as much of it as is unique.
fn is_uuid(word: &str) -> bool {
    let digits = |rest: &str| rest.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    word.strip_prefix("GPU-").is_some_and(|rest| !rest.is_empty() && digits(rest))
}

pub(super) fn size(text: String) -> Checked<ByteSize> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if text.chars().all(plain) && text.parse::<f64>().is_ok() {
        return Err(DocumentError::new("has no unit").help(format!("did you mean `{text}GiB`?")));
    }
    match text.parse::<ByteSize>() {
        Ok(size) if size < LEAST_SIZE => Err(DocumentError::new("must be at least 1MiB")),
        Ok(size) if size > MOST_SIZE => Err(DocumentError::new("must be at most 1PiB")),
        Ok(size) => Ok(size),
        Err(_) => Err(DocumentError::new("not a size")),
    }
}

pub(super) fn offload(text: String) -> Checked<Offload> {
    match text.as_str() {
        "auto" => Ok(Offload::Auto),
        "none" => Ok(Offload::None),
        _ => match text.parse::<ByteSize>() {
            Ok(ByteSize(0)) => {
                Err(DocumentError::new("nothing is written as a word").help("write `offload = \"none\"`"))
            }
            _ => size(text).map(Offload::Fixed),
        },
    }
}

/// Checks a duration as people write it (`20min`, `1h 30m`) or as ISO 8601 does (`PT20M`).
pub(super) fn duration(longest: Duration) -> impl Fn(String) -> Checked<Duration> {
    move |text| {
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
            return Err(DocumentError::new("has no unit").help(format!("did you mean `{text}s`?")));
        }
        let duration =
            text.parse::<jiff::SignedDuration>().map_err(|_| DocumentError::new("not a duration"))?;
        if duration.is_negative() || duration.is_zero() {
            return Err(DocumentError::new("must be at least 1s"));
        }
        within(longest)(duration.unsigned_abs())
    }
}

pub(super) fn within(longest: Duration) -> impl Fn(Duration) -> Checked<Duration> {
    move |duration| match duration {
        duration if duration < SHORTEST => Err(DocumentError::new("must be at least 1s")),
        duration if duration > longest => Err(at_most(format_args!("{}h", longest.as_secs() / 3600))),
        duration => Ok(duration),
    }
}

/// Refuses NUL, which ends a C string, and line breaks, which end a line of a unit file.
pub(in crate::domain) fn one_line(text: String) -> Checked<String> {
    match text.chars().find(|c| ['\0', '\n', '\r'].contains(c)) {
        Some('\0') => Err(DocumentError::new("contains a NUL character")),
        Some(_) => Err(DocumentError::new("contains a line break")),
        None => Ok(text),
    }
}

fn no_odd(text: &str, odd: impl Fn(char) -> bool, allowed: &str) -> Checked<()> {
    match text.chars().find(|c| odd(*c)) {
        None => Ok(()),
        Some(c) if c.is_whitespace() => Err(DocumentError::new(format!("contains a space: {allowed}"))),
        Some(c) => Err(DocumentError::new(format!("contains `{}`: {allowed}", c.escape_debug()))),
    }
}

fn no_longer(text: String, most: usize) -> Checked<String> {
    if text.len() > most {
        return Err(DocumentError::new(format!("{} characters long, at most {most} fit", text.len())));
    }
    Ok(text)
}

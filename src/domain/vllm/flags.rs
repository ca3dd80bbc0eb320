//! Tells which version of vLLM knows which flag of `vllm serve`, and reads a profile's extra arguments.
//!
//! The table was read from the argument parsers of vLLM's own wheels; its head says how. vLLM exits with
//! status 2 on an unknown flag, after the old service was stopped: so these are refused before.

use super::version::Version;

const TABLE: &str = include_str!("known/vllm-flags.txt");
/// The line between the engine's flags and those of the front end.
const FRONT_END: &str = "\nfront end\n";

/// Switches whose name does not say that they are one.
const SWITCHES: [&str; 48] = [
    "--aggregate-engine-logging",
    "--allow-credentials",
    "--allow-deprecated-quantization",
    "--async-scheduling",
    "--calculate-kv-scales",
    "--cohere-is-reasoning-model",
    "--cudagraph-metrics",
    "--data-parallel-external-lb",
    "--data-parallel-hybrid-lb",
    "--data-parallel-multi-port-external-lb",
    "--dcp-q-replicate",
    "--enforce-eager",
    "--exclude-tools-when-tool-choice-none",
    "--fail-on-environ-validation",
    "--fully-sharded-loras",
    "--grpc",
    "--headless",
    "--interleave-mm-strings",
    "--jit-monitor-verbose",
    "--kv-cache-metrics",
    "--kv-sharing-fast-prefill",
    "--language-model-only",
    "--log-error-stack",
    "--long-prefill-token-threshold-adaptive",
    "--mm-device-do-normalize",
    "--mm-encoder-only",
    "--monokernel",
    "--numa-bind",
    "--ray-workers-use-nsight",
    "--return-sampling-mask",
    "--return-tokens-as-token-ids",
    "--scheduler-reserve-full-isl",
    "--skip-mm-profiling",
    "--skip-tokenizer-init",
    "--sleep-mode-offload-cudagraph",
    "--specialize-active-lora",
    "--swa-bounded-replay",
    "--tokens-only",
    "--trust-remote-code",
    "--trust-request-chat-template",
    "--trust-request-mm-kwargs",
    "--use-fp64-gumbel",
    "--use-replayssm",
    "--use-tqdm-on-load",
    "-dpe",
    "-dph",
    "-dpm",
    "-ep",
];
/// Flags that are named like a switch, and take values.
const NO_SWITCHES: [&str; 1] = ["--disable-access-log-for-endpoints"];
/// Switches that can only be put on: vLLM has no `--no-` for them.
const ONLY_ON: [&str; 5] = [
    "--aggregate-engine-logging",
    "--data-parallel-multi-port-external-lb",
    "--disable-log-stats",
    "--grpc",
    "--headless",
];

/// The first version that knows `--disable-x` wherever there is `--enable-x`, and the other way round.
const OPPOSITES: Version = Version::new(0, 33, 0);

/// The name of the opposite: `--disable-x` for `--enable-x`.
fn opposite(name: &str) -> Option<String> {
    let [enable, disable] = ["--enable-", "--disable-"].map(|start| name.strip_prefix(start));
    enable.map(|rest| format!("--disable-{rest}")).or_else(|| Some(format!("--enable-{}", disable?)))
}

/// Whether this flag takes no value.
pub fn is_switch(name: &str) -> bool {
    let says_so = ["--enable-", "--disable-", "--no-"].iter().any(|start| name.starts_with(start));
    (says_so && !NO_SWITCHES.contains(&name)) || SWITCHES.contains(&name)
}

/// Whether this switch can be put off by `--no-`.
pub fn has_negation(name: &str) -> bool {
    is_switch(name) && !ONLY_ON.contains(&name)
}

/// A word with the whole name of the flag that it begins, as argparse reads it: the only flag of this version that begins
/// so. Absent where the name is whole already, or could be that of several.
pub fn in_full(word: &str, version: Version) -> Option<String> {
    let end = word.find(['=', '.']).unwrap_or(word.len());
    let (begun, rest) = word.split_at(end);
    let begun = begun.replace('_', "-");
    let newest = versions().filter_map(Version::of).max()?;
    let known = known_to(version.min(newest)).filter(|name| name.starts_with("--"));
    let negated = |name: &str| format!("--no-{}", name.trim_start_matches("--"));
    let opposites = |name: &str| opposite(name).filter(|_| version >= OPPOSITES && has_negation(name));
    let spellings = |name: &str| [Some(name.to_owned()), Some(negated(name)), opposites(name)];
    let all: Vec<String> = known.flat_map(spellings).flatten().collect();
    let mut like = all.iter().filter(|name| name.starts_with(&begun));
    let (first, second) = (like.next()?, like.next());
    (begun.len() > 2 && second.is_none() && *first != begun).then(|| format!("{first}{rest}"))
}

/// The table's knowledge of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// This version knows it.
    Known,
    /// Known until the version before `since`.
    Gone {
        /// The first version of the table that lacks it.
        since: &'static str,
        /// The remedy.
        instead: Option<&'static str>,
    },
    /// Known from `since` on.
    NotYet {
        /// The first version of the table that has it.
        since: &'static str,
    },
    /// No version knows it.
    Unknown {
        /// The flag of this version that is spelled most alike.
        like: Option<&'static str>,
    },
}

struct Row {
    name: &'static str,
    first: &'static str,
    last: &'static str,
    instead: Option<&'static str>,
}

impl Row {
    fn knows(&self, version: Version) -> bool {
        Version::of(self.first).is_some_and(|first| first <= version)
            && Version::of(self.last).is_some_and(|last| version <= last)
    }
}

fn rows() -> impl Iterator<Item = Row> {
    rows_of(TABLE)
}

fn rows_of(table: &'static str) -> impl Iterator<Item = Row> {
    table.lines().filter(|line| line.starts_with('-')).filter_map(|line| {
        let mut words = line.splitn(4, ' ');
        Some(Row { name: words.next()?, first: words.next()?, last: words.next()?, instead: words.next() })
    })
}

/// The versions that the table was made from, oldest first.
pub fn versions() -> impl Iterator<Item = &'static str> {
    let line = TABLE.lines().find_map(|line| line.strip_prefix("versions "));
    line.unwrap_or_default().split(' ')
}

/// Whether the table can tell the flags of exactly this version.
pub fn covers(version: Version) -> bool {
    versions().filter_map(Version::of).any(|known| known == version)
}

/// The flags that this version knows, in the table's order.
pub fn known_to(version: Version) -> impl Iterator<Item = &'static str> {
    rows().filter(move |row| row.knows(version)).map(|row| row.name)
}

/// The engine's flags that this version knows, without those of the HTTP front end.
pub fn engine_flags(version: Version) -> impl Iterator<Item = &'static str> {
    let engine = TABLE.split_once(FRONT_END).map_or(TABLE, |(engine, _)| engine);
    rows_of(engine).filter(move |row| row.knows(version)).map(|row| row.name)
}

/// Looks an argument up, as it was written, in a version that the table [`covers`].
pub(crate) fn knowledge(argument: &Argument, version: Version) -> Knowledge {
    let is_opposite = argument.name.starts_with("--no-") && !argument.written.starts_with("--no");
    if is_opposite && version < OPPOSITES {
        return Knowledge::NotYet { since: "0.33.0" };
    }
    look_up(&argument.name, version)
}

/// Looks this flag up in this version, for a version that the table [`covers`]. `--no-x` is the negation of `--x`.
pub fn look_up(flag: &str, version: Version) -> Knowledge {
    let by_opposite = opposite(flag).filter(|_| version >= OPPOSITES);
    if by_opposite.is_some_and(|other| known_to(version).any(|name| name == other && has_negation(name))) {
        return Knowledge::Known;
    }
    let positive = flag.strip_prefix("--no-").map(|rest| format!("--{rest}"));
    let named = |row: &Row| row.name == flag || Some(row.name) == positive.as_deref();
    let Some(row) = rows().find(named) else {
        let candidates = rows().filter(|row| row.knows(version));
        return Knowledge::Unknown { like: most_alike(flag, candidates.map(|row| row.name)) };
    };
    if row.knows(version) {
        return Knowledge::Known;
    }
    if Version::of(row.first).is_some_and(|first| version < first) {
        return Knowledge::NotYet { since: row.first };
    }
    let since = versions().skip_while(|version| *version != row.last).nth(1).unwrap_or(row.last);
    Knowledge::Gone { since, instead: row.instead }
}

/// The candidate that is spelled most alike, if any is.
pub(crate) fn most_alike(flag: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    /// Below this a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.85;
    candidates
        .map(|candidate| (strsim::jaro_winkler(flag, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// One flag among a profile's extra arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The flag as it is written.
    pub written: String,
    /// The long name where the table has one for the short, with dashes: `--tensor-parallel-size`.
    pub name: String,
    /// The first value, written after `=` or as the next argument.
    pub value: Option<String>,
}

/// The flags of an argument list. A word that is no flag belongs to the flag before it.
pub(crate) fn arguments(list: &[String]) -> Vec<Argument> {
    let mut found = Vec::new();
    for (index, text) in list.iter().enumerate() {
        if !is_flag(text) {
            continue;
        }
        let (written, value) = match text.split_once('=') {
            Some((written, value)) => (written, Some(value)),
            None => (text.as_str(), list.get(index + 1).map(String::as_str).filter(|next| !is_flag(next))),
        };
        let (name, value) = (canonical(written), value.map(str::to_owned));
        found.push(Argument { written: written.to_owned(), name, value });
    }
    found
}

/// Whether argparse would take it for a flag: negative numbers are values.
pub(crate) fn is_flag(text: &str) -> bool {
    text.starts_with('-') && text.parse::<f64>().is_err()
}

/// The long name of a flag. vLLM's parser takes `_` for `-`, `--x.y` for a field of the JSON value of `--x`,
/// `-O3` for `-O 3`, and `--disable-x` for `--no-enable-x`.
fn canonical(written: &str) -> String {
    let whole = written.split('.').next().unwrap_or(written);
    if whole.starts_with("--") {
        let name = whole.replace('_', "-");
        let listed = |name: &str| rows().any(|row| row.name == name);
        let negated = opposite(&name).filter(|other| !listed(&name) && has_negation(other) && listed(other));
        return negated.map_or(name, |other| other.replacen("--", "--no-", 1));
    }
    match whole {
        "-tp" => "--tensor-parallel-size".to_owned(),
        "-pp" => "--pipeline-parallel-size".to_owned(),
        "-q" => "--quantization".to_owned(),
        _ if whole.starts_with("-O") => "-O".to_owned(),
        _ => whole.to_owned(),
    }
}

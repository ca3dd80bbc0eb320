//! The arguments of single commands, where they are more than a name.

use crate::{
    domain::{exit_status::ExitStatus, profile::Arrivals, size::ByteSize},
    flow::context::Estimates,
    host::hub::{MOST_CONNECTIONS, Share, Turns},
};
use clap::{Args, ValueEnum, value_parser};
use std::{path::PathBuf, time::Duration};

/// The arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// A server of the API, in place of what this host's root has deployed
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The name to ask that server for [default: the first that it serves]
    #[arg(long, value_name = "NAME", requires = "url")]
    pub(crate) model: Option<String>,
    /// The floor of one stream's decode rate, tokens/s
    #[arg(long, value_name = "RATE", requires = "url", default_value_t = 5.0)]
    pub(crate) min_decode_tokens_per_second: f64,
    /// The share of the questions with known answers that must be answered right [default: not asked]
    #[arg(long, value_name = "SHARE", requires = "url")]
    pub(crate) min_known_answers: Option<f64>,
    /// A report that tells what the model should expect: printed by `validate --json`, here or elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    /// The most that it may diverge from what that report tells, nats a token [default: 0.15]
    #[arg(long, value_name = "NATS", requires_all = ["url", "reference"])]
    pub(crate) max_divergence: Option<f64>,
    /// Requests a second that come whatever the server makes of them, after everything else [default: none]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// How long they come, seconds
    #[arg(long, value_name = "SECONDS", requires = "rate", value_parser = value_parser!(u64).range(1..=3600), default_value_t = 60)]
    pub(crate) rate_time: u64,
    /// The most time to the first token of a good answer, milliseconds
    #[arg(long, value_name = "MS", requires = "rate", value_parser = positive)]
    pub(crate) max_ttft_ms: Option<f64>,
    /// The most time for each further token of a good answer, milliseconds
    #[arg(long, value_name = "MS", requires = "rate", value_parser = positive)]
    pub(crate) max_tpot_ms: Option<f64>,
    /// The most time to the last token of a good answer, milliseconds
    #[arg(long, value_name = "MS", requires = "rate", value_parser = positive)]
    pub(crate) max_e2el_ms: Option<f64>,
    /// The share of those requests that must get a good answer [default: it gates nothing]
    #[arg(long, value_name = "SHARE", requires = "rate")]
    pub(crate) min_goodput: Option<f64>,
}

impl Validate {
    /// The requests that are to come at a rate of their own.
    pub(crate) fn arrivals(&self) -> Option<Arrivals> {
        Some(Arrivals {
            rate: self.rate?,
            time: Duration::from_secs(self.rate_time),
            max_ttft_ms: self.max_ttft_ms,
            max_tpot_ms: self.max_tpot_ms,
            max_e2el_ms: self.max_e2el_ms,
            min_goodput: self.min_goodput,
        })
    }
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= MOST { Ok(number) } else { Err(format!("above 0 and at most {MOST}")) }
}

/// An hour in milliseconds; more requests a second nobody sends.
const MOST: f64 = 3.6e6;

/// The arguments of `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The profile that shall serve
    pub(crate) profile: String,
    /// The profile to return to: deployed first, unless a generation of it is proven
    #[arg(long, value_name = "PROFILE")]
    pub(crate) fallback: Option<String>,
    /// The folder that `awqdeploy units --output` wrote for it: what they say is part of what is declared
    #[arg(long, value_name = "DIR")]
    pub(crate) units: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) estimate: AcceptEstimate,
}

/// The arguments of `adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The name of its systemd unit, or the number of its process
    #[arg(value_name = "UNIT|PID")]
    pub(crate) target: String,
    /// The profile to write for it
    #[arg(long, value_name = "NAME", default_value = "adopted")]
    pub(crate) profile: String,
    /// The service that is to run it, where it has no unit
    #[arg(long, value_name = "NAME", default_value = "vllm")]
    pub(crate) service: String,
    /// The model's name for clients [default: as it was started with, or after its folder]
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repo: Option<String>,
    /// The version of its vLLM, where the packages beside its interpreter do not say it
    #[arg(long, value_name = "VERSION")]
    pub(crate) vllm: Option<String>,
    /// Ask it no questions, now or after a return: a base model, say, has no answers
    #[arg(long)]
    pub(crate) no_questions: bool,
    /// Show what would be recorded, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which profile is to be written.
#[derive(Debug, Args)]
pub(crate) struct InitRequest {
    /// The model's repository on the hub [default: you are asked, at a terminal]
    #[arg(value_name = "OWNER/MODEL", conflicts_with = "migrate_to")]
    pub(crate) model: Option<String>,
    /// Write the profile that is to replace the running one, and is measured against it
    #[arg(long, value_name = "OWNER/MODEL", conflicts_with = "adopt")]
    pub(crate) migrate_to: Option<String>,
    /// Write the profile of a vLLM server that runs: the name of its systemd unit, or the number of its process
    #[arg(long, value_name = "UNIT|PID", conflicts_with_all = ["from", "facts"])]
    pub(crate) adopt: Option<String>,
    /// The vLLM of that server, where the packages beside its interpreter do not say it
    #[arg(long, value_name = "VERSION", requires = "adopt")]
    pub(crate) vllm: Option<String>,
    /// A folder or Hugging Face cache that has the model's files; the profile then names it as `path`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: Option<PathBuf>,
    /// The profile's name [default: after the model]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The profile that is to be replaced [default: the running one, or the only one]
    #[arg(long, value_name = "PROFILE", requires = "migrate_to")]
    pub(crate) baseline: Option<String>,
    /// Write it for these facts of a host instead of this host's
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// Print what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A generation's number [default: what is current]
    pub(crate) generation: Option<u64>,
    /// Go on with every line that is to come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The most lines of what was said
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 1000, conflicts_with = "follow")]
    pub(crate) lines: u32,
}

/// The arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportRequest {
    /// A generation's number [default: what is current]
    pub(crate) generation: Option<u64>,
    /// Write it as one self-contained HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write it as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write the measurements as `vllm bench serve` does, a line for each number of streams; into a `summary.json` as one
    /// array, which `vllm bench sweep plot` reads
    #[arg(long, value_name = "FILE")]
    pub(crate) vllm_bench: Option<PathBuf>,
    /// Write the measurements as `guidellm` does, a benchmark for each number of streams
    #[arg(long, value_name = "FILE")]
    pub(crate) guidellm: Option<PathBuf>,
}

/// The options of commands that ask for consent.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

/// The options that override a refusal.
#[derive(Debug, Args)]
pub(crate) struct Insistence {
    /// Try again what failed before
    #[arg(long)]
    pub(crate) retry: bool,
    /// Go on even if a rollback to the running server would not work
    #[arg(long)]
    pub(crate) no_way_back: bool,
    #[command(flatten)]
    pub(crate) estimate: AcceptEstimate,
}

/// The option of commands that plan.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct AcceptEstimate {
    /// Go on with a model that is not modelled, whose memory is estimated from file sizes
    #[arg(long)]
    accept_estimate: bool,
}

impl From<AcceptEstimate> for Estimates {
    fn from(AcceptEstimate { accept_estimate }: AcceptEstimate) -> Self {
        if accept_estimate { Self::Accepted } else { Self::Refused }
    }
}

/// The arguments of `lock`.
#[derive(Debug, Args)]
pub(crate) struct LockRequest {
    /// A profile's name
    pub(crate) profile: String,
    /// The folder with the files [default: the profile's `path`, else the hub]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["check", "fetch"])]
    pub(crate) from: Option<PathBuf>,
    /// Fetch it as well, so that every piece of a large file is locked: a wrong byte then costs 8 MiB
    #[arg(long, conflicts_with = "check")]
    pub(crate) fetch: bool,
    /// Lock the wheels of the profile's vLLM instead of its model; uv resolves them
    #[arg(long, conflicts_with_all = ["from", "check", "fetch"])]
    pub(crate) runtime: bool,
    /// With this requirement as well, such as `transformers==5.17.0`; may repeat
    #[arg(long, value_name = "REQUIREMENT", requires = "runtime")]
    pub(crate) with: Vec<String>,
    /// Without what the index got after this day, such as 2026-11-23: the same again later
    #[arg(long, value_name = "DAY", requires = "runtime")]
    pub(crate) until: Option<String>,
    #[arg(long, help = format!(
        "Only look whether the hub still has what was locked; exit status {} if it has moved, changed or gone",
        ExitStatus::Unverified.code(),
    ))]
    pub(crate) check: bool,
}

/// The arguments of `rehearse`.
#[derive(Debug, Args)]
pub(crate) struct Rehearse {
    /// The profile that serves first
    #[arg(long, default_value = "gptq", value_name = "PROFILE")]
    pub(crate) from: String,
    /// The profile to move to
    #[arg(long, default_value = "awq", value_name = "PROFILE")]
    pub(crate) to: String,
    /// The kind of change
    #[arg(long, default_value = "migration", value_name = "STORY")]
    pub(crate) story: Story,
    /// Let the second deployment go wrong in this way
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Option<String>,
    /// List what can go wrong, one a line, its name first
    #[arg(long)]
    pub(crate) list_faults: bool,
    /// Rehearse on these facts of a host [default: four GPUs of 16 GB, 120 GB of RAM]
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// Leave its root in this new folder, as DIR/root, for `awqdeploy --root DIR/root report`
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) estimate: AcceptEstimate,
}

/// The kind of change that a rehearsal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Story {
    /// To the profile of `--to`
    Migration,
    /// The profile of `--from` with the newest vLLM whose flags are known
    Upgrade,
}

/// An event of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tallied {
    /// The service starts
    Begun,
    /// The service has ended
    Ended,
}

/// The arguments of `units`.
#[derive(Debug, Args)]
pub(crate) struct UnitsRequest {
    /// A profile's name, or the path of its file
    pub(crate) profile: String,
    /// Plan for these facts of a host instead of this host's
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// Read the model's shape and weights from this folder instead of what is published of it
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The weight files of that folder hold headers only, their data cut off
    #[arg(long, requires = "checkpoint")]
    pub(crate) headers_only: bool,
    /// Write each to a file in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) estimate: AcceptEstimate,
}

/// The arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanRequest {
    /// A profile's name, or the path of its file
    pub(crate) profile: String,
    /// Plan for these facts of a host instead of this host's
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// Read the model's shape and weights from this folder instead of the store or the profile's
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The weight files of that folder hold headers only, their data cut off
    #[arg(long, requires = "checkpoint")]
    pub(crate) headers_only: bool,
    /// Ask the installed vLLM what it makes of the command line; its disagreement refuses the plan
    #[arg(long)]
    pub(crate) ask_engine: bool,
    #[command(flatten)]
    pub(crate) estimate: AcceptEstimate,
}

/// How much of the network a download takes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Download {
    /// Fetch at most so many bytes a second: `50MB` [default: no limit]
    #[arg(long, value_name = "RATE", env = "AWQDEPLOY_LIMIT_RATE", value_parser = rate)]
    limit_rate: Option<ByteSize>,
    /// Fetch over so many connections at once [default: 8]
    #[arg(long, value_name = "N", env = "AWQDEPLOY_CONNECTIONS", value_parser = value_parser!(u8).range(1..=i64::from(MOST_CONNECTIONS)))]
    connections: Option<u8>,
    /// Ask all `alternatives` at once, each for some pieces of a file, and not one after the other
    #[arg(long)]
    every_source: bool,
}

fn rate(text: &str) -> Result<ByteSize, String> {
    let rate: ByteSize = text.parse()?;
    if rate.0 > 0 { Ok(rate) } else { Err("at least 1 byte a second".to_owned()) }
}

impl Download {
    /// Puts these over the share that the environment says.
    pub(crate) fn of(self, share: Share) -> Share {
        Share {
            rate: self.limit_rate.or(share.rate),
            connections: self.connections.unwrap_or(share.connections),
            turns: if self.every_source { Turns::AtOnce } else { share.turns },
        }
    }
}

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyRequest {
    /// A profile's name [default: the running one]
    pub(crate) profile: Option<String>,
    /// Every model in the store
    #[arg(long, conflicts_with = "profile")]
    pub(crate) all: bool,
    /// Bring what is damaged from elsewhere, piece by piece
    #[arg(long)]
    pub(crate) repair: bool,
    /// Bring it from here before the hub is asked: a folder, or another host's store by `ssh://[USER@]HOST[:PORT][/ROOT]`
    #[arg(long, value_name = "DIR|SSH", requires = "repair")]
    pub(crate) from: Vec<String>,
}

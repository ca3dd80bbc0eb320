//! The command line.

mod examples;
mod requests;

pub(crate) use examples::exit_statuses;
pub(crate) use requests::{
    Adopt, Apply, Consent, Download, InitRequest, Insistence, LockRequest, Logs, PlanRequest, Rehearse,
    ReportRequest, Story, Tallied, UnitsRequest, Validate, VerifyRequest,
};

use super::{documents::schema, progress::Progress};
use crate::domain::{exit_status::ExitStatus, store::layout::Scope};
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, styling},
};
use clap_complete::Shell;
use examples::{
    ADOPT_EXAMPLES, APPLY_EXAMPLES, DEPLOY_EXAMPLES, EXAMPLES, FETCH_EXAMPLES, INIT_EXAMPLES, LOCK_EXAMPLES,
    ROLLBACK_EXAMPLES, with_statuses,
};
use std::path::PathBuf;

const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default().bold())
    .placeholder(styling::AnsiColor::Cyan.on_default());

/// Moves a vLLM server from one quantised model to another, proves that it serves as well, and rolls
/// back by itself if it does not.
#[derive(Debug, Parser)]
#[command(
    name = "awqdeploy",
    version,
    styles = STYLES,
    propagate_version = true,
    after_help = EXAMPLES,
    after_long_help = with_statuses(EXAMPLES)
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Keep everything below this directory [default: /var/lib/awqdeploy; with --user ~/.local/state/awqdeploy]
    #[arg(long, global = true, value_name = "DIR", env = "AWQDEPLOY_ROOT")]
    root: Option<PathBuf>,
    /// Deploy to your own service manager, without root: `systemctl --user`
    #[arg(long, global = true)]
    pub(crate) user: bool,
    /// Read profiles and locks from this directory [default: ./profiles, else /etc/awqdeploy; as root the other way
    /// round; with --user ~/.config/awqdeploy]
    #[arg(long, global = true, value_name = "DIR", env = "AWQDEPLOY_PROFILES")]
    pub(crate) profiles: Option<PathBuf>,
    /// Take vLLM from this directory of what Nix built, and install none
    #[arg(long, global = true, value_name = "DIR", env = "AWQDEPLOY_RUNTIMES")]
    pub(crate) runtimes: Option<PathBuf>,
    /// Print one JSON document to the standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to show what goes on
    #[arg(long, global = true, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
    /// List each check of a validation, and not only those that fail
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

impl Global {
    /// The scope of the service manager.
    pub(crate) fn scope(&self) -> Scope {
        if self.user { Scope::User } else { Scope::System }
    }

    /// The root directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| match self.scope() {
            Scope::System => "/var/lib/awqdeploy".into(),
            Scope::User => below_home("XDG_STATE_HOME", ".local/state").join("awqdeploy"),
        })
    }

    /// The default folder of profiles, where none is named and none is in the working directory.
    pub(crate) fn own_profiles(&self) -> PathBuf {
        match self.scope() {
            Scope::System => "/etc/awqdeploy".into(),
            Scope::User => below_home("XDG_CONFIG_HOME", ".config").join("awqdeploy"),
        }
    }
}

impl Command {
    /// Whether the command reads a folder of profiles. A rehearsal may read those that came with the program.
    pub(crate) fn reads_profiles(&self) -> bool {
        matches!(
            self,
            Self::Plan(_)
                | Self::Profiles
                | Self::Deploy { .. }
                | Self::Adopt(_)
                | Self::Diff { .. }
                | Self::Export { .. }
                | Self::Init(_)
                | Self::Lock(_)
                | Self::Fetch { .. }
                | Self::Units(_)
        )
    }
}

/// One of the XDG base directories.
fn below_home(variable: &str, otherwise: &str) -> PathBuf {
    let said = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    said.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(otherwise))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the shortest profile that serves a model well on this host
    ///
    /// It reads the model's configuration and headers, from a folder, a Hugging Face cache or the hub, and what this host
    /// has. It picks a vLLM, plans, and says what it planned and what comes next. It never overwrites anything.
    #[command(after_help = INIT_EXAMPLES, after_long_help = with_statuses(INIT_EXAMPLES))]
    Init(InitRequest),
    /// Show what would run, where each byte would go, and whether it fits
    #[command(after_help = "Examples:
  awqdeploy plan awq
  awqdeploy plan awq --facts laptop.json      for another machine's facts
  awqdeploy plan awq --checkpoint ./model     for weights that are not locked yet
  awqdeploy plan awq --ask-engine             with the word of the vLLM that is installed
  awqdeploy plan awq --json | jq -r .unit     the systemd unit's text")]
    Plan(PlanRequest),
    /// Print what is known of this host, as `plan --facts` reads it
    #[command(after_help = "Examples:
  awqdeploy facts > gpu-host.json
  awqdeploy plan awq --facts gpu-host.json    on any other machine
  awqdeploy facts --probe > gpu-host.json     with the GPUs' rates measured, by the installed vLLM's torch
  awqdeploy facts --probe python3             by the torch of another Python")]
    Facts {
        /// Measure what each GPU copies and reads: seconds of work, and 1 GiB of its memory [default: the Python of
        /// the vLLM that is installed in the store]
        #[arg(long, value_name = "PYTHON", num_args = 0..=1, default_missing_value = "")]
        probe: Option<String>,
    },
    /// Say what is wrong, or slow, with this host, whatever is to be deployed on it
    #[command(after_help = format!("Examples:
  awqdeploy doctor
  awqdeploy doctor --facts gpu-host.json      another machine's

Exit status {} says that nothing can be deployed as it is.", ExitStatus::Refused.code()))]
    Doctor {
        /// Examine these facts of a host instead of this host's
        #[arg(long, value_name = "FILE")]
        facts: Option<PathBuf>,
    },
    /// List the profiles, and how far each is
    #[command(after_help = "Examples:
  awqdeploy profiles
  awqdeploy profiles --json | jq -r '.profiles[] | select(.stage == \"proven\").profile'")]
    Profiles,
    /// Activate a profile, prove it, and roll back if that fails
    #[command(after_help = DEPLOY_EXAMPLES, after_long_help = with_statuses(DEPLOY_EXAMPLES))]
    Deploy {
        /// A profile's name, or the path of its file; `awqdeploy profiles` lists them
        profile: String,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        insistence: Insistence,
    },
    /// Deploy what a configuration declares, unless that was tried already
    ///
    /// For whatever keeps a host as it is declared, NixOS or Ansible say. What is declared is known by what the profiles,
    /// their locks and units say: the same again changes nothing. What failed is not tried again; what was refused,
    /// interrupted or could not be fetched is.
    #[command(after_help = APPLY_EXAMPLES, after_long_help = with_statuses(APPLY_EXAMPLES))]
    Apply(Apply),
    /// Make a vLLM server that runs already the first generation: a rollback target
    ///
    /// It is validated as it runs, and goes on as it does; the first deployment replaces it. What it runs is
    /// recorded: command line, variables, unit. Its model is hashed, locked, and taken into the store.
    #[command(after_help = ADOPT_EXAMPLES, after_long_help = with_statuses(ADOPT_EXAMPLES))]
    Adopt(Adopt),
    /// Return to a generation that is proven
    #[command(after_help = ROLLBACK_EXAMPLES, after_long_help = with_statuses(ROLLBACK_EXAMPLES))]
    Rollback {
        /// A profile's name or a generation's number
        #[arg(value_name = "PROFILE|GENERATION")]
        target: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Follow the activation that goes on, from any terminal
    ///
    /// The service manager carries activations out: this shows what `deploy` shows, and ends with its exit status.
    #[command(after_help = "Examples:
  awqdeploy follow                       Ctrl-C ends only the watching; `cancel` rolls back
  awqdeploy follow --json                the document that `deploy --json` prints, once it has ended")]
    #[command(alias = "watch")]
    Follow,
    /// Stop the activation that goes on, and roll it back
    #[command(after_help = "Examples:
  awqdeploy cancel                       as Ctrl-C in `deploy`, from any terminal")]
    Cancel,
    /// Show the running server, and how the last activation ended
    #[command(after_help = "Examples:
  awqdeploy status
  awqdeploy status --json | jq .serving")]
    Status,
    /// List all generations
    #[command(after_help = "Examples:
  awqdeploy generations
  awqdeploy generations --json | jq '.generations[] | select(.standing == \"proven\")'")]
    Generations,
    /// List all activations: how each ended, what took how long
    #[command(after_help = "Examples:
  awqdeploy history
  awqdeploy history --json | jq '.activations[] | {to, end, downtime_seconds}'")]
    History,
    /// Tell why an activation ended as it did, with the evidence
    #[command(after_help = "Examples:
  awqdeploy why                          the last one that did not end well
  awqdeploy why 3                        the last one of generation 3")]
    Why {
        /// A generation's number
        generation: Option<u64>,
    },
    /// Show what a generation's server logged
    #[command(after_help = "Examples:
  awqdeploy logs                         of the running server
  awqdeploy logs --follow                and goes on; Ctrl-C ends it
  awqdeploy logs 3                       one that has ended: what was kept of it, or the journal of its time")]
    Logs(Logs),
    /// Show what differs between two generations or profiles
    ///
    /// Command line, variables, model, files, packages of the runtime, memory plan, gates, unit.
    #[command(after_help = "Examples:
  awqdeploy diff 3 4                     two generations
  awqdeploy diff 4 awq                   what a deployment would change
  awqdeploy diff gptq awq --json | jq '.sections[].part'")]
    Diff {
        /// A generation's number, or a profile as it would be deployed now
        #[arg(value_name = "GENERATION|PROFILE")]
        a: String,
        /// Another
        #[arg(value_name = "GENERATION|PROFILE")]
        b: String,
    },
    /// Validate the running server, or any other: API, answers, speed. Changes nothing
    #[command(after_help = format!("Examples:
  awqdeploy validate
  awqdeploy validate --json | jq .throughput.decode_tokens_per_second.median
  awqdeploy validate --url http://127.0.0.1:8000 --model qwen    any server of the API

A key is taken from the variable OPENAI_API_KEY. Exit status {} says that it did not pass, or
could not be judged; nothing is rolled back.", ExitStatus::Failed.code()))]
    Validate(Validate),
    /// Show how a generation was proven, or why it was not
    #[command(after_help = "Examples:
  awqdeploy report                       of the generation that serves
  awqdeploy report 3 --html report.html  one file to send on: no network, no script
  awqdeploy report --json | jq .report.failures
  awqdeploy report --vllm-bench awq.jsonl    for tools that read `vllm bench serve`")]
    Report(ReportRequest),
    /// Set two profiles that were proven on this host side by side
    #[command(after_help = "Examples:
  awqdeploy compare gptq awq
  awqdeploy compare gptq awq --json | jq .rows")]
    Compare {
        /// A profile's name
        a: String,
        /// Another profile's name
        b: String,
    },
    /// Compare every byte of a model with its lock
    #[command(after_help = format!("Examples:
  awqdeploy verify                       the model that serves
  awqdeploy verify awq
  awqdeploy verify --all --repair        every model in the store; what is damaged is mended
  awqdeploy verify awq --repair --from ssh://gpu2    its damaged pieces, from another host's store

Exit status {} says that something is damaged.", ExitStatus::Unverified.code()))]
    Verify(VerifyRequest),
    /// Free generations, models and runtimes that nothing needs
    ///
    /// The running generation, the rollback target and pinned generations stay, with all that they need.
    #[command(after_help = "Examples:
  awqdeploy gc --dry-run                 what would go, and how many bytes that frees
  awqdeploy gc")]
    #[command(alias = "collect")]
    Gc {
        /// Show what would be freed, and free nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep a generation, whatever `gc` finds
    #[command(after_help = "Examples:
  awqdeploy pin 3                        `awqdeploy generations` lists the numbers")]
    Pin {
        /// The number of the generation
        generation: u64,
    },
    /// Let `gc` have a pinned generation again
    #[command(after_help = "Examples:
  awqdeploy unpin 3")]
    Unpin {
        /// The number of the generation
        generation: u64,
    },
    /// Lay a profile's model out as a plain folder for other programs
    #[command(after_help = "Examples:
  awqdeploy export awq /srv/models/awq   takes no room on the store's own file system
  awqdeploy export awq . --copy          into this empty folder; its files may be written to")]
    Export {
        /// A profile's name
        profile: String,
        /// A folder that is not there yet, or empty
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Copy every file: else they are the store's own where that is possible
        #[arg(long)]
        copy: bool,
    },
    /// Record every file of a profile's model by its hash
    #[command(after_help = LOCK_EXAMPLES, after_long_help = with_statuses(LOCK_EXAMPLES))]
    Lock(LockRequest),
    /// Get a locked model into the store, from this host or from the hub
    ///
    /// It goes on where an earlier one stopped, whatever stopped it.
    #[command(after_help = FETCH_EXAMPLES, after_long_help = with_statuses(FETCH_EXAMPLES))]
    Fetch {
        /// A profile's name
        profile: String,
        /// Ask nobody: take what folders and caches on this host have
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        download: Download,
    },
    /// Finish what an interrupted activation left
    #[command(after_help = "Examples:
  awqdeploy recover                      roll an interrupted or stuck activation back

At boot a unit does this before the service starts.")]
    Recover {
        /// At boot, before the service: only point back, systemd starts it
        #[arg(long)]
        boot: bool,
    },
    /// See a migration and its rollback here, without GPU, root, systemd, Python or network
    #[command(after_help = "Examples:
  awqdeploy rehearse                     GPTQ, then AWQ
  awqdeploy rehearse --fault slow        AWQ is too slow: back to GPTQ
  awqdeploy rehearse --story upgrade     GPTQ with a newer vLLM
  awqdeploy rehearse --list-faults
  awqdeploy rehearse --keep /tmp/r && awqdeploy --root /tmp/r/root report --html report.html
  awqdeploy rehearse --profiles ./mine   with your own profiles")]
    Rehearse(Rehearse),
    /// Print the systemd units that a deployment would install
    ///
    /// Without `--checkpoint` the model's folder is not looked at: where its own headers tell more than what is published
    /// of it, a deployment may plan otherwise, and installs what it planned.
    #[command(after_help = "Examples:
  awqdeploy units awq
  awqdeploy units awq --facts gpu-host.json --output ./units    for another machine")]
    Units(UnitsRequest),
    /// Print a shell's completion script
    #[command(after_help = "Examples:
  awqdeploy completions bash > /usr/share/bash-completion/completions/awqdeploy")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the JSON schema of what a command prints with `--json`
    #[command(after_help = "Examples:
  awqdeploy schema
  awqdeploy schema validation > validation.json")]
    Schema {
        /// Which document; by default, the names of all
        #[arg(value_parser = PossibleValuesParser::new(schema::names()), hide_possible_values = true)]
        document: Option<String>,
    },
    /// Print the manual page
    #[command(after_help = "Examples:
  awqdeploy man | man -l -")]
    Man,
    /// Carry out an activation that was ordered; the service manager does this
    #[command(hide = true)]
    Activate {
        /// The number of the activation
        number: u64,
        /// Only what a process that died left
        #[arg(long)]
        rest: bool,
    },
    /// Count starts and ends of the service; its unit does this
    #[command(hide = true)]
    Tally {
        /// The event to count
        what: Tallied,
    },
    /// Roll back a generation that failed too often; the service manager does this
    #[command(hide = true)]
    Fallback,
    /// Run the current generation's engine; the systemd unit does this
    #[command(hide = true)]
    Supervise {
        /// Stop when this process dies, which is the parent
        #[arg(long, value_name = "PID")]
        owner: Option<u32>,
    },
    /// Answer like vLLM; a rehearsal does this
    #[command(hide = true, disable_help_flag = true)]
    Engine {
        /// The arguments of `vllm`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

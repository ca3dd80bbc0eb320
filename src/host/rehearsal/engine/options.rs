//! The options of the rehearsal engine: `vllm serve`'s own command line, and a few variables.

use super::fault::EngineFault;
use crate::domain::problem::{Kind, Problem};
use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

/// The decode rate of one stream, tokens/s.
pub const TOKENS_PER_SECOND_VARIABLE: &str = "AWQDEPLOY_REHEARSAL_TOKENS_PER_SECOND";
/// The time to the first token, milliseconds.
pub const TTFT_MS_VARIABLE: &str = "AWQDEPLOY_REHEARSAL_TTFT_MS";
/// The time that loading takes, milliseconds.
pub const LOAD_MS_VARIABLE: &str = "AWQDEPLOY_REHEARSAL_LOAD_MS";
/// The name of an [`EngineFault`]; empty for none.
pub const FAULT_VARIABLE: &str = "AWQDEPLOY_REHEARSAL_FAULT";

const DEFAULT_TOKENS_PER_SECOND: f64 = 50.0;
const DEFAULT_TTFT: Duration = Duration::from_millis(20);
const DEFAULT_LOAD: Duration = Duration::from_millis(200);
/// vLLM's default port.
const DEFAULT_PORT: u16 = 8000;
/// The context of the shipped profiles.
const DEFAULT_MAX_MODEL_LEN: u32 = 8192;

/// The behaviour of a rehearsal engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// A loopback address.
    pub host: IpAddr,
    /// 0 for any free one.
    pub port: u16,
    /// The model's path, which `/v1/models` names as `root`. It is not opened.
    pub model: String,
    /// The name of the model in requests.
    pub served_name: String,
    /// The longest context, tokens.
    pub max_model_len: u32,
    /// Tokens of each chunk of a stream after the first, which has one.
    pub(crate) stream_interval: usize,
    /// The key that every request under `/v1` must show.
    pub(crate) api_key: Option<String>,
    /// Every flag with its value, in order, for the log.
    pub flags: Vec<(String, Option<String>)>,
    /// One stream's decode rate, above 0.
    pub tokens_per_second: f64,
    /// Time to the first token.
    pub(crate) ttft: Duration,
    /// The time that loading takes.
    pub(crate) load: Duration,
    /// The fault to play.
    pub fault: Option<EngineFault>,
}

impl Options {
    /// Reads the arguments: `serve MODEL --host H --port P …`. Flags that mean nothing to a rehearsal are
    /// kept for the log only. `env` looks a variable up.
    ///
    /// # Errors
    ///
    /// For words that are not `serve MODEL …`, for values that do not parse, and for a host that is
    /// neither loopback nor "every address", in whose place loopback is taken.
    pub fn from_arguments(args: &[String], env: impl Fn(&str) -> Option<String>) -> Result<Self, Problem> {
        let (model, words) = match args {
            [serve, model, words @ ..] if serve == "serve" && !model.starts_with('-') => (model, words),
            _ => return Err(usage("want `serve MODEL` and flags".to_owned())),
        };
        let flags = flags(words)?;
        // As with argparse, the last one counts.
        let value = |name: &str| {
            let (_, value) = flags.iter().rev().find(|(flag, _)| flag == name)?;
            value.clone()
        };
        let milliseconds = |name: &str, default| {
            let set = parsed::<u64>(name, env(name))?;
            Ok::<_, Problem>(set.map_or(default, Duration::from_millis))
        };
        let tokens_per_second = parsed::<f64>(TOKENS_PER_SECOND_VARIABLE, env(TOKENS_PER_SECOND_VARIABLE))?
            .unwrap_or(DEFAULT_TOKENS_PER_SECOND);
        if !(tokens_per_second.is_finite() && tokens_per_second > 0.0) {
            return Err(usage(format!(
                "`{TOKENS_PER_SECOND_VARIABLE}` is `{tokens_per_second}`, not above 0"
            )));
        }
        Ok(Self {
            host: loopback(parsed("--host", value("--host"))?)?,
            port: parsed("--port", value("--port"))?.unwrap_or(DEFAULT_PORT),
            model: model.clone(),
            served_name: value("--served-model-name").unwrap_or_else(|| model.clone()),
            max_model_len: parsed("--max-model-len", value("--max-model-len"))?
                .unwrap_or(DEFAULT_MAX_MODEL_LEN),
            stream_interval: parsed("--stream-interval", value("--stream-interval"))?.unwrap_or(1).max(1),
            api_key: value("--api-key").or_else(|| env("VLLM_API_KEY")),
            tokens_per_second,
            ttft: milliseconds(TTFT_MS_VARIABLE, DEFAULT_TTFT)?,
            load: milliseconds(LOAD_MS_VARIABLE, DEFAULT_LOAD)?,
            fault: parsed(FAULT_VARIABLE, env(FAULT_VARIABLE).filter(|name| !name.is_empty()))?,
            flags,
        })
    }
}

/// Splits the flags: `--flag value`, `--flag=value` and `--flag` alone. A word that begins with two dashes is
/// no value.
fn flags(words: &[String]) -> Result<Vec<(String, Option<String>)>, Problem> {
    let mut flags: Vec<(String, Option<String>)> = Vec::new();
    for word in words {
        if word.starts_with("--") {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            flags.push((flag.to_owned(), value));
            continue;
        }
        match flags.last_mut() {
            Some((_, value @ None)) => *value = Some(word.clone()),
            // Flags such as `--cpu-offload-params` take several values.
            Some((_, Some(value))) => {
                value.push(' ');
                value.push_str(word);
            }
            None => return Err(usage(format!("unrecognized argument `{word}`"))),
        }
    }
    Ok(flags)
}

fn parsed<T: FromStr<Err: Display>>(name: &str, text: Option<String>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|error| usage(format!("`{name}` is `{text}`: {error}")))).transpose()
}

fn loopback(host: Option<IpAddr>) -> Result<IpAddr, Problem> {
    match host {
        None => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(host) if host.is_loopback() => Ok(host),
        Some(IpAddr::V4(host)) if host.is_unspecified() => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(IpAddr::V6(host)) if host.is_unspecified() => Ok(Ipv6Addr::LOCALHOST.into()),
        Some(host) => Err(usage(format!("`--host` is `{host}`"))
            .help("the rehearsal engine listens on loopback only: rehearse with `127.0.0.1`")),
    }
}

fn usage(what: String) -> Problem {
    Problem::new(Kind::Usage, what)
}

//! The settings of a hub, from the variables that `huggingface_hub` reads too.

use crate::{
    domain::{
        hub::Patience,
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::os::fs,
};
use reqwest::{Url, header::HeaderValue};
use std::path::{Path, PathBuf};

const RATE: &str = "AWQDEPLOY_LIMIT_RATE";
const CONNECTIONS_AT_ONCE: &str = "AWQDEPLOY_CONNECTIONS";
/// The most connections: more only annoys a hub.
pub(crate) const MOST_CONNECTIONS: u8 = 64;
const PUBLIC_HUB: &str = "https://huggingface.co";

/// The settings of a hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address, without a slash at the end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The token: `HF_TOKEN`, else the content of the file `HF_TOKEN_PATH` or `HF_HOME/token`. None with
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`.
    pub token: Option<Token>,
    /// Whether the hub may be asked: not under `HF_HUB_OFFLINE`.
    pub reach: Reach,
    /// Where `huggingface_hub` keeps what it downloaded: `HF_HUB_CACHE`, or by its old name `HUGGINGFACE_HUB_CACHE`;
    /// else `HF_HOME/hub`.
    pub cache: Option<PathBuf>,
    /// The limits of tries and times.
    pub patience: Patience,
    /// How much of the network a fetch takes.
    pub share: Share,
}

/// How much of the network a fetch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The most bytes a second of all connections together: `AWQDEPLOY_LIMIT_RATE`.
    pub rate: Option<ByteSize>,
    /// The number of connections, at least 1: `AWQDEPLOY_CONNECTIONS`.
    pub connections: u8,
    /// How several repositories that have the same file are asked.
    pub turns: Turns,
}

/// How several repositories that have the same file are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    /// The next when one fails.
    #[default]
    InTurn,
    /// All at once, each for some of its pieces.
    AtOnce,
}

/// Connections at once. A CDN gives each some 50 to 150 MB/s, and one core hashes 2 GB/s.
const CONNECTIONS: u8 = 8;

impl Default for Share {
    fn default() -> Self {
        Self { rate: None, connections: CONNECTIONS, turns: Turns::InTurn }
    }
}

impl Share {
    /// Reads the two variables.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what is no rate, or no number.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Problem> {
        let wrong = |name: &str, text: &str, example: &str| {
            Problem::new(Kind::Usage, format!("`{name}` cannot be `{}`", text.escape_debug()))
                .help(format!("for example `{name}={example}`"))
        };
        let rate = variable(RATE).map(|text| match text.trim().parse::<ByteSize>() {
            Ok(rate) if rate.0 > 0 => Ok(rate),
            _ => Err(wrong(RATE, &text, "50MB")),
        });
        let connections = variable(CONNECTIONS_AT_ONCE).map(|text| match text.trim().parse() {
            Ok(connections @ 1..=MOST_CONNECTIONS) => Ok(connections),
            _ => Err(wrong(CONNECTIONS_AT_ONCE, &text, "4")),
        });
        Ok(Self {
            rate: rate.transpose()?,
            connections: connections.transpose()?.unwrap_or(CONNECTIONS),
            turns: Turns::InTurn,
        })
    }
}

/// Whether the hub may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// The hub may be asked.
    #[default]
    Online,
    /// Nothing leaves this host.
    Offline,
}

/// The secret that opens gated repositories. It never shows: not in logs, messages, arguments or files.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A token as it stands in a file or variable; nothing for an empty one.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that cannot be sent in a header. It is not shown.
    pub fn of(text: &str) -> Result<Option<Self>, Problem> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| {
            Problem::new(Kind::Usage, "the hub's token holds a character that no token has")
                .help("look at `HF_TOKEN`, or at the file that `HF_TOKEN_PATH` names")
        })?;
        // Keeps it out of reqwest's and hyper's own debug texts.
        value.set_sensitive(true);
        Ok(Some(Self(value)))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Settings {
    /// Reads the settings from this process's environment.
    pub fn from_environment() -> Result<Self, Problem> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Reads the settings from these variables. An empty variable counts as absent.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an address that is none, or an impossible token.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Problem> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let user = variable("HOME").map(PathBuf::from);
        // As `huggingface_hub` does.
        let path = |name: &str| Some(at_home(variable(name)?, user.as_deref()));
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let implicit = !variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value));
        let token = match variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")) {
            _ if !implicit => None,
            Some(token) => Token::of(&token)?,
            None => match path("HF_TOKEN_PATH").or_else(|| in_home("token")) {
                Some(path) => token_in(&path)?,
                None => None,
            },
        };
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Ok(Self {
            endpoint: endpoint(variable("HF_ENDPOINT").as_deref().unwrap_or(PUBLIC_HUB))?,
            token,
            reach: if offline { Reach::Offline } else { Reach::Online },
            cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| in_home("hub")),
            patience: Patience::DEFAULT,
            share: Share::of(variable)?,
        })
    }
}

/// `~` is the user's folder.
fn at_home(text: String, user: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), user) {
        (Some(rest), Some(user)) if rest.is_empty() || rest.starts_with('/') => {
            user.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    }
}

/// The token in a file. What is none, such as `/dev/null`, holds none.
fn token_in(path: &Path) -> Result<Option<Token>, Problem> {
    if path.exists() && !path.is_file() {
        return Ok(None);
    }
    fs::read(path)?.map_or(Ok(None), |text| Token::of(&text))
}

fn endpoint(text: &str) -> Result<String, Problem> {
    let text = text.trim().trim_end_matches('/');
    match Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(text.to_owned()),
        _ => Err(Problem::new(Kind::Usage, "`HF_ENDPOINT` is not the address of a hub")
            .help(format!("for example `HF_ENDPOINT={PUBLIC_HUB}`"))),
    }
}

/// Reads a switch as `huggingface_hub` does.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_ascii_uppercase().as_str())
}

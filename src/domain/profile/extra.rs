//! Checks what a profile adds to vLLM's arguments and environment.

use super::{document::DocumentError, raw::RawVllm, rules::one_line};
use std::ops::Range;
use toml::Spanned;

/// Flags that follow from a key of the profile. A second, different value would make the plan wrong: it would
/// count memory for one size and use another.
const PLANNED_FLAGS: &[(&str, &[&str])] = &[
    ("model.repo", &["--model"]),
    ("model.revision", &["--revision", "--tokenizer-revision", "--code-revision"]),
    ("model.served-name", &["--served-model-name"]),
    ("listen.host", &["--host", "--uds"]),
    ("listen.port", &["--port"]),
    ("parallelism.tensor-parallel-size", &["--tensor-parallel-size", "-tp"]),
    ("parallelism.pipeline-parallel-size", &["--pipeline-parallel-size", "-pp"]),
    ("memory.gpu-memory-utilization", &["--gpu-memory-utilization", "--device-memory-utilization"]),
    (
        "memory.offload",
        &[
            "--cpu-offload-gb",
            "--cpu-offload-params",
            "--offload-backend",
            "--offload-params",
            "--offload-group-size",
            "--offload-num-in-group",
            "--offload-prefetch-step",
        ],
    ),
    ("limits.max-model-len", &["--max-model-len"]),
    ("limits.max-num-seqs", &["--max-num-seqs"]),
    ("limits.max-num-batched-tokens", &["--max-num-batched-tokens"]),
];

/// Flags that have no place in a deployment by this program, and why.
const REFUSED_FLAGS: &[(&[&str], &str)] = &[
    (&["--config"], "a second file of flags could undo what was planned: write its flags into `arguments`"),
    (
        &[
            "--prefill-context-parallel-size",
            "-pcp",
            "--data-parallel-size",
            "-dp",
            "--data-parallel-size-local",
            "-dpl",
            "--data-parallel-rank",
            "-dpn",
            "--data-parallel-start-rank",
            "-dpr",
            "--data-parallel-address",
            "-dpa",
            "--data-parallel-rpc-port",
            "-dpp",
            "--data-parallel-backend",
            "-dpb",
            "--data-parallel-hybrid-lb",
            "-dph",
            "--data-parallel-external-lb",
            "-dpe",
            "--data-parallel-multi-port-external-lb",
            "-dpm",
            "--elastic-ep-max-dp-size",
            "--enable-elastic-ep",
            "--master-addr",
            "--master-port",
            "--nnodes",
            "-n",
            "--node-rank",
            "-r",
            "--headless",
        ],
        "the plan knows one host, and the ways to spread a model that `[parallelism]` has",
    ),
    (
        &["--device-ids"],
        "the plan reads which GPUs are meant elsewhere: set `CUDA_VISIBLE_DEVICES` in `vllm.environment`",
    ),
    (&["--api-key"], NO_KEYS),
    (
        &["--grpc", "--grpc-port", "--tokens-only", "--skip-tokenizer-init"],
        "validation asks for text over HTTP, which such a server does not give: remove it",
    ),
    (
        &["--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs"],
        "validation speaks plain HTTP to this host: let a proxy in front of it speak TLS",
    ),
];

const SECRET_FLAGS: &[&str] = &["--api-key", "--hf-token"];

const NO_KEYS: &str = "every generation can be read by every user of this host: put the key into a file that only root reads, \
     and name it by `secrets.api-key-file`";

/// Variables that vLLM must not get from a profile, and why.
const REFUSED_VARIABLES: &[(&[&str], &str)] = &[
    (
        &[
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_PID",
            "MAINPID",
        ],
        "systemd speaks to the supervisor through it, and vLLM would answer out of turn: remove it",
    ),
    (
        &["VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"],
        "a server with a dead engine would stay, and systemd would never start it again: remove it",
    ),
    (&["VLLM_API_KEY"], NO_KEYS),
    (
        &["VLLM_SERVER_DEV_MODE"],
        "it opens endpoints to every client that reset and pause the server: remove it",
    ),
    (&["VLLM_ENGINE_READY_TIMEOUT_S"], "it follows from the profile: set `timeouts.start` in its place"),
    (
        &["VLLM_USE_PRECOMPILED", "VLLM_PRECOMPILED_WHEEL_LOCATION", "VLLM_MAIN_CUDA_VERSION"],
        "it has an effect only while vLLM is built, never while it runs: remove it",
    ),
];

/// Endings of names that hold secrets. Not `…TOKENS`, which is a number, as in `VLLM_MAX_TOKENS`.
const SECRET_ENDINGS: &[&str] = &[
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "SECRET",
    "SECRET_KEY",
    "PASSWORD",
    "PASSWD",
    "CREDENTIALS",
];

const SECRET_HELP: &str = "every generation can be read by every user of this host: put the secret into a file that only root reads. \
     `secrets.hub-token-file` names one with a token of the hub; for another, `systemctl edit SERVICE`: `[Service]`, \
     `EnvironmentFile=/etc/SERVICE.env`";

/// Checks one argument of `vllm serve`, wherever it stands.
pub(super) fn argument(text: String) -> Result<String, DocumentError> {
    let flag = flag_of(&text);
    let flag = flag.as_str();
    if let Some((key, _)) = PLANNED_FLAGS.iter().find(|(_, own)| own.contains(&flag)) {
        return Err(DocumentError::new("the plan sets this flag")
            .what(format!("`{flag}` cannot be an extra argument"))
            .help(format!("set `{key}` in its place")));
    }
    if let Some((_, help)) = REFUSED_FLAGS.iter().find(|(own, _)| own.contains(&flag)) {
        return Err(DocumentError::new("not for this deployment")
            .what(format!("`{flag}` cannot be an extra argument"))
            .help(*help));
    }
    if SECRET_FLAGS.contains(&flag) {
        return Err(DocumentError::new("this is a secret")
            .what(format!("`{flag}` cannot be an extra argument"))
            .help(SECRET_HELP));
    }
    // `--flag value` in one string would reach vLLM as one word. A value after `=` may have spaces.
    if let Some((flag, value)) =
        text.split_once(' ').filter(|(flag, _)| flag.starts_with('-') && !flag.contains('='))
    {
        return Err(DocumentError::new("these are two arguments in one string")
            .what("each string is one argument")
            .help(format!("split it: `{:?}, {:?}`", flag, value.trim())));
    }
    one_line(text)
}

/// Checks the first argument: vLLM would take it for the model if it did not begin with `-`.
pub(super) fn first_argument(text: String) -> Result<String, DocumentError> {
    if text.starts_with('-') {
        argument(text)
    } else {
        Err(DocumentError::new("not a flag")
            .what("extra arguments begin with a flag")
            .help("the model comes from `[model]`; write flags such as `--generation-config`"))
    }
}

/// Checks the name of a variable.
pub(super) fn variable(name: String) -> Result<String, DocumentError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(allowed) || !name.starts_with(|c: char| !c.is_ascii_digit()) {
        return Err(DocumentError::new("not a variable's name")
            .what("a variable's name is letters, digits and `_`, and no digit first")
            .help("for example `VLLM_LOGGING_LEVEL = \"DEBUG\"`"));
    }
    if let Some((_, help)) = REFUSED_VARIABLES.iter().find(|(own, _)| own.contains(&name.as_str())) {
        return Err(DocumentError::new("not for a profile to set")
            .what(format!("`{name}` cannot be set here"))
            .help(*help));
    }
    if is_secret(&name) {
        return Err(DocumentError::new("by its name this is a secret")
            .what(format!("`{name}` cannot be set here"))
            .help(SECRET_HELP));
    }
    Ok(name)
}

/// Whether a variable with this value could stand in a profile. Secrets could not.
pub(in crate::domain) fn kept_variable(name: &str, value: &str) -> bool {
    variable(name.to_owned()).is_ok() && one_line(value.to_owned()).is_ok()
}

/// Whether a profile takes this word among its arguments.
pub(in crate::domain) fn kept_argument(word: &str) -> bool {
    argument(word.to_owned()).is_ok()
}

/// The flag that an argument sets. vLLM takes `--max_model_len` for `--max-model-len`.
fn flag_of(argument: &str) -> String {
    let flag = argument.split('=').next().unwrap_or_default();
    flag.replace('_', "-")
}

/// The places where secrets are written although they must not be.
pub(super) fn secrets(raw: &RawVllm) -> Vec<Range<usize>> {
    let is_secret_flag = |argument: &Spanned<String>| {
        let flag = flag_of(argument.get_ref());
        SECRET_FLAGS.contains(&flag.as_str())
    };
    let variables = raw.environment.iter();
    let variables = variables.filter(|(name, _)| is_secret(name.get_ref()));
    let following = raw.arguments.windows(2);
    let following = following.filter(|pair| is_secret_flag(&pair[0]));
    let joined = raw.arguments.iter();
    let joined = joined.filter(|one| is_secret_flag(one) && one.get_ref().contains('='));
    variables
        .map(|(_, value)| value.span())
        .chain(following.map(|pair| pair[1].span()))
        .chain(joined.map(Spanned::span))
        .collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_ENDINGS
        .iter()
        .any(|ending| name.strip_suffix(ending).is_some_and(|stem| stem.is_empty() || stem.ends_with('_')))
}

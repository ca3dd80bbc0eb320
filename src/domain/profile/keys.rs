//! Every key of a profile, with its values and an example.

use super::document::Key;

const SIZE: &str = "a size with its unit, from 1MiB to 1PiB";
const TOKENS: &str = "a whole number of tokens from 1 to 16777216";

/// The keys in the order of the shipped profiles.
pub static KEYS: &[Key] = &[
    Key::required("service", "the name of a systemd unit without its suffix", r#"service = "vllm""#),
    Key::required("model", "a table that says what to serve", "[model]"),
    Key::required(
        "model.repo",
        "a repository as `owner/name`",
        r#"repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit""#,
    ),
    Key::optional(
        "model.alternatives",
        "an array of repositories as `owner/name`",
        r#"alternatives = ["owner/copy-of-the-same-files"]"#,
    ),
    Key::optional("model.revision", "a branch, tag or commit", r#"revision = "main""#),
    Key::optional("model.path", "an absolute folder", r#"path = "/srv/models/awq""#),
    Key::optional(
        "model.signed-by",
        "the absolute path of a public key in PEM",
        r#"signed-by = "/etc/awqdeploy/maker.pem""#,
    ),
    Key::required(
        "model.served-name",
        "the name that clients put into `model`",
        r#"served-name = "qwen3-next-80b""#,
    ),
    Key::optional("model.verify-at-start", "`memo` or `full`", r#"verify-at-start = "memo""#),
    Key::required("runtime", "a table that says which vLLM serves", "[runtime]"),
    Key::required("runtime.vllm", "a released version of vLLM", r#"vllm = "0.26.0""#),
    Key::optional("runtime.device", "`cuda` or `cpu`", r#"device = "cuda""#),
    Key::optional(
        "runtime.python",
        "`system`, or the absolute path of an interpreter that has vLLM",
        r#"python = "/opt/vllm/bin/python""#,
    ),
    Key::optional("listen", "a table with the API's address", "[listen]"),
    Key::optional("listen.host", "an IP address of this host", r#"host = "127.0.0.1""#),
    Key::optional("listen.port", "a whole number from 1 to 65535", "port = 8000"),
    Key::optional("parallelism", "a table that says how to spread the model", "[parallelism]"),
    Key::optional(
        "parallelism.tensor-parallel-size",
        "a number of GPUs from 1 to 64, or `auto`",
        "tensor-parallel-size = 4",
    ),
    Key::optional("memory", "a table that says what may be used", "[memory]"),
    Key::optional("memory.gpu", SIZE, r#"gpu = "16GiB""#),
    Key::optional("memory.ram", SIZE, r#"ram = "120GiB""#),
    Key::optional(
        "memory.gpu-memory-utilization",
        "a share above 0 and at most 1",
        "gpu-memory-utilization = 0.9",
    ),
    Key::optional(
        "memory.offload",
        "`auto`, `none`, or a size per GPU from 1MiB to 1PiB",
        r#"offload = "auto""#,
    ),
    Key::optional("limits", "a table with context and batch limits", "[limits]"),
    Key::optional("limits.max-model-len", TOKENS, "max-model-len = 8192"),
    Key::optional("limits.max-num-seqs", "a whole number of requests from 1 to 65536", "max-num-seqs = 4"),
    Key::optional("limits.max-num-batched-tokens", TOKENS, "max-num-batched-tokens = 4096"),
    Key::optional("vllm", "a table with what else vLLM is given", "[vllm]"),
    Key::optional(
        "vllm.arguments",
        "an array of strings, each one argument",
        r#"arguments = ["--generation-config", "vllm"]"#,
    ),
    Key::optional("vllm.environment", "a table of variables", "[vllm.environment]"),
    Key::optional("vllm.environment.*", "a string on one line", r#"VLLM_LOGGING_LEVEL = "DEBUG""#),
    Key::optional("secrets", "a table that names files with secrets", "[secrets]"),
    Key::optional(
        "secrets.api-key-file",
        "an absolute file that only root reads",
        r#"api-key-file = "/etc/awqdeploy/secrets/api-key""#,
    ),
    Key::optional(
        "secrets.hub-token-file",
        "an absolute file that only root reads",
        r#"hub-token-file = "/etc/awqdeploy/secrets/hub-token""#,
    ),
    Key::optional("timeouts", "a table that says how long to wait", "[timeouts]"),
    Key::optional("timeouts.start", "a duration with its unit, from 1s to 24h", r#"start = "20min""#),
    Key::optional("timeouts.request", "a duration with its unit, from 1s to 1h", r#"request = "5min""#),
    Key::optional("validation", "a table that says what counts as served well", "[validation]"),
    Key::optional(
        "validation.min-decode-tokens-per-second",
        "a rate above 0 and at most 1000000 tokens/s",
        "min-decode-tokens-per-second = 5.0",
    ),
    Key::optional(
        "validation.output-tokens",
        "a whole number of tokens from 2 to 65536",
        "output-tokens = 128",
    ),
    Key::optional("validation.repetitions", "a whole number of requests from 1 to 1000", "repetitions = 3"),
    Key::optional("validation.warmups", "a whole number of requests from 0 to 1000", "warmups = 1"),
    Key::optional(
        "validation.baseline",
        "a table that names a profile to compare with",
        "[validation.baseline]",
    ),
    Key::required("validation.baseline.profile", "the name of another profile", r#"profile = "gptq""#),
    Key::required("validation.baseline.min-ratio", "a ratio above 0 and at most 1000", "min-ratio = 0.85"),
    Key::optional("validation.quality", "a table with the least quality of answers", "[validation.quality]"),
    Key::required("validation.quality.min-known-answers", "a share from 0 to 1", "min-known-answers = 0.8"),
    Key::optional(
        "validation.quality.max-perplexity-ratio",
        "a ratio above 0 and at most 1000",
        "max-perplexity-ratio = 1.05",
    ),
    Key::optional("validation.sweep", "a table that says what else to measure", "[validation.sweep]"),
    Key::optional(
        "validation.sweep.prompt-tokens",
        "an array of at most 8 rising lengths in tokens from 1 to 1048576",
        "prompt-tokens = [128, 1024, 4096]",
    ),
    Key::optional(
        "validation.sweep.concurrency",
        "an array of at most 8 rising numbers of streams from 1 to 256",
        "concurrency = [1, 2, 4, 8]",
    ),
    Key::optional("validation.sweep.time", "a duration with its unit, from 1s to 1h", r#"time = "1min""#),
    Key::optional("tolerances", "a table that says how far the engine may be from its plan", "[tolerances]"),
    Key::optional("tolerances.weights", "a share from 0 to 1", "weights = 0.02"),
    Key::optional("tolerances.offload", "a share from 0 to 1", "offload = 0.05"),
    Key::optional("tolerances.kv-cache", "a share from 0 to 1", "kv-cache = 0.05"),
    Key::optional("tolerances.vram", "a share from 0 to 1", "vram = 0.05"),
    Key::optional("tolerances.ram", "a share from 0 to 1", "ram = 0.25"),
    Key::optional("watch", "a table that says how it is watched once it serves", "[watch]"),
    Key::optional("watch.minutes", "a whole number of minutes from 0 to 1440", "minutes = 10"),
    Key::optional("watch.every", "a duration with its unit, from 1s to 1h", r#"every = "15s""#),
];

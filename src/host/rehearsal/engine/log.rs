//! The log of the rehearsal engine: vLLM's own lines, for stderr like vLLM's.

use super::options::Options;
use std::{io::Write as _, net::SocketAddr};

/// The lines that vLLM logs from its start until it serves, in order.
pub fn startup_log(options: &Options, address: SocketAddr) -> Vec<String> {
    let Options { model, max_model_len, .. } = options;
    let args = arguments(options);
    let server = |place: &str, text: String| line("APIServer", place, &text);
    let engine = |place: &str, text: String| line("EngineCore_DP0", place, &text);
    let shards = |done: u32| {
        let percent = done * 25;
        format!("Loading safetensors checkpoint shards: {percent:3}% Completed | {done}/4")
    };
    vec![
        server("api_server.py:1839", "vLLM API server version rehearsal".into()),
        server("utils.py:233", format!("non-default args: {{{args}}}")),
        server("model.py:547", "Resolved architecture: Rehearsal".into()),
        server("model.py:1510", format!("Using max model len {max_model_len}")),
        engine(
            "core.py:77",
            format!("Initializing a V1 LLM engine (rehearsal) with config: model='{model}'"),
        ),
        engine("parallel_state.py:1208", "world_size=1 rank=0".into()),
        engine("gpu_model_runner.py:2602", format!("Starting to load model {model}...")),
        shards(0),
        shards(2),
        shards(4),
        engine(
            "default_loader.py:267",
            format!("Loading weights took {:.2} seconds", options.load.as_secs_f64()),
        ),
        engine(
            "kv_cache_utils.py:1087",
            format!("GPU KV cache size: {} tokens", u64::from(*max_model_len) * 4),
        ),
        engine(
            "core.py:210",
            format!(
                "init engine (profile, create kv cache, warmup model) took {:.2} seconds",
                options.load.as_secs_f64()
            ),
        ),
        server("api_server.py:1912", format!("Starting vLLM server on http://{address}")),
        "INFO:     Application startup complete.".into(),
    ]
}

/// The flags as Python would print a dict of them.
fn arguments(options: &Options) -> String {
    let shown = options.flags.iter().map(|(flag, value)| {
        let name = flag.trim_start_matches('-').replace('-', "_");
        match (name.as_str(), value) {
            // vLLM logs its key; a rehearsal with a real profile must not.
            ("api_key", _) => "'api_key': '***'".to_owned(),
            (_, Some(value)) => format!("'{name}': '{value}'"),
            (_, None) => format!("'{name}': True"),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The lines of a real engine when its GPU is too small, and those of its server after it.
pub(super) fn out_of_memory() -> [String; 2] {
    let pid = std::process::id();
    let now = now();
    [
        format!(
            "(EngineCore_DP0 pid={pid}) ERROR {now} [core.py:710] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB."
        ),
        format!(
            "(APIServer pid={pid}) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{'EngineCore_DP0': 1}}"
        ),
    ]
}

/// Writes one line where vLLM writes its log. A closed log is no reason to stop.
pub(super) fn to_stderr(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn line(process: &str, place: &str, text: &str) -> String {
    let pid = std::process::id();
    format!("({process} pid={pid}) INFO {} [{place}] {text}", now())
}

/// The time of a log line. vLLM stamps local time without a year; a rehearsal uses UTC.
fn now() -> String {
    jiff::Timestamp::now().strftime("%m-%d %H:%M:%S").to_string()
}

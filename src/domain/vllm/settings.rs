//! Reads what a command line says of memory: the width of the cache, and what is added to the weights.

use super::{
    fields,
    flags::Argument,
    numbers::{decimal, number},
};
use crate::domain::size::ByteSize;

/// Bits of a 16-bit element.
const WHOLE: u64 = 16;

/// The memory settings of a command line. Of a flag that comes twice the last one counts, as for vLLM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Bits of an element of the KV cache (`--kv-cache-dtype`). Absent: as the checkpoint says.
    pub cache_bits: Option<u64>,
    /// Bits of an element of the convolution's state (`--mamba-cache-dtype`).
    pub convolution_bits: u64,
    /// Bits of an element of the recurrent state (`--mamba-ssm-cache-dtype`).
    pub state_bits: u64,
    /// `--kv-cache-memory-bytes`: vLLM then neither measures nor asks what is left.
    pub cache_fixed: Option<ByteSize>,
    /// RAM of all ranks together for a cache beside that of the GPUs (`--kv-offloading-size`).
    pub cache_in_ram: ByteSize,
    /// The source of the tokens that are guessed ahead (`--speculative-config`).
    pub speculation: Option<Speculation>,
    /// The tokens that are guessed at a time. 1 where nothing says more.
    pub guesses: u32,
    /// Whether vLLM makes the weights up, as benchmarks have it (`--load-format dummy`): no file holds them then.
    pub dummy_weights: bool,
}

/// The source of tokens that are guessed ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// Layers of the model itself (MTP).
    Own,
    /// A model of its own, in a folder or repository.
    Model(String),
    /// Text from before: it takes no memory of a GPU.
    Lookup,
}

impl EngineSettings {
    /// Reads these flags.
    pub(crate) fn of(arguments: &[Argument]) -> Self {
        let value = |name: &str| {
            let mut named = arguments.iter().filter(|argument| argument.name == name);
            named.next_back().and_then(|argument| argument.value.as_deref())
        };
        let convolution_bits = value("--mamba-cache-dtype").and_then(bits).unwrap_or(WHOLE);
        Self {
            cache_bits: value("--kv-cache-dtype").and_then(bits),
            convolution_bits,
            state_bits: value("--mamba-ssm-cache-dtype").and_then(bits).unwrap_or(convolution_bits),
            cache_fixed: value("--kv-cache-memory-bytes").and_then(number).map(ByteSize),
            cache_in_ram: value("--kv-offloading-size").and_then(gibibytes).unwrap_or_default(),
            speculation: speculation(arguments),
            guesses: guesses(arguments).unwrap_or(1),
            dummy_weights: value("--load-format") == Some("dummy"),
        }
    }
}

/// Bits of an element of this type, scales beside it included and rounded up. Absent for `auto`. The names are those of
/// vLLM 0.10.2 to 0.33; one that comes later is taken to be whole.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "auto" => return None,
        "float32" | "float" => 32,
        _ if dtype.ends_with("_per_token_head") && !dtype.starts_with("int4") => 9,
        _ if dtype.starts_with("fp8") || dtype.starts_with("int8") => 8,
        // Its values take 8 and 4 bits, and what the others take is less.
        _ if dtype.starts_with("turboquant") || dtype.starts_with("ultraquant") => 8,
        _ if dtype.starts_with("nvfp4") || dtype.starts_with("int4") => 5,
        _ => WHOLE,
    })
}

fn gibibytes(text: &str) -> Option<ByteSize> {
    decimal(text.trim(), 1 << 30).map(ByteSize)
}

/// `num_speculative_tokens` of `--speculative-config`, or since 0.24 `--spec-tokens`.
fn guesses(arguments: &[Argument]) -> Option<u32> {
    let alone = arguments.iter().rfind(|argument| argument.name == "--spec-tokens");
    if let Some(alone) = alone {
        return alone.value.as_deref()?.parse().ok();
    }
    let whole = fields::object(arguments, &["--speculative-config", "-sc"])?;
    u32::try_from(whole.get("num_speculative_tokens")?.as_u64()?).ok()
}

/// `--speculative-config '{"method": "mtp"}'`, `--speculative-config.method mtp`, or since 0.24 `--spec-method mtp`.
fn speculation(arguments: &[Argument]) -> Option<Speculation> {
    let alone = |name: &str| {
        let last = arguments.iter().rfind(|argument| argument.name == name);
        last.and_then(|argument| argument.value.clone())
    };
    let whole = fields::object(arguments, &["--speculative-config", "-sc"]);
    let field = |key: &str| Some(whole.as_ref()?.get(key)?.as_str()?.to_owned());
    let method = alone("--spec-method").or_else(|| field("method"));
    let model = alone("--spec-model").or_else(|| field("model"));
    if whole.is_none() && method.is_none() && model.is_none() && alone("--spec-tokens").is_none() {
        return None;
    }
    let lookup = |name: &str| name.starts_with("ngram") || name == "[ngram]" || name == "suffix";
    Some(match (method.as_deref(), model) {
        (Some(method), _) if lookup(method) => Speculation::Lookup,
        (_, Some(model)) if lookup(&model) => Speculation::Lookup,
        (_, Some(model)) => Speculation::Model(model),
        _ => Speculation::Own,
    })
}

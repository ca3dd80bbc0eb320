//! Reads what a command line says of memory: the width of the cache, and what is added to the weights.

use super::flags::Argument;
use crate::domain::size::ByteSize;
use serde_json::Value;

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

/// vLLM takes `2g` for 2,000,000,000 and `2G` for 2,147,483,648; only the first kind may have decimals.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let Some(at) = text.find(|c: char| !c.is_ascii_digit() && c != '.') else { return text.parse().ok() };
    let (digits, unit) = text.split_at(at);
    let power = |base: u64, letter: &str| {
        let exponent = ["k", "m", "g", "t"].iter().position(|known| *known == letter)?;
        base.checked_pow(u32::try_from(exponent).ok()? + 1)
    };
    match power(1000, unit) {
        Some(unit) => decimal(digits, unit),
        None => digits
            .parse::<u64>()
            .ok()?
            .checked_mul(power(1024, &unit.to_lowercase()).filter(|_| unit.len() == 1)?),
    }
}

fn gibibytes(text: &str) -> Option<ByteSize> {
    decimal(text.trim(), 1 << 30).map(ByteSize)
}

/// A decimal number of units, rounded down.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and checked to fit")]
fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let number = digits.parse::<f64>().ok()? * unit as f64;
    (number >= 0.0 && number < u64::MAX as f64).then_some(number as u64)
}

/// `num_speculative_tokens`, in any of the places of [`speculation`].
fn guesses(arguments: &[Argument]) -> Option<u32> {
    let said = |argument: &Argument| -> Option<u32> {
        let value = argument.value.as_deref()?;
        match (argument.name.as_str(), argument.written.split_once('.')) {
            ("--spec-tokens", _) | (_, Some((_, "num_speculative_tokens"))) => value.parse().ok(),
            ("--speculative-config" | "-sc", None) => {
                let config: Value = serde_json::from_str(value).ok()?;
                u32::try_from(config.get("num_speculative_tokens")?.as_u64()?).ok()
            }
            _ => None,
        }
    };
    arguments.iter().filter_map(said).next_back()
}

/// `--speculative-config '{"method": "mtp"}'`, `--speculative-config.method mtp`, or since 0.24 `--spec-method mtp`.
fn speculation(arguments: &[Argument]) -> Option<Speculation> {
    let (mut asked, mut method, mut model) = (false, None, None);
    for Argument { written, name, value } in arguments {
        let Some(value) = value.as_deref() else { continue };
        let key = match (name.as_str(), written.split_once('.')) {
            ("--speculative-config" | "-sc", Some((_, key))) => key,
            ("--speculative-config" | "-sc", None) => {
                let Ok(Value::Object(config)) = serde_json::from_str(value) else { continue };
                let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
                (asked, method, model) = (true, text("method"), text("model"));
                continue;
            }
            ("--spec-method", _) => "method",
            ("--spec-model", _) => "model",
            ("--spec-tokens", _) => "num_speculative_tokens",
            _ => continue,
        };
        asked = true;
        match key {
            "method" => method = Some(value.to_owned()),
            "model" => model = Some(value.to_owned()),
            _ => {}
        }
    }
    if !asked {
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

//! Spoils answers as a fault asks for.

use super::fault::EngineFault;
use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Stands for half a character until the bytes are sent.
const HALF: char = '\u{e000}';
/// The first byte of a character of two.
const HALF_BYTE: u8 = 0xc3;

/// Spoils a whole answer, or the last chunk of a stream.
pub(super) fn usage(body: &mut Value, fault: Option<EngineFault>) {
    if fault == Some(EngineFault::WrongUsage)
        && let Some(total) = body["usage"]["total_tokens"].as_u64()
    {
        body["usage"]["total_tokens"] = json!(total + 1);
    }
}

/// Spoils an error body.
pub(super) fn error(body: &mut Value, fault: Option<EngineFault>) {
    if fault == Some(EngineFault::TextCode) {
        body["error"]["code"] = json!(body["error"]["code"].to_string());
    }
}

/// Spoils the events of a stream.
pub(super) fn events(events: &mut Vec<(Instant, String)>, fault: Option<EngineFault>) {
    match fault {
        Some(EngineFault::NoUsage) => events.retain(|(_, data)| !data.contains("\"usage\"")),
        Some(EngineFault::NoDone) => drop(events.pop()),
        Some(EngineFault::NoRole) => events.retain(|(_, data)| !data.contains("\"role\"")),
        Some(EngineFault::TwoEnds) => {
            if let Some((_, data)) = events.get_mut(1) {
                *data = data.replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
            }
        }
        Some(EngineFault::HalfCharacter) => {
            if let Some((_, data)) = events.get_mut(1) {
                *data = data.replacen("\"content\":\"", &format!("\"content\":\"{HALF}"), 1);
            }
        }
        _ => {}
    }
}

/// The bytes of one event.
pub(super) fn bytes(data: &str) -> Bytes {
    let event = format!("data: {data}\n\n");
    match event.split_once(HALF) {
        None => Bytes::from(event),
        Some((before, after)) => [before.as_bytes(), &[HALF_BYTE], after.as_bytes()].concat().into(),
    }
}

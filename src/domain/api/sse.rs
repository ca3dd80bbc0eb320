//! Server-sent events: bytes in any chunking in, whole events out.
//!
//! Follows the WHATWG event stream format (HTML standard, 9.2.6): lines end with LF, CR or CR LF, a
//! blank line ends an event, lines that begin with a colon are comments, several `data` lines are
//! joined by LF, an unfinished last event is dropped. `id` and `retry` steer reconnection, which a
//! one-shot completion has no use for, so they are read over.

use crate::domain::problem::{Kind, Problem};

/// The most bytes that one event may have. vLLM's largest, with log probabilities, are a few KiB.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field. vLLM's completions have none.
    pub name: Option<String>,
    /// The `data` lines, joined by LF.
    pub data: String,
}

/// An event stream being read.
#[derive(Debug, Default)]
pub struct Parser {
    /// The bytes of the unfinished line. Decoded only when whole: a chunk may end inside a character.
    line: Vec<u8>,
    name: Option<String>,
    data: Option<String>,
    /// The last byte was a CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// A line was read, so that a byte order mark no longer is one.
    past_first_line: bool,
}

impl Parser {
    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Errors
    ///
    /// When an event grows beyond [`MAX_EVENT_BYTES`]. The parser is of no further use then.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Problem> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held + part.len() > MAX_EVENT_BYTES {
                return Err(Problem::new(
                    Kind::Unexpected,
                    format!("a streamed event is larger than {MAX_EVENT_BYTES} bytes"),
                ));
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                break;
            };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            // A line that came in one piece, as nearly all do, is read where it lies.
            if self.line.is_empty() {
                events.extend(self.end_line(part));
            } else {
                self.line.extend_from_slice(part);
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&line));
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line);
        let line = if std::mem::replace(&mut self.past_first_line, true) {
            &line
        } else {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line)
        };
        if line.is_empty() {
            let name = self.name.take();
            return self.data.take().map(|data| Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => self.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            _ => {}
        }
        None
    }
}

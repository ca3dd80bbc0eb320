//! The events of a running activation, a line of JSON each: any process can follow it here. Evidence for
//! people; nothing is decided by it, so it need not survive a power cut.

use crate::{domain::problem::Problem, host::os::fs::failed};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The transcript's name in an activation's directory.
const NAME: &str = "events.jsonl";
/// The most bytes that are read at once.
const MAX_READ: u64 = 1 << 20;

/// A transcript that is being written.
#[derive(Debug)]
pub struct Transcript {
    file: File,
    path: PathBuf,
}

/// A transcript that is being read while it grows.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    at: u64,
}

impl Transcript {
    /// Opens the transcript of the activation in `directory` for more events.
    pub fn open(directory: &Path) -> Result<Self, Problem> {
        let path = directory.join(NAME);
        let options = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let mut file = options.map_err(|e| failed("open", &path, e))?;
        // A line that a killed process left half-written must not run into the next.
        let torn = !std::fs::read(&path).map_err(|e| failed("read", &path, e))?.ends_with(b"\n");
        if torn {
            file.write_all(b"\n").map_err(|e| failed("write", &path, e))?;
        }
        Ok(Self { file, path })
    }

    /// Adds one event.
    pub fn add(&self, event: &impl Serialize) -> Result<(), Problem> {
        let mut line = serde_json::to_vec(event).map_err(|e| Problem::doing("write an event", e))?;
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(|e| failed("write", &self.path, e))
    }
}

impl Reader {
    /// Reads the transcript of the activation in `directory` from its beginning. It need not be there yet.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(NAME), at: 0 }
    }

    /// The whole lines since the last call. One that cannot be read was torn, or is a later version's.
    pub fn news<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Problem> {
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(|e| failed("open", &self.path, e))?,
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.at))
            .and_then(|_| file.take(MAX_READ).read_to_end(&mut bytes))
            .map_err(|e| failed("read", &self.path, e))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.at += whole as u64;
        Ok(bytes[..whole]
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect())
    }
}

//! One activation's journal: a line of JSON for each state, synced before its step runs.

use crate::{
    domain::{
        activation::{
            journal::{self, Entry, Reading},
            machine::Activation,
        },
        problem::Problem,
    },
    host::{
        machine::uptime,
        os::fs::{failed, flush, sync},
    },
};
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The journal's name in an activation's directory.
pub const NAME: &str = "journal.jsonl";

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// The bytes of whole records, which are on the disk.
    good: u64,
}

impl Journal {
    /// Opens or begins the journal of the activation in `directory`.
    pub fn open(directory: &Path) -> Result<Self, Problem> {
        let path = directory.join(NAME);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|e| failed("open", &path, e))?;
        let bytes = std::fs::read(&path).map_err(|e| failed("read", &path, e))?;
        let mut journal = Self { file, path, good: journal::whole_lines(&bytes) as u64 };
        journal.cut()?;
        flush(&journal.file, &journal.path).map_err(|e| failed("sync", &journal.path, e))?;
        sync(directory)?;
        Ok(journal)
    }

    /// Adds a state, which is on the disk when this returns. A failure leaves nothing behind that the next
    /// record could run into.
    pub fn record(&mut self, activation: &Activation) -> Result<(), Problem> {
        let entry =
            Entry { at: jiff::Timestamp::now(), uptime: Some(uptime::now()), activation: activation.clone() };
        let mut line = serde_json::to_vec(&entry).map_err(|e| Problem::doing("write the journal", e))?;
        line.push(b'\n');
        // Cut now what could not be cut after a failure.
        self.cut()?;
        let written = self.file.write_all(&line).and_then(|()| flush(&self.file, &self.path));
        if let Err(e) = written {
            // The rest is cut before the next record, or by the next to open the journal.
            let _left = self.cut();
            return Err(failed("write", &self.path, e));
        }
        self.good += line.len() as u64;
        Ok(())
    }

    /// Cuts off everything after the last whole record.
    fn cut(&mut self) -> Result<(), Problem> {
        let there = self.file.metadata().map_err(|e| failed("look at", &self.path, e))?.len();
        if there > self.good {
            self.file.set_len(self.good).map_err(|e| failed("mend", &self.path, e))?;
        }
        Ok(())
    }
}

/// Reads the journal in `directory`, as far as it can be read.
pub fn read(directory: &Path) -> Result<Reading, Problem> {
    let path = directory.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(journal::read(&bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Reading::default()),
        Err(e) => Err(failed("read", &path, e)),
    }
}

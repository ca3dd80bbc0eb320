//! One activation's journal: a line of JSON for each state, synced before its step runs.

use super::fs::{failed, read, sync};
use crate::domain::{activation::Activation, journal::Entry, problem::Problem};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
};

/// The journal's name in an activation's directory.
pub const NAME: &str = "journal.jsonl";

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: std::path::PathBuf,
}

impl Journal {
    /// Opens or begins the journal of the activation in `directory`.
    pub fn open(directory: &Path) -> Result<Self, Problem> {
        let path = directory.join(NAME);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|e| failed("open", &path, e))?;
        cut_torn_line(&file, &path)?;
        file.sync_all().map_err(|e| failed("sync", &path, e))?;
        sync(directory)?;
        Ok(Self { file, path })
    }

    /// Adds a state, on the disk when this returns.
    pub fn record(&mut self, activation: &Activation) -> Result<(), Problem> {
        let entry = Entry { at: jiff::Timestamp::now(), activation: activation.clone() };
        let mut line = serde_json::to_vec(&entry).map_err(|e| Problem::doing("write the journal", e))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|e| failed("write", &self.path, e))
    }
}

/// All whole lines of the journal in `directory`. A torn last one was never acted on, so it is left out.
pub fn entries(directory: &Path) -> Result<Vec<Entry>, Problem> {
    let path = directory.join(NAME);
    let text = read(&path)?.unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
    whole
        .lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|e| {
                Problem::doing(format_args!("read the journal `{}`", path.display()), e)
                    .help("it was written by another version of awqdeploy, or damaged; use the awqdeploy that wrote it")
            })
        })
        .collect()
}

/// A torn last line would run into the next record: cut it off first.
fn cut_torn_line(file: &File, path: &Path) -> Result<(), Problem> {
    let text = std::fs::read(path).map_err(|e| failed("read", path, e))?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        file.set_len(whole as u64).map_err(|e| failed("mend", path, e))?;
    }
    Ok(())
}

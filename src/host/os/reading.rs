//! Reads directories, and explains what a file system refuses.

use crate::domain::problem::Problem;
use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::Path,
};

/// The names in a directory that people can read, or none where there is no such directory. One that is no UTF-8 is
/// spelt as well as can be, and leads nowhere.
pub fn names(path: &Path) -> Result<Vec<String>, Problem> {
    Ok(entries(path)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

/// The names in a directory as they are, or none where there is no such directory.
pub(crate) fn entries(path: &Path) -> Result<Vec<OsString>, Problem> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| failed("list", path, e))?,
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(|e| failed("list", path, e))?;
            Ok(entry.file_name())
        })
        .collect()
}

/// A problem with a path, with the remedies for the usual causes.
pub fn failed(doing: &str, path: &Path, cause: io::Error) -> Problem {
    let kind = cause.kind();
    let problem = Problem::doing(format_args!("{doing} `{}`", path.display()), cause);
    match kind {
        ErrorKind::PermissionDenied => {
            problem.help("run it as root, or name a root that you may write with `--root DIR`")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            problem.help("make room on that file system and run it again; nothing was changed")
        }
        ErrorKind::ReadOnlyFilesystem => {
            problem.help("name a root on a writable file system with `--root DIR`")
        }
        _ => problem,
    }
}

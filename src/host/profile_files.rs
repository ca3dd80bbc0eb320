//! The files of a folder of profiles, as whoever runs this may believe them.

use super::os::trust;
use crate::domain::problem::{Kind, Problem};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// The most that is read of one file. The lock of a model of 45 GB has 400 KB, that of 100,000 files 17 MB.
const LONGEST_FILE: u64 = 64 << 20;

/// The names in a folder, those in UTF-8; nothing where there is no such folder.
pub(super) fn files_in(dir: &Path) -> Result<Option<Vec<String>>, Problem> {
    let failed = |cause: io::Error| Problem::doing(format_args!("list `{}`", dir.display()), cause);
    if trust::believe_as_root(dir)?.is_none() {
        return Ok(None);
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(Some(names))
}

/// The text of a file; nothing where there is none. Root reads only its own and its caller's, since what a
/// profile says is run.
pub(super) fn read(path: &Path) -> Result<Option<String>, Problem> {
    if trust::believe_as_root(path)?.is_none() {
        return Ok(None);
    }
    let failed = |cause: io::Error| Problem::doing(format_args!("read `{}`", path.display()), cause);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(Problem::new(Kind::Usage, format!("`{}` is larger than 64 MiB", path.display()))
            .help("no profile and no lock is: look whether it is the right file"));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        Problem::new(Kind::Usage, format!("`{}` is not UTF-8 text", path.display()))
            .help("save it as UTF-8")
            .because(error.utf8_error())
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

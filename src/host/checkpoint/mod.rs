//! Reads a checkpoint's folder: its `config.json`, its index, and the headers of its weight files. The
//! weights themselves are not read: two megabytes of forty-five gigabytes are.

mod remote;
mod told;

use super::os::fs;
use crate::domain::{
    checkpoint::{
        Checkpoint,
        config::{self, ConfigFiles},
        files::{self, NotAModel},
        safetensors::{Flaw, Header, Index, PREFIX, WeightFiles},
    },
    problem::Problem,
};
use told::{CONFIG, INDEX, SUFFIX, TEMPLATES, flawed, has_all, some_of, template_in, unverified};

pub(crate) use remote::{HubReadError, read as read_from_hub, template as template_on_hub};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

/// The part of a weight file that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The whole file.
    Whole,
    /// At least the header: what follows may have been cut off.
    Headers,
}

/// Reads the checkpoint in this folder, or nothing where it has no `config.json`. A folder without
/// safetensors files tells no more than its `config.json`.
pub fn read(folder: &Path, presence: Presence) -> Result<Option<Checkpoint>, Problem> {
    read_with(folder, presence, &BTreeMap::new())
}

/// Reads the checkpoint in this folder, with what a command line changes of its configuration.
pub(crate) fn read_with(
    folder: &Path,
    presence: Presence,
    overrides: &BTreeMap<String, String>,
) -> Result<Option<Checkpoint>, Problem> {
    let Some(mut files) = config_files(folder)? else {
        return Ok(None);
    };
    files.overrides.clone_from(overrides);
    let weights = weights(folder, presence)?;
    Ok(Some(Checkpoint::of_files(&files, None)?.with_weights(&weights)))
}

/// The small files that say what a checkpoint is, or nothing where the folder has no `config.json`.
pub(crate) fn config_files(folder: &Path) -> Result<Option<ConfigFiles>, Problem> {
    let Some(config) = fs::read(&folder.join(CONFIG))? else {
        return Ok(None);
    };
    let mut files = ConfigFiles::alone(&config);
    for name in config::BESIDE {
        files.beside.extend(fs::read(&folder.join(name))?.map(|text| (name.to_owned(), text)));
    }
    Ok(Some(files))
}

/// A problem with a folder that holds no whole model: none at all, a part of one, or pointers instead of files.
pub fn check(folder: &Path) -> Result<(), Problem> {
    let names = fs::names(folder)?;
    let index = match fs::read(&folder.join(INDEX))? {
        Some(text) if !files::is_pointer(text.as_bytes()) => {
            let place = folder.join(INDEX).display().to_string();
            Some(Index::parse(&text).map_err(|flaw| flawed(&place, &flaw))?)
        }
        _ => None,
    };
    let names = names.iter().map(String::as_str);
    let judged = files::judge(names.clone(), index.as_ref().map(|index| index.files().into_iter()));
    let pointer = || names.clone().find(|name| is_pointer(&folder.join(name)));
    let judged = judged.and_then(|()| match pointer() {
        Some(name) => Err(NotAModel::Pointer(name.to_owned())),
        None => Ok(()),
    });
    judged.map_err(|why| told::no_model(&folder.display().to_string(), &why))
}

fn is_pointer(path: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else { return false };
    metadata.is_file()
        && metadata.len() <= files::LONGEST_POINTER
        && std::fs::read(path).is_ok_and(|bytes| files::is_pointer(&bytes))
}

/// The text of the model's chat template, or nothing where the folder has none.
pub(crate) fn template(folder: &Path) -> Result<Option<String>, Problem> {
    for name in TEMPLATES {
        if let Some(text) = fs::read(&folder.join(name))?
            && let Some(template) = template_in(name, &text)
        {
            return Ok(Some(template));
        }
    }
    Ok(None)
}

/// The headers of all weight files: of those that the index names, or where there is none of all.
pub fn weights(folder: &Path, presence: Presence) -> Result<WeightFiles, Problem> {
    let path = folder.join(INDEX);
    let Some(text) = fs::read(&path)? else {
        let names = fs::names(folder)?;
        let names = files::weights(names.iter().map(String::as_str));
        let names = names.iter().filter(|name| name.ends_with(SUFFIX));
        let headers = names.map(|name| header(&folder.join(name), presence));
        return Ok(WeightFiles { headers: headers.collect::<Result<_, _>>()?, total: None });
    };
    let place = path.display().to_string();
    let index = Index::parse(&text).map_err(|flaw| flawed(&place, &flaw))?;
    let missing: Vec<_> = index.files().into_iter().filter(|name| !folder.join(name).is_file()).collect();
    if !missing.is_empty() {
        return Err(unverified(format!("`{place}` names {}, which the folder lacks", some_of(&missing))));
    }
    let headers = index.files().into_iter().map(|name| {
        let path = folder.join(name);
        has_all(&index, name, header(&path, presence)?, &path.display().to_string())
    });
    Ok(WeightFiles { headers: headers.collect::<Result<_, _>>()?, total: index.total_size() })
}

fn header(path: &Path, presence: Presence) -> Result<Header, Problem> {
    let flawed = |flaw: &Flaw| flawed(&path.display().to_string(), flaw);
    let mut file = fs::open_file(path).map_err(|e| fs::failed("open", path, e))?;
    let size = file.metadata().map_err(|e| fs::failed("read", path, e))?.len();
    if is_pointer(path) {
        return Err(flawed(&Flaw::Pointer));
    }
    let mut prefix = [0; PREFIX];
    read_exactly(&mut file, &mut prefix, path)?;
    let length = Header::length(prefix).map_err(|flaw| flawed(&flaw))?;
    // Checked before anything is allocated.
    if length > size.saturating_sub(PREFIX as u64) {
        return Err(flawed(&Flaw::Truncated));
    }
    let mut json = vec![0; usize::try_from(length).map_err(|_| flawed(&Flaw::Length(length)))?];
    read_exactly(&mut file, &mut json, path)?;
    let header = Header::parse(&json).map_err(|flaw| flawed(&flaw))?;
    let cut = presence == Presence::Headers && size <= header.file_size();
    match header.check_size(size) {
        Err(flaw) if !cut => {
            let problem = flawed(&flaw);
            let shorter = size < header.file_size();
            Err(if shorter {
                problem.help("fetch it again; for a folder with headers only say `--headers-only`")
            } else {
                problem
            })
        }
        _ => Ok(header),
    }
}

fn read_exactly(file: &mut File, buffer: &mut [u8], path: &Path) -> Result<(), Problem> {
    file.read_exact(buffer).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => flawed(&path.display().to_string(), &Flaw::Truncated),
        _ => fs::failed("read", path, e),
    })
}

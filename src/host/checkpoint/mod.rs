//! Reads a checkpoint's folder: its `config.json`, its index, and the headers of its weight files. The
//! weights themselves are not read: two megabytes of forty-five gigabytes are.

mod remote;
mod told;

use super::os::fs;
use crate::domain::{
    checkpoint::{
        Checkpoint,
        safetensors::{Flaw, Header, Index, PREFIX, WeightFiles},
    },
    problem::Problem,
};
use told::{CONFIG, INDEX, SUFFIX, TEMPLATES, flawed, has_all, some_of, template_in, unverified};

pub(crate) use remote::{HubReadError, read as read_from_hub, template as template_on_hub};
use std::{
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
    let Some(config) = fs::read(&folder.join(CONFIG))? else {
        return Ok(None);
    };
    let weights = weights(folder, presence)?;
    Ok(Some(Checkpoint::of(&config, None)?.with_weights(&weights)))
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
        let mut names = fs::names(folder)?;
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort_unstable();
        let headers = names.iter().map(|name| header(&folder.join(name), presence));
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
    let mut file = File::open(path).map_err(|e| fs::failed("open", path, e))?;
    let size = file.metadata().map_err(|e| fs::failed("read", path, e))?.len();
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

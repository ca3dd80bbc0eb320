//! Lays a model out as a plain folder outside of the store.
//!
//! It is made beside its place, or inside of an empty folder that is there, under a name that nobody else has. That name
//! is recorded before it is taken: what a kill leaves behind is removed by the next export or collection.

use super::verify;
use crate::{
    domain::{
        lockfile::LockedModel,
        problem::{Kind, Problem},
    },
    host::{
        os::{fs, parallel, parallel::Progress, signals::Interrupt},
        store::StoreWriter,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Whether an export may share files with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// May share files: that takes no room, and a change of one changes the other.
    WithStore,
    /// Has files of its own.
    Never,
}

/// The result of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The folder, behind all links.
    pub folder: PathBuf,
    /// The number of files.
    pub files: usize,
    /// The number of files that it shares with the store.
    pub shared: usize,
}

/// The record of a half-made export.
#[derive(Serialize, Deserialize)]
struct Record {
    staged: PathBuf,
    /// The folder that gets the staged files, once they are complete.
    into: Option<PathBuf>,
}

/// The place of an export.
enum Place {
    /// A new name.
    New(PathBuf),
    /// An empty folder, which stays: it may be a mount point, or somebody's working directory.
    Empty(PathBuf),
}

impl StoreWriter<'_> {
    /// Lays a model out in a folder outside of the store that is not there yet, or empty. A new one appears as a whole.
    /// Whatever ends it, nothing of it is left.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a folder that holds something, or lies in the root; [`Kind::Interrupted`].
    pub fn export(
        &self,
        model: &LockedModel,
        to: &Path,
        sharing: Sharing,
        interrupt: &Interrupt,
        progress: Progress<'_>,
    ) -> Result<Exported, Problem> {
        self.sweep_exports()?;
        let place = self.place(to)?;
        let (parent, prefix) = match &place {
            Place::New(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                (path.parent().unwrap_or(path), format!(".{name}.awqdeploy-"))
            }
            Place::Empty(path) => (path.as_path(), ".awqdeploy-".to_owned()),
        };
        let staged = parent.join(format!("{prefix}{:016x}", fastrand::u64(..)));
        let record = self.store().layout().exports().join(format!("{:016x}", fastrand::u64(..)));
        fs::make_directory(&self.store().layout().exports())?;
        let write = |into: Option<&Path>| {
            let text = serde_json::to_vec(&Record { staged: staged.clone(), into: into.map(Path::to_owned) });
            fs::write(&record, text.map_err(|e| Problem::doing("write down the export", e))?)
        };
        write(None)?;
        let done = self.lay_out_at(model, &staged, sharing, interrupt, progress).and_then(|shared| {
            interrupt.check()?;
            let folder = match place {
                Place::New(path) => {
                    fs::publish(&staged, &path)?;
                    path
                }
                Place::Empty(path) => {
                    write(Some(&path))?;
                    move_up(&staged, &path)?;
                    path
                }
            };
            Ok(Exported { folder, files: model.files.len(), shared })
        });
        let swept = fs::remove_tree(&staged).and_then(|()| fs::remove(&record));
        done.and_then(|done| swept.map(|()| done))
    }

    /// Finds the place of an export to this path, behind all links.
    fn place(&self, to: &Path) -> Result<Place, Problem> {
        let usage = |what: String| {
            Problem::new(Kind::Usage, what).help("name a folder that is not there yet, or an empty one")
        };
        let real = |path: &Path| std::fs::canonicalize(path).map_err(|e| fs::failed("find", path, e));
        let place = match std::fs::metadata(to) {
            Ok(found) if !found.is_dir() => return Err(usage(format!("`{}` is not a folder", to.display()))),
            Ok(_) if !fs::entries(to)?.is_empty() => {
                return Err(usage(format!("`{}` is not empty", to.display())));
            }
            Ok(_) => Place::Empty(real(to)?),
            Err(e) if e.kind() == ErrorKind::NotFound && to.is_symlink() => {
                return Err(usage(format!("`{}` is a link to nothing", to.display())));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                fs::make_directory(parent)?;
                Place::New(real(parent)?.join(to.file_name().unwrap_or_default()))
            }
            Err(e) => return Err(fs::failed("look at", to, e)),
        };
        let (Place::New(path) | Place::Empty(path)) = &place;
        if path.starts_with(real(self.store().layout().root())?) {
            return Err(usage(format!("`{}` lies in the root", path.display())));
        }
        Ok(place)
    }

    /// Makes the whole folder under a temporary name. Returns how many of its files are the store's own.
    fn lay_out_at(
        &self,
        model: &LockedModel,
        staged: &Path,
        sharing: Sharing,
        interrupt: &Interrupt,
        progress: Progress<'_>,
    ) -> Result<usize, Problem> {
        std::fs::create_dir(staged).map_err(|e| fs::failed("make the directory", staged, e))?;
        fs::open_to_all(staged)?;
        let from = self.store().layout().model(model.digest());
        let mut files: Vec<_> = model.files.iter().collect();
        for file in &files {
            let to = staged.join(&file.path);
            fs::make_directory(to.parent().unwrap_or(&to))?;
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.size));
        let laid = parallel::each(&files, interrupt, progress, |file, worker| {
            let (from, to) = (from.join(&file.path), staged.join(&file.path));
            let before = verify::stamp(&from)?;
            let tick: fs::Tick<'_> = &|bytes| worker.count(bytes);
            let how = match sharing {
                Sharing::WithStore => fs::transfer(&from, &to, tick)?,
                Sharing::Never => fs::transfer_own(&from, &to, tick)?,
            };
            let stamps = before.zip(verify::stamp(&from)?).filter(|_| how == fs::Transfer::Linked);
            Ok((how, file.sha256, stamps))
        })?;
        let before = self.store().hash_cache()?;
        let mut cache = before.clone();
        for (_, content, stamps) in &laid {
            if let Some((before, after)) = stamps {
                cache.note_links(content, before, after);
            }
        }
        if cache != before {
            self.keep_hash_cache(&cache)?;
        }
        fs::sync_file_system(staged)?;
        Ok(laid.iter().filter(|(how, ..)| *how == fs::Transfer::Linked).count())
    }

    /// Removes the remains of killed exports, and finishes complete ones.
    pub(in crate::host) fn sweep_exports(&self) -> Result<(), Problem> {
        let exports = self.store().layout().exports();
        for name in fs::entries(&exports)? {
            let path = exports.join(name);
            // A record that cannot be read was not whole: nothing was made for it yet.
            if let Some(Record { staged, into }) = fs::read_record(&path)? {
                if let Some(into) = into.filter(|_| staged.is_dir()) {
                    // A file in its way came later, and stays.
                    let _incomplete = move_up(&staged, &into);
                }
                fs::remove_tree(&staged)?;
            }
            fs::remove(&path)?;
        }
        Ok(())
    }
}

/// Moves everything from a folder into the one around it, which has nothing of these names.
fn move_up(staged: &Path, into: &Path) -> Result<(), Problem> {
    let mut names: Vec<OsString> = fs::entries(staged)?;
    names.sort();
    for name in &names {
        let to = into.join(name);
        if to.symlink_metadata().is_ok() {
            let what = format!("`{}` was put there meanwhile", to.display());
            return Err(Problem::new(Kind::Usage, what).help("name a folder that nobody else writes to"));
        }
    }
    names.iter().try_for_each(|name| fs::replace(&staged.join(name), &into.join(name)))
}

//! `lock`: records every file of a profile's model, from a folder that is known to be good.

use super::{
    event::{Event, Observer},
    world::World,
};
use crate::{
    domain::{
        lock::LockedModel,
        problem::{Kind, Problem},
    },
    host::{folder::Folder, fs},
};
use std::path::Path;

/// Hashes the files of `folder`, by default the profile's own `path`, and writes them to the lock.
pub fn lock(
    world: &World,
    name: &str,
    folder: Option<&Path>,
    observer: &dyn Observer,
) -> Result<LockedModel, Problem> {
    let profile = world.library.load(name)?;
    let wanted = profile.model();
    let folder = folder.or(wanted.path.as_deref()).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("`{name}` names no folder to lock"))
            .help(format!("say which: `awqdeploy lock {name} --from FOLDER`"))
    })?;
    let folder = Folder::open(folder, &wanted.repo, &wanted.revision)?;
    if !folder.path().join("config.json").is_file() {
        let what = format!("there is no model in `{}`", folder.path().display());
        return Err(
            Problem::new(Kind::Unverified, what).help("name the folder that holds the model's `config.json`")
        );
    }
    observer.see(Event::Stage(format!("hash the files in `{}`", folder.path().display())));
    let of = folder.size()?;
    let files = folder.survey(&world.interrupt, &mut |done| observer.see(Event::Progress { done, of }))?;
    let locked = LockedModel::of(wanted.repo.clone(), wanted.revision.clone(), folder.commit(), files)?;
    world.library.save_lock(profile.name(), &locked, |path, text| {
        fs::make_directory(path.parent().unwrap_or(path))?;
        fs::write_unlocked(path, text)
    })?;
    Ok(locked)
}

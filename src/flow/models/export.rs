//! `export`: lays a model of the store out as a plain folder, for other programs.

use super::not_locked;
use crate::{
    domain::problem::{Kind, Problem},
    flow::{
        context::World,
        event::{Event, Observer},
    },
    host::models::{self, Exported, Sharing, verify},
};
use std::{path::Path, time::Duration};

/// Exports a profile's model to a folder that is not there yet, or empty. Where the file system allows
/// it, that takes no room.
pub(crate) fn export(
    world: &World,
    name: &str,
    to: &Path,
    sharing: Sharing,
    observer: &dyn Observer,
) -> Result<Exported, Problem> {
    let profile = world.library.load(name)?;
    let model = world.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let path = world.layout().model(model.digest());
    if !path.is_dir() {
        return Err(Problem::new(Kind::Unverified, format!("the model of `{name}` is not in the store"))
            .help(format!("`awqdeploy deploy {name}` takes it in")));
    }
    let writer = world.store.writer(Duration::ZERO, "awqdeploy export")?;
    world.store.not_damaged(&model)?;
    let cache = world.store.hash_cache()?;
    observer.see(Event::Stage(format!("verify `{}`", path.display())));
    let of = model.size();
    let checked = verify::stored(&path, &model, &cache, &world.interrupt, &mut |done| {
        observer.see(Event::Progress { done, of });
    })?;
    writer.note(&model, &checked)?;
    if !checked.damaged.is_empty() {
        return Err(models::differ(&path, &checked.damaged)
            .help(format!("`awqdeploy verify {name} --repair` mends it")));
    }
    observer.see(Event::Stage(format!("export to `{}`", to.display())));
    writer.export(&model, to, sharing, &world.interrupt, &mut |done| {
        observer.see(Event::Progress { done, of });
    })
}

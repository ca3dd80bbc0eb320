//! `export`: lays a model of the store out as a plain folder, for other programs.

use super::not_locked;
use crate::{
    domain::problem::{Kind, Problem},
    flow::{context::Context, event::Event},
    host::models::{self, Exported, Sharing, verify},
};
use std::{path::Path, time::Duration};

/// Exports a profile's model to a folder that does not exist yet, or is empty. Where the file system allows
/// it, that takes no room.
pub(crate) fn export(
    context: &Context,
    name: &str,
    to: &Path,
    sharing: Sharing,
) -> Result<Exported, Problem> {
    let profile = context.library.load(name)?;
    let model = context.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let path = context.layout().model(model.digest());
    if !path.is_dir() {
        return Err(Problem::new(Kind::Unverified, format!("the model of `{name}` is not in the store"))
            .help(format!("`awqdeploy deploy {name}` takes it in")));
    }
    let writer = context.store.writer(Duration::ZERO, "awqdeploy export")?;
    context.store.not_damaged(&model)?;
    let cache = context.store.hash_cache()?;
    context.tell(Event::Stage(format!("verify `{}`", path.display())));
    let of = model.size();
    let checked = verify::stored(&path, &model, &cache, &context.interrupt, &mut |done| {
        context.tell(Event::Progress { done, of });
    })?;
    writer.note(&model, &checked)?;
    if !checked.damaged.is_empty() {
        return Err(models::differ(&path, &checked.damaged)
            .help(format!("`awqdeploy verify {name} --repair` mends it")));
    }
    context.tell(Event::Stage(format!("export to `{}`", to.display())));
    writer.export(&model, to, sharing, &context.interrupt, &mut |done| {
        context.tell(Event::Progress { done, of });
    })
}

//! `validate` and `verify`: proves again what is there.

use super::{
    deploy::total,
    event::{Event, Observer},
    live,
    prepare::not_locked,
    world::World,
};
use crate::{
    domain::{
        generation::Generation,
        problem::{Kind, Problem},
        report::Report,
    },
    host::models,
};
use std::path::PathBuf;

/// Validates what serves now. Nothing is changed, whatever it shows.
pub fn validate(world: &World, observer: &dyn Observer) -> Result<Report, Problem> {
    let current = current(world)?;
    live::report(&world.store, &current.plan, current.id, observer)
}

/// What was verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The profile whose lock it was compared with.
    pub profile: String,
    /// The folder.
    pub path: PathBuf,
    /// How many files there are.
    pub files: usize,
    /// What is not as it was locked.
    pub differences: Vec<(PathBuf, models::Difference)>,
}

/// Hashes every file of a profile's model, by default of what serves, against the lock.
pub fn verify(world: &World, profile: Option<&str>, observer: &dyn Observer) -> Result<Verified, Problem> {
    let profile = match profile {
        Some(profile) => profile.to_owned(),
        None => current(world)?.plan.profile,
    };
    let model = world.library.lock(&profile)?.ok_or_else(|| not_locked(&profile))?;
    let stored = world.layout().model(model.digest());
    let path =
        if stored.is_dir() { Some(stored) } else { world.library.load(&profile)?.model().path.clone() };
    let path = path.ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("the model of `{profile}` is not on this host"))
            .help(format!("`awqdeploy deploy {profile}` takes it into the store"))
    })?;
    observer.see(Event::Stage(format!("verify `{}`", path.display())));
    let of = total(&model);
    let differences = models::verify(&path, &model, &world.interrupt, &mut |done| {
        observer.see(Event::Progress { done, of });
    })?;
    Ok(Verified { profile, path, files: model.files.len(), differences })
}

fn current(world: &World) -> Result<Generation, Problem> {
    let current = world.store.current()?.ok_or_else(|| {
        Problem::new(Kind::Usage, "nothing is deployed").help("deploy a profile: `awqdeploy deploy PROFILE`")
    })?;
    world.store.generation(current)
}

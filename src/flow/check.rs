//! `validate` and `verify`: proves again what is there.

use super::{
    deploy::total,
    event::{Event, Observer},
    live,
    prepare::not_locked,
    validate::{self, Subject},
    world::World,
};
use crate::{
    domain::{
        generation::Generation,
        problem::{Kind, Problem},
        profile::Gates,
        report::Report,
    },
    host::{event_loop, models, serving::Api, signals::Interrupt},
};
use std::{path::PathBuf, time::Duration};

/// How long one request to a server without a profile may take: what profiles have by default.
const REQUEST_PATIENCE: Duration = Duration::from_mins(5);

/// Validates what serves now. Nothing is changed, whatever it shows.
pub fn validate(world: &World, observer: &dyn Observer) -> Result<Report, Problem> {
    let current = current(world)?;
    live::report(&world.store, &current.plan, current.id, None, &world.interrupt, observer)
}

/// A server that need not be ours.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is: `http://HOST:PORT`.
    pub url: String,
    /// The name to ask for; by default the first that it serves.
    pub model: Option<String>,
    /// Its key, if it wants one.
    pub key: Option<String>,
    /// What it must show.
    pub gates: Gates,
}

/// Validates any server of the API, without a profile.
pub fn validate_at(
    server: &Server,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<Report, Problem> {
    let api = Api::on(&server.url, server.model.as_deref().unwrap_or_default(), REQUEST_PATIENCE)?
        .with_key(server.key.clone());
    let validation = async {
        let api = if server.model.is_some() {
            api
        } else {
            let first = api.models().await.ok().and_then(|models| models.data.into_iter().next());
            // Where none is named, the validation's own check says what is wrong.
            api.with_model(&first.map(|model| model.id).unwrap_or_default())
        };
        let subject = Subject { generation: None, name: api.model(), gates: &server.gates, argv: None };
        validate::validate(&api, subject, None, None, observer).await
    };
    event_loop()?.block_on(async {
        tokio::select! {
            report = validation => Ok(report),
            () = interrupt.arrival() => Err(Problem::new(Kind::Interrupted, "stopped by a signal")),
        }
    })
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
    let model = world.library.lock()?.models.remove(&profile).ok_or_else(|| not_locked(&profile))?;
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

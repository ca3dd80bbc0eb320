//! `lock --check`: whether the hub still has what was locked, and whether the revision has moved on.

use crate::{
    domain::{
        digest::GitHash,
        hub::{
            HubError,
            upstream::{Deviations, changes, deviations},
        },
        lockfile::LockedModel,
        problem::Problem,
    },
    flow::{
        context::World,
        event::{Event, Observer},
        models::{not_locked, online},
    },
    host::{
        event_loop,
        hub::{Hub, HubFailure, Settings, Source},
        os::signals::Interrupt,
    },
};

/// How the hub stands to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCheck {
    /// What was locked.
    pub(crate) model: LockedModel,
    /// What of it there is.
    pub standing: Standing,
}

/// How the hub stands to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The revision is what it was.
    Same,
    /// What was locked is there, and the revision is something else by now.
    Moved {
        /// The commit that it is.
        to: GitHash,
        /// Files that are others there.
        changes: Deviations,
    },
    /// Files that were locked are there no more, or are others.
    Changed(Deviations),
    /// The repository, or what was locked of it, is gone or closed.
    Vanished(HubError),
}

/// Asks the hub. Nothing is written.
///
/// # Errors
/// [`Kind::Unverified`](crate::domain::problem::Kind::Unverified) where it cannot be told, since the hub
/// does not answer.
pub fn check(
    world: &World,
    name: &str,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<UpstreamCheck, Problem> {
    let profile = world.library.load(name)?;
    let model = world.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let hub = online(settings)?;
    observer.see(Event::Stage(format!("ask `{}` for `{}`", hub.address(), model.repo)));
    let asked = event_loop()?.block_on(standing(&hub, &model, &world.interrupt));
    let standing = match asked {
        Err(HubFailure::Failed(fault @ (HubError::Missing | HubError::Denied(_)))) => {
            Standing::Vanished(fault)
        }
        asked => asked.map_err(|asked| asked.problem(format_args!("look at `{}`", model.repo)))?,
    };
    Ok(UpstreamCheck { model, standing })
}

async fn standing(hub: &Hub, model: &LockedModel, interrupt: &Interrupt) -> Result<Standing, HubFailure> {
    let locked_at = model.commit.map_or_else(|| model.revision.clone(), |commit| commit.to_string());
    let source = Source { repo: model.repo.clone(), revision: locked_at };
    let listing = hub.patiently(interrupt, || hub.list(&source)).await?;
    let different = deviations(&model.files, &listing);
    if !different.is_empty() {
        return Ok(Standing::Changed(different));
    }
    let to = hub.patiently(interrupt, || hub.commit(&model.repo, &model.revision)).await?;
    if model.commit.is_none_or(|commit| commit == to) {
        return Ok(Standing::Same);
    }
    let source = Source { repo: model.repo.clone(), revision: to.to_string() };
    let listing = hub.patiently(interrupt, || hub.list(&source)).await?;
    Ok(Standing::Moved { to, changes: changes(&model.files, &listing) })
}

//! `lock --check`: checks whether the hub still has the locked files, and whether the revision has moved.

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
        context::Context,
        event::Event,
        models::{not_locked, online},
    },
    host::{
        event_loop,
        hub::{Hub, HubFailure, Settings, Source},
        os::signals::Interrupt,
    },
};

/// The comparison of a lock with the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCheck {
    /// The lock.
    pub(crate) model: LockedModel,
    /// The state of the hub.
    pub standing: Standing,
}

/// The state of the hub, compared with a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The revision is unchanged.
    Same,
    /// The locked files are there, and the revision has moved.
    Moved {
        /// The commit that it is now.
        to: GitHash,
        /// The files that differ there.
        changes: Deviations,
    },
    /// Locked files are gone, or differ.
    Changed(Deviations),
    /// The repository, or all that was locked of it, is gone or closed.
    Vanished(HubError),
}

/// Asks the hub. Nothing is written.
///
/// # Errors
/// [`Kind::Unverified`](crate::domain::problem::Kind::Unverified) where the hub does not answer.
pub fn check(context: &Context, name: &str, settings: &Settings) -> Result<UpstreamCheck, Problem> {
    let profile = context.library.load(name)?;
    let model = context.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let hub = online(settings)?;
    context.tell(Event::Stage(format!("ask `{}` for `{}`", hub.address(), model.repo)));
    let asked = event_loop()?.block_on(standing(&hub, &model, &context.interrupt));
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

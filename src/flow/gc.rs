//! `gc`, `pin`, `unpin`: frees what nothing needs, and says what stays and why.

use super::context::Context;
use crate::domain::{
    digest::Sha256Digest,
    generation_id::GenerationId,
    problem::Problem,
    size::ByteSize,
    store::gc::{Collection, Why},
};
use std::time::Duration;

/// Whether anything is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Remove.
    Free,
    /// Only look.
    Look,
}

/// The things that were, or would be, removed.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    /// The bytes that the disk gets back.
    pub(crate) freed: ByteSize,
    /// The generations that stay, each with its profile.
    pub(crate) kept: Vec<(GenerationId, String, Why)>,
    /// The generations that go, each with its profile.
    pub(crate) generations: Vec<(GenerationId, String)>,
    /// The models that go, each with its repository.
    pub(crate) models: Vec<(Sha256Digest, String)>,
    /// The runtimes that go.
    pub(crate) runtimes: Vec<Sha256Digest>,
    /// The interpreters that go, which came with locks.
    pub(crate) pythons: Vec<Sha256Digest>,
    /// The number of contents of files that go.
    pub(crate) contents: usize,
    /// Bytes of interrupted downloads that stay, since a fetch would continue them.
    pub(crate) downloads: ByteSize,
}

/// Removes everything that no current, proven or pinned generation needs.
pub(crate) fn collect(context: &Context, mode: Mode) -> Result<Collected, Problem> {
    match mode {
        Mode::Look => look(context).map(|(_, collected)| collected),
        Mode::Free => {
            let writer = context.store.writer(Duration::ZERO, "awqdeploy gc")?;
            // Under the lock: nobody may begin to need something now.
            let (collection, collected) = look(context)?;
            writer.collect(&collection)?;
            Ok(collected)
        }
    }
}

/// Keeps a generation until it is unpinned.
pub(crate) fn pin(context: &Context, id: GenerationId) -> Result<(), Problem> {
    context.store.writer(Duration::ZERO, "awqdeploy pin")?.pin(id)
}

/// Unpins a generation.
pub(crate) fn unpin(context: &Context, id: GenerationId) -> Result<(), Problem> {
    context.store.writer(Duration::ZERO, "awqdeploy unpin")?.unpin(id)
}

fn look(context: &Context) -> Result<(Collection, Collected), Problem> {
    let store = &context.store;
    // A lock that cannot be read stops this, since its needs are unknown.
    let names = context.library.locked()?;
    let locked: Result<Vec<_>, _> = names.iter().map(|name| context.library.lock(name)).collect();
    let locked: Vec<_> = locked?.into_iter().flatten().collect();
    let collection = Collection::of(&store.stock(&locked)?);
    let profile = |id: GenerationId| Ok::<_, Problem>(store.generation(id)?.plan.profile);
    let repo =
        |digest: Sha256Digest| store.model_lock(digest).map_or_else(|_| digest.short(), |model| model.repo);
    let kept: Result<Vec<_>, Problem> =
        collection.kept.iter().map(|(id, why)| Ok((*id, profile(*id)?, *why))).collect();
    let generations: Result<Vec<_>, Problem> =
        collection.generations.iter().map(|id| Ok((*id, profile(*id)?))).collect();
    let collected = Collected {
        freed: store.freed(&collection)?,
        kept: kept?,
        generations: generations?,
        models: collection.models.iter().map(|digest| (*digest, repo(*digest))).collect(),
        runtimes: collection.runtimes.iter().copied().collect(),
        pythons: collection.pythons.iter().copied().collect(),
        contents: collection.contents.len(),
        downloads: store.downloads(&collection)?,
    };
    Ok((collection, collected))
}

//! `gc`, `pin`, `unpin`: frees what nothing needs, and says what stays and why.

use super::context::World;
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
    /// It is.
    Free,
    /// It is only told what would be.
    Look,
}

/// What was, or would be, removed.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    /// What the disk gets back.
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
    /// How many contents of files go.
    pub(crate) contents: usize,
    /// Bytes of interrupted downloads that stay, since a fetch will go on with them.
    pub(crate) downloads: ByteSize,
}

/// Removes all that no generation needs which serves, can be returned to, or is pinned.
pub(crate) fn collect(world: &World, mode: Mode) -> Result<Collected, Problem> {
    match mode {
        Mode::Look => look(world).map(|(_, collected)| collected),
        Mode::Free => {
            let writer = world.store.writer(Duration::ZERO, "awqdeploy gc")?;
            // Under the lock: nobody may begin to need something now.
            let (collection, collected) = look(world)?;
            writer.collect(&collection)?;
            Ok(collected)
        }
    }
}

/// Keeps a generation until it is unpinned.
pub(crate) fn pin(world: &World, id: GenerationId) -> Result<(), Problem> {
    world.store.writer(Duration::ZERO, "awqdeploy pin")?.pin(id)
}

/// Lets a generation go again.
pub(crate) fn unpin(world: &World, id: GenerationId) -> Result<(), Problem> {
    world.store.writer(Duration::ZERO, "awqdeploy unpin")?.unpin(id)
}

fn look(world: &World) -> Result<(Collection, Collected), Problem> {
    let store = &world.store;
    // A lock that cannot be read stops this: who knows what it needs.
    let names = world.library.locked()?;
    let locked: Result<Vec<_>, _> = names.iter().map(|name| world.library.lock(name)).collect();
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

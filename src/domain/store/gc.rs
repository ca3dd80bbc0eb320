//! Finds what may be freed: everything that nothing needs.
//!
//! Needed are the current generation, the rollback target, those that a person pinned, and those of an
//! unfinished activation; then their models and runtimes, and locked models that are not deployed yet, since
//! somebody fetched them on purpose. An interrupted download stays as long as a fetch would go on with it.

use crate::domain::{digest::Sha256Digest, generation_id::GenerationId};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The contents of the store, and what refers to them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// All generations.
    pub generations: BTreeMap<GenerationId, Used>,
    /// The current generation.
    pub current: Option<GenerationId>,
    /// The generations that passed a validation.
    pub proven: BTreeSet<GenerationId>,
    /// The generations that a person wants to keep.
    pub pinned: BTreeSet<GenerationId>,
    /// The generations of activations without an end.
    pub unfinished: BTreeSet<GenerationId>,
    /// The models in the store, each with its files' contents.
    pub models: BTreeMap<Sha256Digest, BTreeSet<Sha256Digest>>,
    /// The models that profiles lock, in the store or not, each with its files' contents.
    pub locked: BTreeMap<Sha256Digest, BTreeSet<Sha256Digest>>,
    /// The installed runtimes.
    pub runtimes: BTreeSet<Sha256Digest>,
    /// The installed interpreters.
    pub pythons: BTreeSet<Sha256Digest>,
    /// The runtimes and interpreters that have a manifest.
    pub manifests: BTreeSet<Sha256Digest>,
    /// The contents in the store.
    pub contents: BTreeSet<Sha256Digest>,
    /// The contents that a fetch began to bring.
    pub downloads: BTreeSet<Sha256Digest>,
}

/// The models and runtimes that a generation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The model.
    pub model: Option<Sha256Digest>,
    /// The runtime.
    pub runtime: Option<Sha256Digest>,
    /// The interpreter of the runtime.
    pub python: Option<Sha256Digest>,
}

/// Why a generation stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The current one.
    Current,
    /// The rollback target.
    Previous,
    /// A person pinned it.
    Pinned,
    /// An unfinished activation is to it or from it.
    Unfinished,
}

/// The things that go, and those that stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// The generations that stay, with the reason.
    pub kept: BTreeMap<GenerationId, Why>,
    /// Generations that go.
    pub generations: BTreeSet<GenerationId>,
    /// Models that go.
    pub models: BTreeSet<Sha256Digest>,
    /// Runtimes that go.
    pub runtimes: BTreeSet<Sha256Digest>,
    /// Interpreters that go.
    pub pythons: BTreeSet<Sha256Digest>,
    /// Manifests of the runtimes and interpreters that go or are gone.
    pub manifests: BTreeSet<Sha256Digest>,
    /// Contents that go.
    pub contents: BTreeSet<Sha256Digest>,
    /// Interrupted downloads that stay.
    pub downloads: BTreeSet<Sha256Digest>,
}

impl Collection {
    /// Decides what goes.
    pub fn of(stock: &Inventory) -> Self {
        let kept = kept(stock);
        let (stay, go): (Vec<_>, Vec<_>) =
            stock.generations.iter().partition(|(id, _)| kept.contains_key(id));
        let needed: BTreeSet<Sha256Digest> = stay.iter().filter_map(|(_, used)| used.model).collect();
        let left: BTreeSet<Sha256Digest> = go.iter().filter_map(|(_, used)| used.model).collect();
        let waits = |model: &Sha256Digest| stock.locked.contains_key(model) && !left.contains(model);
        let stays = |model: &Sha256Digest| needed.contains(model) || waits(model);
        let contents: BTreeSet<&Sha256Digest> = (stock.models.iter())
            .chain(&stock.locked)
            .filter(|(model, _)| stays(model))
            .flat_map(|(_, contents)| contents)
            .collect();
        let runtimes: BTreeSet<Sha256Digest> = stay.iter().filter_map(|(_, used)| used.runtime).collect();
        let pythons: BTreeSet<Sha256Digest> = stay.iter().filter_map(|(_, used)| used.python).collect();
        let installed: BTreeSet<Sha256Digest> = runtimes.union(&pythons).copied().collect();
        Self {
            generations: go.iter().map(|(id, _)| **id).collect(),
            models: stock.models.keys().filter(|model| !stays(model)).copied().collect(),
            runtimes: stock.runtimes.difference(&runtimes).copied().collect(),
            pythons: stock.pythons.difference(&pythons).copied().collect(),
            manifests: stock.manifests.difference(&installed).copied().collect(),
            contents: stock.contents.iter().filter(|content| !contents.contains(content)).copied().collect(),
            downloads: (stock.downloads.difference(&stock.contents))
                .filter(|content| contents.contains(content))
                .copied()
                .collect(),
            kept,
        }
    }
}

fn kept(stock: &Inventory) -> BTreeMap<GenerationId, Why> {
    let proven = || stock.proven.iter().filter(|id| Some(**id) != stock.current).copied();
    // A rollback without a name goes to the newest before the current one; a deployment that fails, to
    // the newest of all.
    let before = proven().rfind(|id| stock.current.is_none_or(|current| *id < current));
    let previous = [before, proven().next_back()].into_iter().flatten();
    // The strongest reason last: it is the one to be told.
    let unfinished = stock.unfinished.iter().map(|id| (*id, Why::Unfinished));
    let pinned = stock.pinned.iter().map(|id| (*id, Why::Pinned));
    unfinished
        .chain(pinned)
        .chain(previous.map(|id| (id, Why::Previous)))
        .chain(stock.current.map(|id| (id, Why::Current)))
        .filter(|(id, _)| stock.generations.contains_key(id))
        .collect()
}

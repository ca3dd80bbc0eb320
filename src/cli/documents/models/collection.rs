//! The document of `gc`.

use crate::{
    domain::{digest::Sha256Digest, generation_id::GenerationId, size::ByteSize, store::gc::Why},
    flow::gc::{Collected, Mode},
};
use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/collect/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CollectDocument {
    pub(crate) schema: &'static str,
    /// Whether nothing was removed.
    pub(crate) dry_run: bool,
    /// The bytes that the disk gets back.
    pub(crate) freed_bytes: ByteSize,
    pub(crate) generations: Vec<CollectedLine<GenerationId>>,
    pub(crate) models: Vec<CollectedLine<Sha256Digest>>,
    pub(crate) runtimes: Vec<Sha256Digest>,
    /// Interpreters that came with locks.
    pub(crate) interpreters: Vec<Sha256Digest>,
    /// The number of contents of files.
    pub(crate) contents: usize,
    /// Bytes of interrupted downloads that stay: `fetch` goes on with them.
    pub(crate) kept_downloads_bytes: ByteSize,
    pub(crate) kept: Vec<KeptLine>,
}

/// A generation with its profile, or a model with its repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CollectedLine<T> {
    pub(crate) id: T,
    pub(crate) name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeptLine {
    pub(crate) generation: GenerationId,
    pub(crate) profile: String,
    /// `current`, `previous`, `pinned` or `unfinished`.
    pub(crate) why: Why,
}

impl CollectDocument {
    pub(crate) fn of(collected: Collected, mode: Mode) -> Self {
        fn lines<T>(pairs: Vec<(T, String)>) -> Vec<CollectedLine<T>> {
            pairs.into_iter().map(|(id, name)| CollectedLine { id, name }).collect()
        }
        let kept = |(generation, profile, why)| KeptLine { generation, profile, why };
        Self {
            schema: "awqdeploy/collect/v1",
            dry_run: mode == Mode::Look,
            freed_bytes: collected.freed,
            generations: lines(collected.generations),
            models: lines(collected.models),
            runtimes: collected.runtimes,
            interpreters: collected.pythons,
            contents: collected.contents,
            kept_downloads_bytes: collected.downloads,
            kept: collected.kept.into_iter().map(kept).collect(),
        }
    }
}

//! Remembers what was found damaged in the models of the store.
//!
//! Bytes may rot without any trace in a file's times, so a
//! comparison of times alone would hand out damaged files.

use crate::domain::{digest::Sha256Digest, lockfile::LockedModel};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How far damage reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The bytes of the content are wrong, under whatever name.
    Content,
    /// Only this name is: it is missing, or something else has it.
    Name,
}

/// All damage that was found and is not repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damages {
    /// The damaged files of each model, each with the content that it should have. Added files have none.
    models: BTreeMap<Sha256Digest, BTreeMap<PathBuf, Option<Sha256Digest>>>,
    /// Contents whose bytes are wrong.
    contents: BTreeSet<Sha256Digest>,
}

impl Damages {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && self.contents.is_empty()
    }

    /// Whether the bytes of this content were found to be wrong.
    pub fn concerns(&self, content: &Sha256Digest) -> bool {
        self.contents.contains(content)
    }

    /// The damaged files of a model, by path.
    pub fn files(&self, model: &LockedModel) -> Vec<PathBuf> {
        if self.is_empty() {
            return Vec::new();
        }
        let own = self.models.get(&model.digest()).into_iter().flat_map(BTreeMap::keys);
        let shared = model.files.iter().filter(|file| self.concerns(&file.sha256)).map(|file| &file.path);
        own.chain(shared).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Records the check of a whole model, which found this damage. Other damage counts as repaired.
    pub fn checked<'a>(&mut self, model: &LockedModel, damaged: impl IntoIterator<Item = (&'a Path, Reach)>) {
        for file in &model.files {
            self.contents.remove(&file.sha256);
        }
        let mut damaged = damaged.into_iter().peekable();
        let locked: BTreeMap<&Path, Sha256Digest> = match damaged.peek() {
            Some(_) => model.files.iter().map(|file| (file.path.as_path(), file.sha256)).collect(),
            None => BTreeMap::new(),
        };
        let mut files = BTreeMap::new();
        for (path, reach) in damaged {
            let content = locked.get(path).copied();
            files.insert(path.to_owned(), content);
            self.contents.extend(content.filter(|_| reach == Reach::Content));
        }
        let digest = model.digest();
        if files.is_empty() {
            self.models.remove(&digest);
        } else {
            self.models.insert(digest, files);
        }
    }

    /// Records that a content was put under each of its names anew, and hashed.
    pub fn repaired(&mut self, content: Sha256Digest) {
        self.contents.remove(&content);
        for files in self.models.values_mut() {
            files.retain(|_, damaged| *damaged != Some(content));
        }
        self.models.retain(|_, files| !files.is_empty());
    }

    /// Forgets the models and contents that are not there any more.
    pub fn keep(&mut self, model: impl Fn(&Sha256Digest) -> bool, content: impl Fn(&Sha256Digest) -> bool) {
        self.models.retain(|digest, _| model(digest));
        self.contents.retain(content);
    }
}

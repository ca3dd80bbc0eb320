//! The state of the models in the store: proven, or found damaged.

use super::verify::{Damage, Difference, VerifyResult};
use crate::{
    domain::{
        generation_id::GenerationId,
        lockfile::{
            LockedModel,
            damages::{Damages, Reach},
        },
        problem::{Kind, Problem},
    },
    host::{
        os::fs,
        store::{Store, StoreWriter, hash_cache::HashCache},
    },
};
use std::{collections::BTreeSet, path::Path};

/// The number of damaged files of a model that its line names.
const MOST_NAMES: usize = 3;

impl Store {
    /// The hash cache of files, without contents that were found damaged.
    pub fn hash_cache(&self) -> Result<HashCache, Problem> {
        let Some(damages) = self.read_damages()? else { return Ok(HashCache::default()) };
        let mut cache = HashCache::read(&self.layout().hash_cache())?;
        cache.keep(|content| !damages.concerns(content));
        Ok(cache)
    }

    /// The damage that was found in models, and not repaired since. Where the record is damaged itself,
    /// nothing counts as proven.
    pub(crate) fn model_damages(&self) -> Result<Damages, Problem> {
        Ok(self.read_damages()?.unwrap_or_default())
    }

    fn read_damages(&self) -> Result<Option<Damages>, Problem> {
        let bytes = fs::read_bytes(&self.layout().damages())?;
        Ok(bytes.map_or_else(|| Some(Damages::default()), |bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// A problem with a model that was found damaged, and not repaired since: it is not served, exported or
    /// rolled back to.
    ///
    /// # Errors
    /// [`Kind::Unverified`] with the files.
    pub(crate) fn not_damaged(&self, model: &LockedModel) -> Result<(), Problem> {
        let files = self.model_damages()?.files(model);
        let Some(first) = files.first() else { return Ok(()) };
        let others = match files.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        let what = format!("the model was found damaged: `{}`{others}", first.display());
        Err(Problem::new(Kind::Unverified, what)
            .help("`awqdeploy verify --all --repair` mends what is in the store"))
    }

    /// The models in the store that are known to be damaged, in one line each.
    pub fn damaged_models(&self) -> Result<Vec<String>, Problem> {
        let damages = self.model_damages()?;
        if damages.is_empty() {
            return Ok(Vec::new());
        }
        let line = |digest| {
            let lock = self.model_lock(digest).ok()?;
            let files = damages.files(&lock);
            let names: Vec<String> =
                files.iter().take(MOST_NAMES).map(|file| format!("`{}`", file.display())).collect();
            let more = match files.len().saturating_sub(MOST_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let of = format!("`{}` ({})", lock.repo, digest.short());
            (!files.is_empty()).then(|| format!("{of}: {}{more}", names.join(", ")))
        };
        Ok(self.models()?.into_iter().filter_map(line).collect())
    }

    /// The generations of these whose model is not known to be damaged.
    pub(crate) fn without_damage(
        &self,
        mut generations: BTreeSet<GenerationId>,
    ) -> Result<BTreeSet<GenerationId>, Problem> {
        let damages = self.model_damages()?;
        if !damages.is_empty() {
            generations.retain(|id| {
                let model = self.generation(*id).ok().and_then(|generation| generation.plan.model.digest);
                let lock = model.and_then(|digest| self.model_lock(digest).ok());
                lock.is_none_or(|lock| damages.files(&lock).is_empty())
            });
        }
        Ok(generations)
    }
}

impl StoreWriter<'_> {
    /// Saves the hash cache.
    pub fn keep_hash_cache(&self, cache: &HashCache) -> Result<(), Problem> {
        let path = self.store().layout().hash_cache();
        fs::make_directory(path.parent().unwrap_or(&path))?;
        fs::write(&path, cache.text()?)
    }

    /// Notes what a check of a model has proven, so that the next need not read it, and what it has found
    /// damaged, so that it does not count as proven.
    pub fn note(&self, model: &LockedModel, checked: &VerifyResult) -> Result<(), Problem> {
        // The damage first: the hash cache is not used for damaged contents.
        self.change_damages(|damages| {
            damages.checked(model, reaching(&checked.damaged));
        })?;
        let before = HashCache::read(&self.store().layout().hash_cache())?;
        let mut cache = before.clone();
        checked.noted.iter().for_each(|(content, stamp)| cache.note(*content, *stamp));
        checked.damaged_contents(model).for_each(|content| cache.forget(&content));
        if cache == before { Ok(()) } else { self.keep_hash_cache(&cache) }
    }

    /// Changes the record of damage, if there is anything to change.
    pub(in crate::host) fn change_damages(&self, change: impl FnOnce(&mut Damages)) -> Result<(), Problem> {
        let path = self.store().layout().damages();
        let before = self.store().model_damages()?;
        let mut damages = before.clone();
        change(&mut damages);
        if damages == before {
            return Ok(());
        }
        fs::make_directory(path.parent().unwrap_or(&path))?;
        let text =
            serde_json::to_vec(&damages).map_err(|e| Problem::doing("write down what is damaged", e))?;
        fs::write(&path, text)
    }
}

/// The reach of each damage.
pub(super) fn reaching(damaged: &[Damage]) -> impl Iterator<Item = (&Path, Reach)> {
    damaged.iter().map(|damage| match damage.difference {
        Difference::Content => (&*damage.path, Reach::Content),
        _ => (&*damage.path, Reach::Name),
    })
}

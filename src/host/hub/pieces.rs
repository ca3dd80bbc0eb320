//! Repairs from a hub, which is asked only for damaged pieces.

use super::{Hub, HubFailure, Settings, Source};
use crate::{
    domain::{
        hub::Concern,
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
    },
    host::{event_loop, models::repair::PieceSource, os::signals::Interrupt},
};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::runtime::Runtime;

/// The repository that a model was locked from, then these others.
pub struct HubPieces {
    hub: Hub,
    event_loop: Runtime,
    others: Vec<Source>,
    interrupt: Interrupt,
    /// The requests that were made in vain, and why: they are not made again.
    given_up: Mutex<BTreeMap<Asked, String>>,
}

/// Something that a hub was asked for: a file, any file of a repository, or anything at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Anything,
    Repository(String, String),
    File(String, String, PathBuf),
}

impl HubPieces {
    /// `others` may have the same files.
    pub(crate) fn new(
        settings: &Settings,
        others: Vec<Source>,
        interrupt: Interrupt,
    ) -> Result<Self, Problem> {
        let (hub, event_loop) = (Hub::new(settings)?, event_loop()?);
        Ok(Self { hub, event_loop, others, interrupt, given_up: Mutex::default() })
    }

    /// The repositories to ask, each once.
    fn sources(&self, model: &LockedModel) -> Vec<Source> {
        let revision = model.commit.map_or_else(|| model.revision.clone(), |commit| commit.to_string());
        let mut sources = vec![Source { repo: model.repo.clone(), revision }];
        for other in &self.others {
            // The locked commit is what its branch was.
            let is_locked = other.repo == model.repo && other.revision == model.revision;
            if !is_locked && !sources.contains(other) {
                sources.push(other.clone());
            }
        }
        sources
    }

    /// The scopes that cover this file of a source, from the widest on.
    fn asked(source: &Source, file: &LockedFile) -> [Asked; 3] {
        let Source { repo, revision } = source.clone();
        let whole = Asked::Repository(repo.clone(), revision.clone());
        [Asked::Anything, whole, Asked::File(repo, revision, file.path.clone())]
    }

    fn one(
        &self,
        source: &Source,
        file: &LockedFile,
        range: &Range<u64>,
    ) -> Result<Result<Vec<u8>, String>, Problem> {
        let asked = Self::asked(source, file);
        let given_up = || self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = asked.iter().find_map(|asked| given_up().get(asked).cloned()) {
            return Ok(Err(why));
        }
        let read = self.event_loop.block_on(self.hub.patiently(&self.interrupt, || {
            self.hub.read(source, &file.path, range.start..range.end, file.size)
        }));
        let fault = match read {
            Ok(bytes) => return Ok(Ok(bytes)),
            Err(HubFailure::Failed(fault)) => fault,
            Err(interrupted) => return Err(interrupted.problem("read from the hub")),
        };
        let why = match fault.concerns() {
            Concern::Hub => fault.to_string(),
            Concern::Repository => format!("`{}`: {fault}", source.repo),
            Concern::File => format!("`{}` of `{}`: {fault}", file.path.display(), source.repo),
        };
        let [anything, repository, own] = asked;
        let asked = match fault.concerns() {
            Concern::Hub => anything,
            Concern::Repository => repository,
            Concern::File => own,
        };
        given_up().insert(asked, why.clone());
        Ok(Err(why))
    }
}

impl PieceSource for HubPieces {
    fn name(&self) -> String {
        format!("the hub at `{}`", self.hub.address())
    }

    fn read(
        &self,
        model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let mut reasons: Vec<String> = Vec::new();
        for source in self.sources(model) {
            match self.one(&source, file, &range)? {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(why) if reasons.contains(&why) => {}
                Err(why) => reasons.push(why),
            }
        }
        Err(Problem::new(Kind::Unverified, reasons.join("; ")))
    }
}

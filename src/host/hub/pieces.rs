//! Repairs from a hub, which is asked only for damaged pieces.

use super::{Hub, Settings, Source};
use crate::{
    domain::{
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{event_loop, models::repair::PieceSource, os::signals::Interrupt},
};
use std::ops::Range;
use tokio::runtime::Runtime;

/// The repository that a model was locked from, then these others.
pub struct HubPieces {
    hub: Hub,
    event_loop: Runtime,
    others: Vec<Source>,
    interrupt: Interrupt,
}

impl HubPieces {
    /// `others` may have the same files.
    pub(crate) fn new(
        settings: &Settings,
        others: Vec<Source>,
        interrupt: Interrupt,
    ) -> Result<Self, Problem> {
        Ok(Self { hub: Hub::new(settings)?, event_loop: event_loop()?, others, interrupt })
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
        let revision = model.commit.map_or_else(|| model.revision.clone(), |commit| commit.to_string());
        let first = Source { repo: model.repo.clone(), revision };
        let mut last = None;
        for source in std::iter::once(&first).chain(&self.others) {
            let to = ByteSize(range.end);
            let asked = self.event_loop.block_on(self.hub.patiently(&self.interrupt, || {
                self.hub.read(source, &file.path, range.start..to.0, file.size)
            }));
            match asked {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(asked) => {
                    let what = format!("read `{}` of `{}`", file.path.display(), source.repo);
                    let problem = asked.problem(what);
                    if problem.kind == Kind::Interrupted {
                        return Err(problem);
                    }
                    last = Some(problem);
                }
            }
        }
        last.map_or(Ok(None), Err)
    }
}

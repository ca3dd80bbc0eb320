//! Finds the repository for each file, before anything is downloaded.

use super::FetchJob;
use crate::{
    domain::{
        hub::{
            Listed,
            upstream::{self, Deviations},
        },
        lockfile::LockedFile,
        problem::{Kind, Problem},
    },
    flow::event::Event,
    host::{
        event_loop,
        fetch::WantedFile,
        hub::{Hub, Source},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The missing files that one repository has, and remarks on the others.
struct Offer<'a> {
    has: BTreeSet<&'a Path>,
    trouble: Option<Problem>,
}

impl FetchJob<'_> {
    /// Finds a source for each file. A problem if one has none.
    pub(super) fn locate(&self, hub: &Hub, missing: &[LockedFile]) -> Result<Vec<WantedFile>, Problem> {
        let repos = self.repos();
        let mut located: BTreeMap<&Path, Vec<Source>> = BTreeMap::new();
        let mut first = None;
        for repo in &repos {
            let source = self.source(repo);
            let Offer { has, trouble } = self.offer(hub, missing, &source)?;
            for path in has {
                located.entry(path).or_default().push(source.clone());
            }
            let Some(trouble) = trouble else { continue };
            if repos.len() > 1 {
                let cause = trouble.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                self.context.tell(Event::Warning(format!("{}: {cause}", trouble.what)));
            }
            first.get_or_insert(trouble);
        }
        let mut all = Vec::new();
        for file in missing {
            match (located.remove(file.path.as_path()), first.take()) {
                (Some(sources), trouble) => {
                    all.push(WantedFile { file: file.clone(), sources });
                    first = trouble;
                }
                (None, Some(trouble)) => return Err(trouble),
                (None, None) => return Err(deviating(&self.model.repo, &Deviations::new())),
            }
        }
        Ok(all)
    }

    /// The repository at a revision: the lock names the commit of its own; others are taken at the profile's
    /// revision.
    fn source(&self, repo: &str) -> Source {
        let revision = match self.model.commit {
            _ if repo != self.model.repo => self.wanted.revision.clone(),
            Some(commit) => commit.to_string(),
            None => self.model.revision.clone(),
        };
        Source { repo: repo.to_owned(), revision }
    }

    fn offer<'a>(&self, hub: &Hub, missing: &'a [LockedFile], source: &Source) -> Result<Offer<'a>, Problem> {
        let Source { repo, revision } = source;
        let asked = event_loop()?.block_on(hub.patiently(&self.context.interrupt, || hub.list(source)));
        match asked.map_err(|asked| asked.problem(format_args!("find `{repo}` at `{revision}`"))) {
            Ok(listing) => Ok(Offer::of(missing, &listing, repo)),
            Err(problem) if problem.kind == Kind::Interrupted => Err(problem),
            Err(problem) => Ok(Offer { has: BTreeSet::new(), trouble: Some(problem) }),
        }
    }
}

impl<'a> Offer<'a> {
    fn of(missing: &'a [LockedFile], listing: &[Listed], repo: &str) -> Self {
        let deviations = upstream::deviations(missing, listing);
        let paths = missing.iter().map(|file| file.path.as_path());
        Self {
            has: paths.filter(|path| !deviations.contains_key(*path)).collect(),
            trouble: (!deviations.is_empty()).then(|| deviating(repo, &deviations)),
        }
    }
}

fn deviating(repo: &str, deviations: &Deviations) -> Problem {
    let files = match deviations.len() {
        1 => "1 file is".to_owned(),
        count => format!("{count} files are"),
    };
    Problem::new(Kind::Unverified, format!("{files} not what was locked in `{repo}` any more"))
        .because(upstream::lines(deviations))
        .help(
            "nothing was fetched; `awqdeploy lock PROFILE --check` shows what changed. If it is meant, lock it \
             anew; else name a repository that has the files under `alternatives` in the profile's `[model]`",
        )
}

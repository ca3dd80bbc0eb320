//! Reads a checkpoint on a hub before anything is downloaded: its configuration and index whole, and the
//! header of each weight file by range requests.

use super::told::{
    CONFIG, INDEX, SUFFIX, TEMPLATES, flawed, has_all, no_model, some_of, template_in, unverified,
};
use crate::{
    domain::{
        checkpoint::{
            Checkpoint,
            config::{self, ConfigFiles},
            files::{self, NotAModel},
            safetensors::{Flaw, Header, Index, PREFIX, WeightFiles},
        },
        digest::Sha256Digest,
        hub::{Content, Listed, git_name},
        problem::Problem,
        size::ByteSize,
    },
    host::{
        event_loop,
        hub::{Hub, Source},
        os::signals::Interrupt,
    },
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::{collections::BTreeMap, ops::Range, path::Path};

/// Bytes read of a weight file at once. Headers of the largest published shards take some 3 MiB, most far
/// less.
const FIRST: u64 = 1 << 20;
/// The largest configuration or index that is read. An index of 200,000 tensors takes 25 MB.
const MOST: ByteSize = ByteSize::mib(64);
/// Headers read at once.
const READ_AT_ONCE: usize = 4;

/// Why the hub gave no checkpoint.
#[derive(Debug)]
pub(crate) enum HubReadError {
    /// The hub could not, or must not, be asked.
    Unasked(Problem),
    /// The checkpoint on the hub cannot be loaded.
    Flawed(Problem),
}

impl From<Problem> for HubReadError {
    fn from(problem: Problem) -> Self {
        Self::Flawed(problem)
    }
}

impl From<HubReadError> for Problem {
    fn from(unread: HubReadError) -> Self {
        let (HubReadError::Unasked(problem) | HubReadError::Flawed(problem)) = unread;
        problem
    }
}

/// Reads the checkpoint from these files of a repository. Small files are proven against their names' hashes;
/// a header only against the length of its file, as the hash of a large file needs all of it.
pub(crate) fn read(
    hub: &Hub,
    source: &Source,
    files: &[Listed],
    overrides: &BTreeMap<String, String>,
    interrupt: &Interrupt,
) -> Result<Checkpoint, HubReadError> {
    event_loop()?.block_on(Remote { hub, source, files, overrides, interrupt }.checkpoint())
}

/// The text of the model's chat template, or nothing where the repository has none.
pub(crate) fn template(
    hub: &Hub,
    source: &Source,
    files: &[Listed],
    interrupt: &Interrupt,
) -> Result<Option<String>, HubReadError> {
    let remote = Remote { hub, source, files, overrides: &BTreeMap::new(), interrupt };
    event_loop()?.block_on(async {
        for name in TEMPLATES {
            if let Some(file) = remote.find(name)
                && let Some(template) = template_in(name, &remote.text(file).await?)
            {
                return Ok(Some(template));
            }
        }
        Ok(None)
    })
}

struct Remote<'a> {
    hub: &'a Hub,
    source: &'a Source,
    files: &'a [Listed],
    overrides: &'a BTreeMap<String, String>,
    interrupt: &'a Interrupt,
}

impl Remote<'_> {
    async fn checkpoint(&self) -> Result<Checkpoint, HubReadError> {
        let Some(config) = self.find(CONFIG) else {
            let why =
                files::judge(self.names(), None::<std::iter::Empty<_>>).err().unwrap_or(NotAModel::NoConfig);
            return Err(no_model(&self.source.repo, &why).into());
        };
        let mut texts = ConfigFiles::alone(&self.text(config).await?);
        for name in config::BESIDE {
            if let Some(file) = self.find(name) {
                texts.beside.insert(name.to_owned(), self.text(file).await?);
            }
        }
        texts.overrides.clone_from(self.overrides);
        let checkpoint = Checkpoint::of_files(&texts, None)?;
        let index = match self.find(INDEX) {
            Some(file) => {
                let text = self.text(file).await?;
                Some(Index::parse(&text).map_err(|flaw| flawed(&self.place(file), &flaw))?)
            }
            None => None,
        };
        let files = self.weight_files(index.as_ref())?;
        let headers = stream::iter(files).map(|file| async {
            let header = self.header(file).await?;
            match &index {
                Some(index) => Ok(has_all(index, &file.path.to_string_lossy(), header, &self.place(file))?),
                None => Ok::<_, HubReadError>(header),
            }
        });
        let headers = headers.buffered(READ_AT_ONCE).try_collect().await?;
        Ok(checkpoint
            .with_weights(&WeightFiles { headers, total: index.and_then(|index| index.total_size()) }))
    }

    /// The weight files that the index names, or without an index all beside the configuration.
    fn weight_files(&self, index: Option<&Index>) -> Result<Vec<&Listed>, Problem> {
        let Some(index) = index else {
            let names = files::weights(self.names());
            let names = names.into_iter().filter(|name| name.ends_with(SUFFIX));
            return Ok(names.filter_map(|name| self.find(name)).collect());
        };
        let missing: Vec<_> = index.files().into_iter().filter(|name| self.find(name).is_none()).collect();
        if !missing.is_empty() {
            let what =
                format!("`{INDEX}` of `{}` names {}, which it lacks", self.source.repo, some_of(&missing));
            return Err(unverified(what));
        }
        Ok(index.files().into_iter().filter_map(|name| self.find(name)).collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.files.iter().filter_map(|file| file.path.to_str())
    }

    fn find(&self, name: &str) -> Option<&Listed> {
        self.files.iter().find(|file| file.path == Path::new(name))
    }

    /// The name of a file in messages.
    fn place(&self, file: &Listed) -> String {
        format!("{}/{}", self.source.repo, file.path.display())
    }

    async fn header(&self, file: &Listed) -> Result<Header, HubReadError> {
        let place = self.place(file);
        let flawed = |flaw: &Flaw| flawed(&place, flaw);
        let mut bytes = self.bytes(file, 0..file.size.0.min(FIRST)).await?;
        let prefix = bytes.first_chunk::<PREFIX>().ok_or_else(|| flawed(&Flaw::Truncated))?;
        let end = Header::length(*prefix).map_err(|flaw| flawed(&flaw))? + PREFIX as u64;
        // Checked before more is read.
        if end > file.size.0 {
            return Err(flawed(&Flaw::Truncated).into());
        }
        let there = bytes.len() as u64;
        if end > there {
            bytes.extend(self.bytes(file, there..end).await?);
        }
        let header = Header::at_start_of(&bytes).map_err(|flaw| flawed(&flaw))?;
        header.check_size(file.size.0).map_err(|flaw| flawed(&flaw))?;
        Ok(header)
    }

    /// Reads a small file whole, and proves it.
    async fn text(&self, file: &Listed) -> Result<String, HubReadError> {
        let place = self.place(file);
        if file.size > MOST {
            let what = format!("`{place}` has {}, and at most {MOST} are read", file.size);
            return Err(unverified(what).into());
        }
        let bytes = self.bytes(file, 0..file.size.0).await?;
        let right = match file.content {
            Content::Sha256(sha256) => Sha256Digest::of(&bytes) == sha256,
            Content::Git(hash) => git_name(&bytes) == hash,
        };
        match String::from_utf8(bytes) {
            Ok(text) if right => Ok(text),
            _ => Err(unverified(format!("`{place}` came damaged")).into()),
        }
    }

    async fn bytes(&self, file: &Listed, range: Range<u64>) -> Result<Vec<u8>, HubReadError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let Self { hub, source, interrupt, .. } = self;
        let read = hub.patiently(interrupt, || hub.read(source, &file.path, range.clone(), file.size)).await;
        read.map_err(|asked| {
            HubReadError::Unasked(asked.problem(format_args!("read `{}`", self.place(file))))
        })
    }
}

//! The content of a hub: repositories, their files, and how it names them.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files of at least this size go to LFS on the real hub; it looks at `.gitattributes`, which names the
/// suffixes of weights, and at the size of all else.
const LFS_FROM: u64 = 64 << 10;

/// One repository at one commit.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    /// 40 hexadecimal digits.
    pub(crate) commit: String,
    /// By path.
    pub(crate) files: BTreeMap<String, Entry>,
    /// The files of other commits.
    pub(crate) history: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Nobody without this token gets a file.
    pub(crate) token: Option<String>,
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) bytes: Content,
    /// The size that the hub says, true or not.
    pub(crate) size: u64,
    pub(crate) git: String,
    pub(crate) lfs: Option<String>,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Memory(Arc<[u8]>),
    Disk(PathBuf, Arc<File>),
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(_, file) => file.metadata().unwrap().len(),
        }
    }

    /// The bytes from `at`, at most `most` of them.
    pub(crate) fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => {
                let from = usize::try_from(at).unwrap().min(bytes.len());
                Ok(bytes[from..bytes.len().min(from + most)].to_vec())
            }
            Self::Disk(_, file) => {
                let mut chunk = vec![0; most];
                let read = file.read_at(&mut chunk, at)?;
                chunk.truncate(read);
                Ok(chunk)
            }
        }
    }
}

impl Entry {
    pub(crate) fn of(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = bytes.into();
        let (git, sha256) = names(bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        Self::named(path, Content::Memory(bytes.into()), git, sha256)
    }

    fn on_disk(name: &str, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (git, sha256) = names(file.metadata()?.len(), &mut file)?;
        Ok(Self::named(name, Content::Disk(path.to_owned(), Arc::new(file)), git, sha256))
    }

    fn named(path: &str, bytes: Content, git: String, sha256: String) -> Self {
        let size = bytes.len();
        let large = path.ends_with(".safetensors") || size >= LFS_FROM;
        Self { bytes, size, git, lfs: large.then_some(sha256) }
    }

    /// The `ETag` without quotes.
    pub(crate) fn etag(&self) -> &str {
        self.lfs.as_deref().unwrap_or(&self.git)
    }
}

impl Repo {
    /// The repository as it is at a revision, if there is such a one.
    pub(crate) fn at(mut self, revision: &str) -> Option<Self> {
        if revision == "main" || revision == self.commit {
            return Some(self);
        }
        self.files = self.history.remove(revision)?;
        revision.clone_into(&mut self.commit);
        Some(self)
    }

    /// A repository of these files. Its commit depends on them.
    pub(crate) fn of(files: impl IntoIterator<Item = (String, Entry)>) -> Self {
        let files: BTreeMap<String, Entry> = files.into_iter().collect();
        let mut listing = Sha1::new();
        for (path, entry) in &files {
            listing.update(format!("{path} {}\n", entry.etag()));
        }
        Self { commit: hex::encode(listing.finalize()), files, history: BTreeMap::new(), token: None }
    }

    /// A repository of all files below a folder.
    pub(crate) fn from_folder(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.push((name.clone(), Entry::on_disk(&name, &path)?));
            }
        }
        Ok(Self::of(files))
    }
}

/// The SHA-1 by which git names a blob, and the SHA-256 by which LFS does.
fn names(size: u64, from: &mut dyn Read) -> io::Result<(String, String)> {
    let (mut git, mut lfs) = (Sha1::new_with_prefix(format!("blob {size}\0")), Sha256::new());
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok((hex::encode(git.finalize()), hex::encode(lfs.finalize())));
        }
        git.update(&chunk[..read]);
        lfs.update(&chunk[..read]);
    }
}

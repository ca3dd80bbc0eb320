//! A disk that keeps for certain only what was synced: what a power cut may leave of a folder that lies in memory.
//!
//! It promises less than any real file system. Each name and each file's content is known as it was when its folder,
//! or it, was synced last; whatever was changed since is there or not, each by itself, or half of it is. A file that
//! was never synced is empty. ext4 keeps more than that: a sync of one file brings the names of others along.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A file or folder, whatever its name. Numbers are used again, times are not.
type Node = (u64, Option<SystemTime>);
type Names = BTreeMap<OsString, Entry>;

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Folder(Node),
    File(Node),
    Link(PathBuf),
}

/// Everything below a folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    folders: BTreeMap<Node, Names>,
    files: BTreeMap<Node, Vec<u8>>,
}

/// The fate of what was not synced.
#[derive(Debug)]
pub(crate) enum Luck {
    /// All of it is lost.
    Bad,
    /// All of it is there.
    Good,
    /// Each piece by chance.
    Mixed(fastrand::Rng),
}

/// The files on the disk of a folder.
pub(crate) struct Disk {
    root: PathBuf,
    certain: RefCell<Content>,
}

impl Disk {
    /// The disk of this folder. What is there by now is certain.
    pub(crate) fn new(root: &Path) -> Self {
        let certain = RefCell::new(Content::of(root));
        Self { root: root.to_owned(), certain }
    }

    /// This file or folder is being synced.
    pub(crate) fn sync(&self, path: &Path) {
        if path.starts_with(&self.root) {
            self.certain.borrow_mut().add(path);
        }
    }

    /// Everything that is there now, whether or not it is synced.
    pub(crate) fn now(&self) -> Content {
        Content::of(&self.root)
    }

    /// Holds what a real disk has left of the same folder against what this one may leave. What was there in the
    /// middle may have come to the disk with somebody else's sync. Returns how much was lost.
    pub(crate) fn may_leave(&self, middle: &Content, found: &Path) -> Result<usize, String> {
        let (certain, now) = (self.certain.borrow(), self.now());
        let mut held = Held { states: [&certain, middle, &now], lost: 0 };
        held.folder(node(&self.root), found)?;
        Ok(held.lost)
    }

    /// The power goes, and comes again: the folder is what was left on the disk.
    pub(crate) fn cut(&self, luck: &mut Luck) {
        let now = Content::of(&self.root);
        let root = node(&self.root);
        let left = Cut { certain: &self.certain.borrow(), now: &now, luck }.folder(root);
        // Mostly nothing is lost.
        if left == (Cut { certain: &now, now: &now, luck: &mut Luck::Good }).folder(root) {
            *self.certain.borrow_mut() = now;
            return;
        }
        for entry in fs::read_dir(&self.root).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            let folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("the folder can be written");
        }
        left.put(&self.root);
        *self.certain.borrow_mut() = Content::of(&self.root);
    }
}

impl Luck {
    fn keeps(&mut self) -> bool {
        match self {
            Self::Bad => false,
            Self::Good => true,
            Self::Mixed(chance) => chance.bool(),
        }
    }

    /// Draws what is left of a file that had `certain` in it, and `now` later.
    fn content(&mut self, certain: &[u8], now: &[u8]) -> Vec<u8> {
        match self {
            Self::Bad => certain.to_vec(),
            Self::Good => now.to_vec(),
            Self::Mixed(chance) => {
                // The part that both have in common was not written again.
                let common = certain.iter().zip(now).take_while(|(one, other)| one == other).count();
                match chance.u8(..3) {
                    0 => certain.to_vec(),
                    1 => now.to_vec(),
                    _ => now[..chance.usize(common..=now.len())].to_vec(),
                }
            }
        }
    }
}

impl Content {
    fn of(root: &Path) -> Self {
        let mut content = Self::default();
        content.add_all(root);
        content
    }

    fn add_all(&mut self, path: &Path) {
        self.add(path);
        let names: Vec<_> = self
            .folders
            .get(&node(path))
            .into_iter()
            .flatten()
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        for (name, entry) in names {
            if !matches!(entry, Entry::Link(_)) {
                self.add_all(&path.join(name));
            }
        }
    }

    /// Takes note of one file or folder as it is.
    fn add(&mut self, path: &Path) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("the folder can be read").flatten();
            let names = entries.map(|entry| (entry.file_name(), Entry::of(&entry.path()))).collect();
            self.folders.insert(node(path), names);
        } else {
            self.files.insert(node(path), fs::read(path).expect("the file can be read"));
        }
    }
}

impl Entry {
    fn of(path: &Path) -> Self {
        let kind = fs::symlink_metadata(path).expect("it is there").file_type();
        if kind.is_symlink() {
            Self::Link(fs::read_link(path).expect("the link can be read"))
        } else if kind.is_dir() {
            Self::Folder(node(path))
        } else {
            Self::File(node(path))
        }
    }
}

fn node(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    (metadata.ino(), metadata.created().ok())
}

/// The remains after a cut.
#[derive(PartialEq)]
enum Left {
    Folder(BTreeMap<OsString, Left>),
    File(Vec<u8>),
    Link(PathBuf),
}

struct Cut<'a> {
    certain: &'a Content,
    now: &'a Content,
    luck: &'a mut Luck,
}

impl Cut<'_> {
    fn folder(&mut self, node: Node) -> Left {
        let (none_certain, none_now) = (Names::new(), Names::new());
        let certain = self.certain.folders.get(&node).unwrap_or(&none_certain);
        // One that was removed has none.
        let now = self.now.folders.get(&node).unwrap_or(&none_now);
        let names: BTreeSet<_> = certain.keys().chain(now.keys()).collect();
        let mut left = BTreeMap::new();
        for name in names {
            let (before, after) = (certain.get(name), now.get(name));
            let entry = if before == after || !self.luck.keeps() { before } else { after };
            if let Some(entry) = entry {
                left.insert(name.clone(), self.entry(entry));
            }
        }
        Left::Folder(left)
    }

    fn entry(&mut self, entry: &Entry) -> Left {
        match entry {
            Entry::Folder(node) => self.folder(*node),
            Entry::Link(target) => Left::Link(target.clone()),
            Entry::File(node) => {
                let certain = self.certain.files.get(node).cloned().unwrap_or_default();
                let now = self.now.files.get(node).unwrap_or(&certain);
                Left::File(if *now == certain { certain } else { self.luck.content(&certain, now) })
            }
        }
    }
}

impl Left {
    fn put(&self, path: &Path) {
        match self {
            Self::File(bytes) => {
                fs::write(path, bytes).expect("the folder can be written");
                // The mode comes with a file. What is told apart by it is a lock, which is its owner's alone.
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            }
            Self::Link(target) => symlink(target, path).expect("the folder can be written"),
            Self::Folder(names) => {
                if !path.is_dir() {
                    fs::DirBuilder::new().mode(0o755).create(path).expect("the folder can be written");
                }
                for (name, left) in names {
                    left.put(&path.join(name));
                }
            }
        }
    }
}

/// Holds what a real disk has left against what this one may leave.
struct Held<'a> {
    /// The certain content, what was once so, and what was so at last.
    states: [&'a Content; 3],
    lost: usize,
}

impl Held<'_> {
    fn folder(&mut self, folder: Node, found: &Path) -> Result<(), String> {
        let known = self.states.map(|state| state.folders.get(&folder));
        let there = fs::read_dir(found).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let names: BTreeSet<_> =
            known.iter().flatten().flat_map(|names| names.keys().cloned()).chain(there).collect();
        for name in names {
            let allowed = known.map(|names| names.and_then(|names| names.get(&name)));
            let path = found.join(&name);
            if !allowed.iter().any(|entry| self.is(*entry, &path)) {
                return Err(format!("a real power cut left `{}` otherwise than {allowed:?}", path.display()));
            }
            match allowed[2] {
                Some(Entry::Folder(folder)) if path.is_dir() => self.folder(*folder, &path)?,
                last if !self.is_whole(last, &path) => self.lost += 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn is(&self, entry: Option<&Entry>, path: &Path) -> bool {
        match entry {
            Some(Entry::File(node)) if path.is_file() => {
                let content = fs::read(path).expect("the file can be read");
                let mut known = self.states.map(|state| state.files.get(node)).into_iter();
                let Some(certain) = known.next().flatten() else {
                    return known.flatten().any(|known| known.starts_with(&content));
                };
                content == *certain
                    || known.flatten().any(|known| known != certain && known.starts_with(&content))
            }
            entry => self.is_whole(entry, path),
        }
    }

    fn is_whole(&self, entry: Option<&Entry>, path: &Path) -> bool {
        let found = fs::symlink_metadata(path).ok().map(|metadata| metadata.file_type());
        match (entry, found) {
            (None, None) => true,
            (Some(Entry::Folder(_)), Some(kind)) => kind.is_dir(),
            (Some(Entry::Link(target)), Some(kind)) => {
                kind.is_symlink() && fs::read_link(path).is_ok_and(|found| found == *target)
            }
            (Some(Entry::File(node)), Some(kind)) => {
                kind.is_file() && fs::read(path).ok().as_ref() == self.states[2].files.get(node)
            }
            _ => false,
        }
    }
}

//! Holds the [disk](crate::disk) of the played host against a real one: ext4, shut down without a flush. What a real
//! power cut leaves must be something that the played one may leave.

use super::{
    disk::{Content, Disk},
    machine::Machine,
    tell,
};
use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Where it happens inside.
const FOLDER: &str = "/var/lib/power-cut";
/// Sequences of operations, each in a folder of its own, all before one cut.
const SEQUENCES: u64 = 60;
/// Operations of each, the syncs that follow them, and the operations that nothing follows.
const OPERATIONS: usize = 8;
const SYNCS: usize = 3;
const UNSYNCED: usize = 4;
const SEED: u64 = 1;
/// The files of each.
const NAMES: [&str; 3] = ["journal", "order", "notes"];

/// An operation on a disk, as deployments do it. Names are relative.
enum Operation {
    MakeFolder(String),
    /// Writes a file anew.
    Write(String, String),
    Append(String, String),
    Rename(String, String),
    /// Makes a link anew, at a name beside its own, and renames that onto it.
    Point(String, String),
    Remove(String),
    Sync(String),
}

/// Cuts the power after many operations, and looks at what is left.
pub(crate) fn holds(machine: &Machine) -> Result<(), String> {
    let scratch = tempfile::tempdir_in(crate::scratch()).map_err(|e| e.to_string())?;
    let disk = Disk::new(scratch.path());
    let (script, middle) = played(scratch.path(), &disk);
    let made = machine.run(&["sh", "-ec", &format!("mkdir {FOLDER}; sync; cd {FOLDER}; {script}")]);
    if !made.status.success() {
        return Err(format!("the operations failed: {}", String::from_utf8_lossy(&made.stderr)));
    }
    machine.cut();
    machine.boot()?;
    let lost = disk.may_leave(&middle, &machine.path(FOLDER))?;
    tell(&format!(
        "a real power cut: of {SEQUENCES} sequences of operations {lost} names or contents were lost"
    ));
    machine.run(&["rm", "-rf", FOLDER]);
    // Where nothing is lost nothing is compared.
    if lost > 0 { Ok(()) } else { Err("the power cut lost nothing".to_owned()) }
}

/// Does all operations here. Returns them as a script, and what was there when the syncs were done: the first of them
/// may have brought everything to the disk.
fn played(root: &Path, disk: &Disk) -> (String, Content) {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let mut script = Vec::new();
    let mut each = |steps: usize, draw: &mut dyn FnMut(&mut fastrand::Rng, &Path) -> Operation| {
        for sequence in (0..steps).flat_map(|_| 0..SEQUENCES) {
            let folder = root.join(sequence.to_string());
            let operation = draw(&mut chance, &folder);
            operation.play(&folder, disk);
            script.push(format!("d={sequence}; {operation}"));
        }
    };
    each(1, &mut |_, _| Operation::MakeFolder(String::new()));
    each(OPERATIONS, &mut operation);
    each(SYNCS, &mut |chance, folder| {
        let there = NAMES.into_iter().chain([""]).filter(|name| folder.join(name).exists());
        let there: Vec<_> = there.collect();
        Operation::Sync(there[chance.usize(..there.len())].to_owned())
    });
    let middle = disk.now();
    each(UNSYNCED, &mut operation);
    (script.join("\n"), middle)
}

/// One that can be done to what is there.
fn operation(chance: &mut fastrand::Rng, folder: &Path) -> Operation {
    let name = NAMES[chance.usize(..NAMES.len())].to_owned();
    let content = format!("{}\n", "x".repeat(chance.usize(1..200)));
    let existing = NAMES.into_iter().find(|name| folder.join(name).exists()).map(str::to_owned);
    match (chance.u8(..6), existing) {
        (0, _) => Operation::MakeFolder(format!("f{}", chance.u8(..3))),
        (1, Some(existing)) => Operation::Append(existing, content),
        (2, Some(existing)) => Operation::Rename(existing, name),
        (3, _) => Operation::Point("current".to_owned(), format!("generations/{}", chance.u8(..9))),
        (4, Some(existing)) => Operation::Remove(existing),
        _ => Operation::Write(name, content),
    }
}

impl Operation {
    fn play(&self, folder: &Path, disk: &Disk) {
        let at = |name: &str| if name.is_empty() { folder.to_owned() } else { folder.join(name) };
        let done = match self {
            Self::MakeFolder(name) if at(name).is_dir() => Ok(()),
            Self::MakeFolder(name) => fs::create_dir(at(name)),
            Self::Write(name, content) => fs::write(at(name), content),
            Self::Append(name, content) => fs::OpenOptions::new()
                .append(true)
                .open(at(name))
                .and_then(|mut file| file.write_all(content.as_bytes())),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Point(link, target) => {
                let staged: PathBuf = at(&format!(".{link}.new"));
                symlink(target, &staged).and_then(|()| fs::rename(staged, at(link)))
            }
            Self::Remove(name) => fs::remove_file(at(name)),
            Self::Sync(name) => {
                disk.sync(&at(name));
                Ok(())
            }
        };
        done.expect("the scratch folder can be written");
    }
}

/// As a line of a script, which is run in the folder of all sequences; `d` is that of this one.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeFolder(name) => write!(f, "mkdir -p \"$d/{name}\""),
            Self::Write(name, content) => write!(f, "echo {} > \"$d/{name}\"", content.trim_end()),
            Self::Append(name, content) => write!(f, "echo {} >> \"$d/{name}\"", content.trim_end()),
            // From a name to itself is nothing.
            Self::Rename(from, to) if from == to => write!(f, ":"),
            Self::Rename(from, to) => write!(f, "mv \"$d/{from}\" \"$d/{to}\""),
            Self::Point(link, target) => {
                write!(f, "ln -s {target} \"$d/.{link}.new\"; mv -T \"$d/.{link}.new\" \"$d/{link}\"")
            }
            Self::Remove(name) => write!(f, "rm \"$d/{name}\""),
            Self::Sync(name) => write!(f, "sync \"$d/{name}\""),
        }
    }
}

//! The program, killed at any moment while bytes rot, a source changes and the hub is odd: what is proven stays
//! proven, and what is not is never said to be.
//!
//! `AWQDEPLOY_KILL_ROUNDS=400 cargo test --locked --test it -- kill_loop` makes more rounds than a hurried test;
//! `AWQDEPLOY_KILL_SEED=8` others.

use super::{
    Bench, LARGE, SMALL,
    killed::{ROUNDS, SEED, number, program},
    model, same,
};
use crate::hub::{Fault, When};
use awqdeploy::domain::digest::Sha256Digest;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread::{scope, sleep},
    time::{Duration, SystemTime},
};

/// Within this time a run is killed, or has ended by itself.
const LATEST_KILL_MS: u64 = 700;

/// A host in trouble.
struct Loop {
    bench: Bench,
    random: fastrand::Rng,
    /// The inodes that we damaged.
    rotten: BTreeSet<u64>,
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let list = if path.is_dir() { &mut folders } else { &mut found };
            list.push(path);
        }
    }
    found.sort();
    found
}

/// Changes a byte, and sets the time of change back.
fn rot(path: &Path, at: u64) {
    let before = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x5a], at).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(path, before.permissions()).unwrap();
}

impl Loop {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.settings.patience = awqdeploy::domain::hub::Patience::DEFAULT;
        bench.lock_pieces();
        let source = bench.root.path().join("source");
        for (path, entry) in &model().files {
            let to = source.join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, entry.bytes.read(0, usize::try_from(entry.size).unwrap()).unwrap()).unwrap();
            fs::File::open(&to).unwrap().set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
        }
        let profile = bench.profiles().join("awq.toml");
        let text = fs::read_to_string(&profile).unwrap();
        let line = format!("[model]\npath = {:?}\n", source.display().to_string());
        fs::write(&profile, text.replacen("[model]\n", &line, 1)).unwrap();
        Self { bench, random: fastrand::Rng::with_seed(number(SEED)), rotten: BTreeSet::new() }
    }

    fn store(&self) -> PathBuf {
        self.bench.root.path().join("root/store")
    }

    /// Something that goes wrong with a file on the hub.
    fn odd_hub(&mut self) {
        self.bench.hub.mend();
        let path = if self.random.bool() { LARGE } else { SMALL };
        let size = model().files[path].size;
        let fault = match self.random.u8(0..8) {
            0 => Fault::Status { status: 429, retry_after: Some(0) },
            1 => Fault::Status { status: 403, retry_after: None },
            2 => Fault::Cut { after: self.random.u64(0..size) },
            3 => Fault::Flip { at: self.random.u64(0..size) },
            4 => Fault::Shorter { by: 1 },
            5 => Fault::WholeFile,
            6 => Fault::Drip { bytes: 64 << 10, every: Duration::from_millis(1) },
            _ => return,
        };
        let nth = self.random.u64(1..4);
        let when = if self.random.bool() { When::First(nth) } else { When::Nth(nth) };
        self.bench.hub.trap(path, fault, when);
    }

    fn rot_something(&mut self) {
        let all = files(&self.store().join("models"));
        let all: Vec<_> = all.into_iter().filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
        if let Some(path) = self.random.choice(&all) {
            rot(path, self.random.u64(0..fs::metadata(path).unwrap().len()));
            self.rotten.insert(fs::metadata(path).unwrap().ino());
        }
    }

    /// Runs a command while the source may change, and kills it at some moment. Its status, if it ended before.
    fn run(&mut self, words: &[&str]) -> (Option<i32>, String) {
        let changing = self.bench.root.path().join("source").join(LARGE);
        let (changes, limit) = (self.random.bool(), self.random.u64(1..LATEST_KILL_MS));
        if changes {
            // The changing file may be the store's own, too: root's are linked.
            self.rotten.insert(fs::metadata(&changing).unwrap().ino());
        }
        let (ended, at) = (AtomicBool::new(false), self.random.u64(0..model().files[LARGE].size));
        scope(|scope| {
            if changes {
                let (ended, changing) = (&ended, &changing);
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        rot(changing, at);
                        sleep(Duration::from_millis(3));
                    }
                });
            }
            let mut child =
                program(&self.bench, words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            for _ in 0..limit {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                sleep(Duration::from_millis(1));
            }
            let over = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            ended.store(true, Ordering::Relaxed);
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code().filter(|_| over), text)
        })
    }

    /// Checks what holds after each round, whatever happened.
    fn check(&self, what: &str) {
        let is_right =
            |path: &Path, name: &str| Sha256Digest::of(fs::read(path).unwrap()).to_string() == name;
        for blob in files(&self.store().join("blobs")) {
            let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
            let inode = fs::metadata(&blob).unwrap().ino();
            assert!(self.rotten.contains(&inode) || is_right(&blob, &name), "{what}: {name} is wrong");
        }
        let memo = fs::read_to_string(self.store().join("memo.json")).unwrap_or_else(|_| "{}".to_owned());
        let memo: Value = serde_json::from_str(&memo).unwrap();
        let memo = memo.as_object().unwrap();
        for path in files(&self.store()) {
            let found = fs::metadata(&path).unwrap();
            let stamp = |of: &Value| {
                (&of["inode"], &of["size"]) == (&found.ino().into(), &found.len().into())
                    && of["modified"] == serde_json::json!([found.mtime(), found.mtime_nsec()])
                    && of["changed"] == serde_json::json!([found.ctime(), found.ctime_nsec()])
            };
            for (content, _) in memo.iter().filter(|(_, of)| stamp(of)) {
                assert!(is_right(&path, content), "{what}: the hash cache lies about {}", path.display());
            }
        }
    }
}

#[test]
fn killed_while_bytes_rot_sources_change_and_the_hub_is_odd() {
    let mut host = Loop::new();
    let root = host.bench.root.path().to_owned();
    let mut ends = std::collections::BTreeMap::new();
    for round in 0..number(ROUNDS) {
        let out = root.join(format!("out{round}"));
        let name = out.display().to_string();
        let words: &[&str] = match host.random.u8(0..6) {
            0 | 1 => &["fetch", "awq"],
            2 => &["verify", "awq", "--repair"],
            3 => &["verify", "--all", "--repair"],
            4 => &["gc"],
            _ => &["export", "awq", &name],
        };
        host.odd_hub();
        if host.random.u8(0..10) < 3 {
            host.rot_something();
        }
        let what = format!("round {round}, {words:?}");
        let (code, text) = host.run(words);
        *ends.entry((words[0].to_owned(), code)).or_insert(0) += 1;
        // Done, killed, or a model that is not whole; or a repair where only the source has it.
        let is_elsewhere = code == Some(2) && text.contains("is not in the store");
        assert!(is_elsewhere || matches!(code, None | Some(0 | 4)), "{what}: {code:?} {text}");
        host.check(&what);
        if code == Some(0) && words[0] == "export" {
            same(&out, &model());
        }
    }
    host.bench.hub.mend();
    for words in [&["verify", "--all", "--repair"][..], &["fetch", "awq"], &["verify", "awq", "--repair"]] {
        let output = program(&host.bench, words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words:?} after {ends:?}: {text}");
        host.check("at the end");
    }
    for folder in fs::read_dir(host.store().join("models")).unwrap() {
        same(&folder.unwrap().path(), &model());
    }
    // No half-made export stays, whatever killed it.
    assert!(program(&host.bench, &["gc"]).output().unwrap().status.success());
    let names = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with(".out")).collect::<Vec<_>>(), Vec::<String>::new());
}

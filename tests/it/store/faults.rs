//! kill -9 at any moment, a flipped byte anywhere, a full disk: it ends with a verified model or an
//! honest error, never with something half-made under a final name.
//!
//! A few rounds each time; `AWQDEPLOY_FAULT_ROUNDS=200` for many, `AWQDEPLOY_FAULT_SEED` to repeat one.

use super::{Scene, flip, lock};
use crate::{scratch::tempdir, skipped::skipped, stand::FORKED};
use awqdeploy::{
    domain::{digest::Sha256Digest, problem::Kind, store::layout::Layout},
    host::{
        os::signals::Interrupt,
        store::{Store, hash_cache::HashCache},
    },
};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, SystemTime},
};

const ROUNDS: u64 = 8;
/// No import of these few MiB takes longer; some are killed before they begin, some after they end.
const LATEST_KILL_MS: u64 = 400;
/// A killed process lets go of the lock as soon as the kernel has taken it down.
const LET_GO: Duration = FORKED;

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// This test program again, to run one of the parts below where it can be killed.
fn child(part: &str, place: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", &format!("store::faults::{part}"), "--nocapture"])
        .env("AWQDEPLOY_FAULT_PART", place);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Where the part of a child works; nothing where this is no child.
fn place() -> Option<PathBuf> {
    env::var_os("AWQDEPLOY_FAULT_PART").map(PathBuf::from)
}

fn store(place: &Path) -> Store {
    Store::new(Layout::new(place.join("root")))
}

fn import(place: &Path) -> Result<PathBuf, awqdeploy::domain::problem::Problem> {
    let model = lock(&place.join("source"))?;
    let store = store(place);
    let writer = store.writer(LET_GO, "test")?;
    let source = place.join("source");
    awqdeploy::host::models::import(&writer, &model, Some(&source), &Interrupt::default(), &mut |_| ())
}

#[test]
fn part_import() {
    if let Some(place) = place() {
        import(&place).unwrap();
    }
}

#[test]
fn part_repair() {
    let Some(place) = place() else { return };
    let model = lock(&place.join("source")).unwrap();
    let store = store(&place);
    let writer = store.writer(LET_GO, "test").unwrap();
    let folder =
        awqdeploy::host::models::source_folder::Folder::open(&place.join("source"), "o/n", "main").unwrap();
    let (interrupt, path) = (Interrupt::default(), store.layout().model(model.digest()));
    let checked = awqdeploy::host::models::verify::stored(
        &path,
        &model,
        &HashCache::default(),
        &interrupt,
        &mut |_| (),
    )
    .unwrap();
    writer.repair(&model, checked.damaged, &[&folder], &interrupt).unwrap();
}

/// Runs a part, and kills it at some moment.
fn killed(part: &str, scene: &Scene, chance: &mut Chance) {
    let mut child = child(part, scene.path()).spawn().unwrap();
    sleep(Duration::from_millis(chance.below(LATEST_KILL_MS)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whatever has a final name is what its name says.
fn nothing_is_half_made(scene: &Scene, what: &str) {
    let layout = scene.store.layout();
    for entry in fs::read_dir(layout.blobs()).into_iter().flatten() {
        let path = entry.unwrap().path();
        let found = Sha256Digest::of(fs::read(&path).unwrap()).to_string();
        let name = path.file_name().unwrap().to_str().unwrap();
        // A file that `write` replaces in one step lies beside it for a moment.
        assert!(found == name || name.starts_with('.'), "{what}: {name} holds {found}");
    }
    if scene.stored().exists() {
        assert_eq!(scene.damaged(), [], "{what}");
        assert_eq!(scene.store.model_lock(scene.model.digest()).unwrap(), scene.model, "{what}");
    }
}

#[test]
fn killed_at_any_moment() {
    let rounds = number("AWQDEPLOY_FAULT_ROUNDS").unwrap_or(ROUNDS);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("AWQDEPLOY_FAULT_SEED").unwrap_or(u64::from(clock.subsec_nanos()) | 1);
    let mut chance = Chance(seed);
    let mut scene = Scene::new();
    for round in 0..rounds {
        let what = format!("round {round} of seed {seed}");
        if round % 4 == 0 {
            scene = Scene::new();
            scene.private();
        }
        killed("part_import", &scene, &mut chance);
        nothing_is_half_made(&scene, &what);
        import(scene.path()).unwrap_or_else(|problem| panic!("{what}: {problem}"));
        assert_eq!(scene.damaged(), [], "{what}");

        // A byte somewhere, then a repair that is killed, then one that is not.
        let file = &scene.model.files[usize::try_from(chance.below(4)).unwrap()];
        let Some(at) = file.size.0.checked_sub(1).map(|last| chance.below(last + 1)) else { continue };
        flip(&scene.stored().join(&file.path), usize::try_from(at).unwrap());
        let damaged = scene.damaged();
        assert_eq!(damaged.len(), 1, "{what}: byte {at} of {}", file.path.display());
        assert_eq!(damaged[0].pieces, [at / (8 << 20)], "{what}");
        assert_eq!(
            scene.check(&scene.store.hash_cache().unwrap()).damaged,
            damaged,
            "{what}: not seen at the start"
        );
        assert!(scene.take_in(None).is_err(), "{what}");
        killed("part_repair", &scene, &mut chance);
        let left = scene.damaged();
        assert!(left.is_empty() || left == damaged, "{what}: {left:?}");
        assert!(child("part_repair", scene.path()).status().unwrap().success(), "{what}");
        assert_eq!(scene.damaged(), [], "{what}");
    }
}

/// In a file system of its own: 40 MiB, of which the source takes 24.
#[test]
fn part_full_disk() {
    let Some(place) = place() else { return };
    let scene = Scene::at(&place);
    scene.private();
    let full = scene.take_in(Some(&scene.source())).unwrap_err();
    assert!(full.help.as_ref().unwrap().contains("make room"), "{full:?}");
    nothing_is_half_made(&scene, "a full disk");
    assert!(!scene.stored().exists());
    assert_eq!(fs::read_dir(scene.store.layout().staging()).unwrap().count(), 0, "the disk stays full");

    // A model from another file system: that is told before anything is copied.
    let elsewhere = Scene::new();
    let refused = scene.take_in(Some(&elsewhere.source())).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified);
    assert!(refused.to_string().contains("are free"), "{refused}");

    // Where everybody may read it, it needs no room.
    for file in &scene.model.files {
        fs::set_permissions(scene.source().join(&file.path), fs::Permissions::from_mode(0o644)).unwrap();
    }
    scene.take_in(Some(&scene.source())).unwrap();
    assert_eq!(scene.damaged(), []);
}

#[test]
fn a_full_disk_is_told_and_left_clean() {
    let place = tempdir().unwrap();
    let test = child("part_full_disk", place.path());
    let inner = "mount -t tmpfs -o size=40m tmpfs \"$1\" || exit 77; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", inner, "sh"]);
    command.arg(place.path()).arg(test.get_program()).args(test.get_args());
    let output = command.env("AWQDEPLOY_FAULT_PART", place.path()).output();
    match output {
        Ok(output) if output.status.code() == Some(77) || stopped_before(&output.stderr) => {
            skipped("this machine allows no file system of one's own");
        }
        Err(_) => skipped("there is no `unshare`"),
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn stopped_before(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).starts_with("unshare:")
}

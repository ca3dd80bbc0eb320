//! The program itself, killed at any moment; and what it takes of memory.

use super::{Bench, LARGE, REPO, SMALL, model, noise, same};
use crate::{
    hub::{Entry, Fault, Repo, When},
    stand::NEVER,
};
use awqdeploy::domain::{
    digest::Sha256Digest,
    hub::Patience,
    lockfile::{LockedFile, PIECE},
    store::layout::Layout,
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// More rounds than a hurried test makes, `AWQDEPLOY_KILL_ROUNDS=200`, and others: `AWQDEPLOY_KILL_SEED=8`.
pub(super) const ROUNDS: (&str, u64) = ("AWQDEPLOY_KILL_ROUNDS", 4);
pub(super) const SEED: (&str, u64) = ("AWQDEPLOY_KILL_SEED", 7);
/// The longest that one round may take.
const LIMIT: Duration = NEVER;
/// Within this time a run is killed, and within so much more with each: however slow the machine is, one ends at last.
const LATEST_KILL_MS: u64 = 1500;
/// The promise: MB of memory with four files in flight.
const MOST_KB: u64 = 40_000;
/// Of it what it allocates: buffers, stacks, the lock.
const MOST_OWN_KB: u64 = 16_000;

fn command(bench: &Bench, words: &[&str]) -> Child {
    program(bench, words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The program on this bench.
pub(crate) fn program(bench: &Bench, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_awqdeploy"));
    command.args(["--root"]).arg(bench.root.path().join("root")).arg("--profiles").arg(bench.profiles());
    command.args(words).env("HF_ENDPOINT", bench.hub.endpoint()).env("HF_HOME", bench.root.path().join("hf"));
    for variable in
        ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "http_proxy", "HTTP_PROXY"]
    {
        command.env_remove(variable);
    }
    command
}

fn finish(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The value of a variable, else its default.
pub(super) fn number((variable, default): (&str, u64)) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Every content with a final name is what its name says.
fn contents_are_right(root: &Path) {
    for blob in fs::read_dir(root.join("store/blobs")).into_iter().flatten() {
        let blob = blob.unwrap().path();
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            Sha256Digest::of(fs::read(&blob).unwrap()).to_string(),
            name,
            "a wrong content has a final name"
        );
    }
}

fn models(root: &Path) -> Vec<PathBuf> {
    let models = fs::read_dir(root.join("store/models")).into_iter().flatten();
    models.map(|model| model.unwrap().path()).collect()
}

#[test]
fn killed_at_any_moment_it_ends_with_the_model_or_an_honest_error() {
    let mut random = fastrand::Rng::with_seed(number(SEED));
    let mut bench = Bench::new();
    // Locking is not what is tested: it may take as long as a busy machine needs.
    bench.settings.patience = Patience::DEFAULT;
    let root = bench.root.path().join("root");
    for round in 0..number(ROUNDS) {
        bench.hub.mend();
        if round % 2 == 0 {
            bench.lock_pieces();
        } else {
            bench.lock().unwrap();
        }
        // Long enough to be killed some times.
        let slowly = Fault::Drip { bytes: 256 << 10, every: Duration::from_millis(4) };
        bench.hub.trap(LARGE, slowly, When::Always);
        let began = Instant::now();
        for tries in 0.. {
            let flip = Fault::Flip { at: random.u64(0..model().files[LARGE].size) };
            bench.hub.trap_first(LARGE, flip, When::Nth(random.u64(1..4)));
            let mut child = command(&bench, &["fetch", "awq"]);
            sleep(Duration::from_millis(random.u64(0..LATEST_KILL_MS + tries * LATEST_KILL_MS / 4)));
            let killed = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            let (code, text) = finish(child);
            contents_are_right(&root);
            for model_folder in models(&root) {
                same(&model_folder, &model());
            }
            if !killed {
                assert!(matches!(code, Some(0 | 4)), "round {round}: {code:?} {text}");
                if code == Some(0) {
                    break;
                }
                assert!(text.contains("sha256"), "{text}");
            }
            assert!(began.elapsed() < LIMIT, "round {round} never ends: {text}");
        }
        assert_eq!(models(&root).len(), 1);
        assert_eq!(bench.remains(), Vec::<String>::new(), "round {round}: an orphan stays");
        bench.empty();
        if round % 2 == 0 {
            fs::remove_dir_all(bench.profiles().join("locks")).unwrap();
        }
    }
}

/// A repository of files of this many pieces each, beside its `config.json`.
fn large(files: u64, pieces: usize) -> Repo {
    let length = pieces * usize::try_from(PIECE.0).unwrap();
    let weights = (0..files).map(|n| {
        let path = format!("model-{n}.safetensors");
        let entry = Entry::of(&path, noise(n + 10, length));
        (path, entry)
    });
    let config = ("config.json".to_owned(), Entry::of("config.json", b"{}".to_vec()));
    Repo::of(weights.chain([config]))
}

#[test]
fn only_the_pieces_in_flight_are_fetched_again() {
    let bench = Bench::new();
    bench.hub.put(REPO, large(1, 8));
    bench.lock_pieces();
    let path = "model-0.safetensors";
    bench.hub.trap(path, Fault::Drip { bytes: 256 << 10, every: Duration::from_millis(4) }, When::Always);
    let mut child = command(&bench, &["fetch", "awq"]);
    let staging = bench.root.path().join("root/store/staging/fetch");
    let marked = || {
        let marks = fs::read_dir(&staging).into_iter().flatten().map(|entry| entry.unwrap().path());
        let marks = marks.filter(|path| path.extension().is_some_and(|suffix| suffix == "marks"));
        marks.flat_map(|path| fs::read(path).unwrap_or_default()).filter(|mark| *mark == b'x').count()
    };
    let began = Instant::now();
    while marked() < 3 {
        assert!(
            began.elapsed() < LIMIT && child.try_wait().unwrap().is_none(),
            "it was to be killed half-way"
        );
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    finish(child);
    let there = marked() as u64;
    bench.hub.mend();
    bench.hub.sent();
    let (code, text) = finish(command(&bench, &["fetch", "awq"]));
    assert_eq!(code, Some(0), "{text}");
    // A connection that hands its work to another drops what the hub sent ahead: what sockets hold.
    let ahead = 2 * PIECE.0;
    let sent = bench.hub.sent();
    assert!(sent <= (8 - there) * PIECE.0 + ahead, "{there} pieces were there, and {sent} bytes came");
    assert_eq!(bench.remains(), Vec::<String>::new());
}

#[test]
fn memory_stays_small_with_four_files_in_flight() {
    for pieces in [false, true] {
        let bench = Bench::new();
        bench.hub.put(REPO, large(4, 6));
        if pieces {
            bench.lock_pieces();
        } else {
            bench.lock().unwrap();
        }
        let mut child = command(&bench, &["fetch", "awq"]);
        let status = format!("/proc/{}/status", child.id());
        let (mut own, mut all) = (0, 0);
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let kb = |name| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
            };
            own = own.max(kb("RssAnon:"));
            all = all.max(kb("VmHWM:"));
            sleep(Duration::from_millis(3));
        }
        let (code, text) = finish(child);
        assert_eq!(code, Some(0), "{text}");
        assert!((1..MOST_OWN_KB).contains(&own), "{own} kB of its own");
        // Without optimisation the pages of the program itself are as many as all else.
        assert!(cfg!(debug_assertions) || (1..MOST_KB).contains(&all), "{all} kB in all");
    }
}

#[test]
fn a_signal_ends_it_with_what_was_fetched_kept() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Stall { after: PIECE.0 + 10 }, When::Always);
    let child = command(&bench, &["fetch", "awq"]);
    let staging = bench.root.path().join("root/store/staging/fetch");
    let began = Instant::now();
    while !fs::read_dir(&staging).is_ok_and(|mut entries| {
        entries.any(|entry| fs::read(entry.unwrap().path()).is_ok_and(|bytes| bytes == b"x"))
    }) {
        assert!(began.elapsed() < LIMIT, "no piece came");
        sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    let (code, text) = finish(child);
    assert!(began.elapsed() < NEVER, "it waited for the hub");
    assert!(
        code.is_some_and(|code| code != 0) && text.contains("what was fetched is kept"),
        "{code:?} {text}"
    );
    bench.hub.mend();
    bench.fetched();
}

/// A kill after the last byte, and before the content has its name, leaves a part that nobody but root can write to.
#[test]
fn a_part_that_is_whole_holds_nobody_up() {
    let bench = Bench::new();
    let locked = bench.lock().unwrap();
    let downloads = Layout::new(bench.root.path().join("root")).downloads();
    fs::create_dir_all(&downloads).unwrap();
    let lies = |file: &LockedFile, bytes: &[u8]| {
        let part = downloads.join(format!("{}.part", file.sha256));
        fs::write(&part, bytes).unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o444)).unwrap();
    };
    let repo = model();
    for file in &locked.files {
        let entry = &repo.files[file.path.to_str().unwrap()].bytes;
        let mut bytes = entry.read(0, usize::try_from(entry.len()).unwrap()).unwrap();
        // One of them rotted since.
        if file.path == Path::new(SMALL) {
            bytes[0] ^= 1;
        }
        lies(file, &bytes);
    }
    let mut fetch = program(&bench, &["fetch", "awq"]);
    if rustix::process::geteuid().is_root() {
        const NOBODY: u32 = 65534;
        let owned = Command::new("chown").args(["-R", &NOBODY.to_string()]).arg(bench.root.path()).status();
        assert!(owned.unwrap().success());
        fetch.uid(NOBODY);
    }
    let (code, said) = finish(fetch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(code, Some(0), "{said}");
    contents_are_right(&bench.root.path().join("root"));
    assert_eq!(bench.remains(), Vec::<String>::new(), "nothing half-made is left");
}

#[test]
fn the_token_is_in_no_argument_and_in_no_text() {
    let bench = Bench::new();
    bench.hub.change(REPO, |repo| repo.token = Some("hf_secret".to_owned()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_awqdeploy"));
    command.args(["lock", "awq", "--json", "--progress", "json", "--profiles"]).arg(bench.profiles());
    command.env("HF_ENDPOINT", bench.hub.endpoint()).env("HF_TOKEN", "hf_secret").env("RUST_BACKTRACE", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains("hf_secret"));
}

#[test]
fn the_environments_proxy_is_used_but_for_what_it_exempts() {
    let bench = Bench::new();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_awqdeploy"));
        command.args(words).arg("--root").arg(bench.root.path().join("root"));
        command.arg("--profiles").arg(bench.profiles()).env("HF_HOME", bench.root.path().join("hf"));
        // The name does not resolve: only the proxy, which is the hub itself, can answer.
        command.env("HF_ENDPOINT", "http://hub.invalid").env("HTTP_PROXY", bench.hub.endpoint());
        command.env("http_proxy", bench.hub.endpoint()).env("NO_PROXY", "127.0.0.1").env_remove("HF_TOKEN");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["lock", "awq"]);
    run(&["fetch", "awq"]);
    same(&models(&bench.root.path().join("root"))[0], &model());
}

//! `lock` from a hub, and `lock --check`.

use super::{Bench, LARGE, REPO, killed::program, model, shown_of};
use crate::{
    hub::{Entry, Fault, Repo, When},
    program::Said,
};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        hub::{HubError as HubFault, git_name, upstream::Deviation},
        lockfile::LockedModel,
    },
    flow::models::lock::{self, Standing},
};
use insta::assert_snapshot;
use std::{path::Path, process::Stdio};

fn standing(bench: &Bench) -> Standing {
    lock::check(&bench.context(), "awq", &bench.settings).unwrap().standing
}

#[test]
fn a_lock_records_the_commit_and_every_file() {
    let bench = Bench::new();
    bench.hub.page(2);
    let locked = bench.lock().unwrap();
    let repo = model();
    assert_eq!(locked.commit.unwrap().to_string(), repo.commit);
    assert_eq!((locked.repo.as_str(), locked.revision.as_str()), (REPO, "main"));
    assert_eq!(locked.files.len(), repo.files.len(), "over several pages");
    for file in &locked.files {
        let entry = &repo.files[file.path.to_str().unwrap()];
        let bytes = entry.bytes.read(0, 1 << 30).unwrap();
        assert_eq!(file.sha256, Sha256Digest::of(&bytes), "{:?}", file.path);
        let git = entry.lfs.is_none().then(|| git_name(&bytes));
        assert_eq!(file.git_sha1, git, "{:?}", file.path);
    }
    let path = bench.profiles().join("locks/awq.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(LockedModel::parse(&path, &text).unwrap(), locked);
    assert!(!text.contains("127.0.0.1"), "no address of a hub");
    let read = bench.hub.downloads();
    assert!(read.iter().all(|seen| !seen.path.contains("safetensors")), "no weights are read");
}

/// A folder with the model's files, that no profile names.
fn folder(bench: &Bench) -> std::path::PathBuf {
    let folder = bench.root.path().join("here");
    for (path, entry) in &model().files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, entry.bytes.read(0, 1 << 30).unwrap()).unwrap();
    }
    folder
}

#[test]
fn a_folder_that_was_locked_is_remembered_and_nothing_is_downloaded() {
    let bench = Bench::new();
    let folder = folder(&bench);
    let lock = || lock::lock(&bench.context(), "awq", Some(&folder), &bench.settings).unwrap();
    let locked = lock();
    assert_eq!(locked.from.as_deref(), Some(folder.as_path()));
    assert_eq!(bench.fetch().unwrap().downloaded.0, 0);
    assert!(bench.hub.seen().is_empty(), "the hub was asked");
    // The folder is only a place to look: what is wrong there, or gone, comes from the hub.
    bench.empty();
    std::fs::write(folder.join("config.json"), "other").unwrap();
    std::fs::remove_file(folder.join(LARGE)).unwrap();
    assert!(bench.fetch().unwrap().downloaded.0 > 0);
    bench.empty();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(bench.fetch().unwrap().downloaded.0 > 0);
    // A lock that the hub tells knows no folder.
    assert_eq!(bench.lock().unwrap().from, None);
}

#[test]
fn what_is_locked_checked_and_fetched_is_told_as_json() {
    let bench = Bench::new();
    let told = |words: &[&str]| Said::by(program(&bench, words).stdout(Stdio::piped())).document(0);
    let locked = told(&["lock", "awq", "--json"]);
    assert_eq!(told(&["lock", "awq", "--check", "--json"])["schema"], "awqdeploy/upstream/v1");
    let fetched = told(&["fetch", "awq", "--json"]);
    assert!(
        fetched["path"].as_str().unwrap().contains(&locked["digest"].as_str().unwrap()[..12]),
        "{fetched}"
    );
}

#[test]
fn pieces_are_locked_once_they_were_seen_and_kept() {
    let bench = Bench::new();
    let locked = bench.lock_pieces();
    let pieces = |locked: &LockedModel| {
        let large = locked.files.iter().find(|file| file.path == Path::new(LARGE)).unwrap();
        large.pieces.clone().map(|pieces| pieces.len())
    };
    assert_eq!(pieces(&locked), Some(3));
    assert_eq!(pieces(&bench.lock().unwrap()), Some(3), "a new lock of the same content keeps them");
}

#[test]
fn a_damaged_small_file_is_not_locked() {
    let bench = Bench::new();
    bench.hub.trap("config.json", Fault::Flip { at: 3 }, When::Always);
    assert_snapshot!(shown_of(bench.lock()), @r"
    error: `config.json` of `owner/model` came damaged
    caused by: git names what came 4cde23a4433f54a6ab1e1df84a99b81433094006, and the hub lists a1b0ef34d3f787fbc30eb2efac244d35996e5bd2
    help: run it again; if it stays so, something between the hub and here changes files
    ");
    assert!(!bench.profiles().join("locks").exists());
}

#[test]
fn an_alternative_is_locked_where_the_repository_is_gone() {
    let bench = Bench::with("alternatives = [\"mirror/model\"]");
    bench.hub.remove(REPO);
    bench.hub.put("mirror/model", model());
    let locked = bench.lock().unwrap();
    assert_eq!(locked.repo, "mirror/model");
    assert_snapshot!(bench.warnings(), @"`owner/model`: access denied (HTTP 401); trying the next alternative");
    bench.fetched();
}

#[test]
fn check_tells_same_moved_changed_and_vanished() {
    let bench = Bench::new();
    bench.lock().unwrap();
    assert_eq!(standing(&bench), Standing::Same);

    bench.hub.change(REPO, |repo| repo.commit = "1".repeat(40));
    // The hub knows one commit a repository: the old one is gone with the new.
    assert_eq!(standing(&bench), Standing::Vanished(HubFault::Missing));

    bench.hub.put(REPO, model());
    bench.hub.change(REPO, |repo| {
        repo.files.insert(LARGE.to_owned(), Entry::of(LARGE, b"other".to_vec()));
        repo.files.remove("empty.txt");
    });
    let Standing::Changed(changes) = standing(&bench) else { panic!("not changed") };
    let changes: Vec<_> = changes.into_iter().collect();
    assert_eq!(
        changes,
        [
            ("empty.txt".into(), Deviation::Gone),
            (LARGE.into(), Deviation::Size { now: awqdeploy::domain::size::ByteSize(5) }),
        ]
    );

    bench.hub.remove(REPO);
    assert_eq!(standing(&bench), Standing::Vanished(HubFault::Denied(401)));
}

#[test]
fn check_shows_what_a_moved_branch_has() {
    let bench = Bench::new();
    bench.lock().unwrap();
    let old = model();
    let new = "2".repeat(40);
    bench.hub.put(REPO, Repo { commit: new.clone(), ..model() });
    bench.hub.change(REPO, |repo| {
        repo.history.insert(old.commit.clone(), old.files.clone());
        repo.files.insert("new.txt".to_owned(), Entry::of("new.txt", b"new".to_vec()));
    });
    let Standing::Moved { to, changes } = standing(&bench) else { panic!("not moved") };
    assert_eq!(to.to_string(), new);
    assert_eq!(changes.into_iter().collect::<Vec<_>>(), [("new.txt".into(), Deviation::New)]);
    bench.fetched();
}

#[test]
fn an_unanswered_check_is_a_problem_and_not_a_finding() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap("tree", Fault::Status { status: 503, retry_after: None }, When::Always);
    let checked = lock::check(&bench.context(), "awq", &bench.settings);
    assert_snapshot!(shown_of(checked), @r"
    error: cannot look at `owner/model`
    caused by: not now (HTTP 503)
    help: run it again; a fetch goes on where it stopped
    ");
}

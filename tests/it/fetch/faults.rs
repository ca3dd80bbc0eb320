//! Each fault of a hub, and that the model is whole in spite of it, at what cost.

use super::{Bench, LARGE, REPO, SMALL, model, noise, shown_of};
use crate::{
    hub::{Fault, When},
    stand::NEVER,
};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, LockedModel, PIECE},
        problem::Kind,
        size::ByteSize,
    },
    flow::models::verify::{Damaged, Which, verify},
    host::hub::Turns,
};
use insta::assert_snapshot;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes that the CDN was asked for of a file.
fn asked(bench: &Bench, path: &str) -> Vec<(u64, u64)> {
    let size = model().files[path].size;
    let seen = bench.hub.seen().into_iter().filter(|seen| seen.cdn && seen.path.contains(path));
    let range = |range: Option<String>| match range {
        None => (0, size),
        Some(range) => {
            let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (from.parse().unwrap(), to.parse::<u64>().unwrap() + 1)
        }
    };
    seen.map(|seen| range(seen.range)).collect()
}

#[test]
fn all_goes_well() {
    let bench = Bench::new();
    bench.lock().unwrap();
    let fetched = bench.fetched();
    assert_eq!(fetched.downloaded, fetched.bytes);
    assert_eq!(bench.warnings(), "");
}

#[test]
fn statuses_that_pass_are_waited_for() {
    for (status, retry_after) in [(429, Some(1)), (500, None), (502, None), (503, Some(0)), (504, None)] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.trap(LARGE, Fault::Status { status, retry_after }, When::First(2));
        bench.hub.trap("tree", Fault::Status { status, retry_after }, When::First(1));
        let began = Instant::now();
        bench.fetched();
        let due = Duration::from_secs(retry_after.unwrap_or(0) * 2);
        assert!(began.elapsed() >= due, "{status}: came back after {:?}", began.elapsed());
    }
}

#[test]
fn a_date_to_come_again_is_waited_for() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Closed { seconds: 1 }, When::First(1));
    let began = Instant::now();
    bench.fetched();
    assert!(began.elapsed() >= Duration::from_secs(1), "came back after {:?}", began.elapsed());
    bench.empty();
    bench.hub.mend();
    bench.hub.trap(LARGE, Fault::Closed { seconds: 3600 }, When::Always);
    let began = Instant::now();
    assert!(shown_of(bench.fetch()).contains("not now (HTTP 503)"));
    assert!(began.elapsed() < NEVER);
}

#[test]
fn a_hub_that_asks_for_too_long_is_given_up() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Status { status: 429, retry_after: Some(3600) }, When::Always);
    let began = Instant::now();
    assert_snapshot!(shown_of(bench.fetch()), @r"
    error: cannot fetch `model-00001-of-00002.safetensors` from `owner/model`
    caused by: not now (HTTP 429); it asks to wait 3600 s
    help: run it again; a fetch goes on where it stopped
    ");
    assert!(began.elapsed() < NEVER);
}

#[test]
fn statuses_that_do_not_pass_are_told_of_at_once() {
    const SMALL: &str = "config.json";
    for (path, status, due) in [
        (SMALL, 403, "access denied (HTTP 403)"),
        (SMALL, 404, "not there (HTTP 404)"),
        (LARGE, 418, "the status 418"),
        // The content comes from elsewhere: that does not know who may read what.
        (LARGE, 403, "not good any more (HTTP 403)"),
    ] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.trap(path, Fault::Status { status, retry_after: None }, When::Always);
        let problem = bench.fetch().unwrap_err();
        assert_eq!(problem.kind, Kind::Unverified);
        let shown = super::shown(&problem);
        assert!(shown.contains(due) && shown.contains(path), "{shown}");
        // The other files are kept, and only the rest is fetched.
        bench.hub.mend();
        bench.fetched();
    }
}

#[test]
fn a_connection_that_ends_early_is_gone_on_with_where_it_ended() {
    for path in [LARGE, SMALL] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.seen();
        bench.hub.trap(path, Fault::Cut { after: 3_000_000 }, When::First(2));
        bench.fetched();
        if path == LARGE {
            let asked = asked(&bench, path);
            assert!(
                asked.iter().filter(|range| range.0 == 0).count() == 1,
                "not from the start again: {asked:?}"
            );
        }
    }
}

#[test]
fn a_connection_that_always_ends_at_once_is_given_up() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(SMALL, Fault::Cut { after: 1000 }, When::Always);
    let shown = shown_of(bench.fetch());
    assert!(shown.contains("the connection ended early") && shown.contains(SMALL), "{shown}");
}

#[test]
fn a_silent_connection_is_given_up_for_a_new_one() {
    let mut bench = Bench::new();
    bench.settings.patience.silence = Duration::from_secs(1);
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Stall { after: 3_000_000 }, When::Nth(1));
    bench.fetched();
}

#[test]
fn a_dripping_connection_is_given_up_for_a_new_one() {
    let mut bench = Bench::new();
    bench.settings.patience.slow_after = Duration::from_secs(1);
    bench.settings.patience.slow_below = ByteSize(64 << 10);
    bench.lock().unwrap();
    // Never silent, and would take half an hour.
    let drip = Fault::Drip { bytes: 500, every: Duration::from_millis(50) };
    bench.hub.trap(SMALL, drip, When::Nth(1));
    let began = Instant::now();
    bench.fetched();
    assert!(began.elapsed() < NEVER);
}

#[test]
fn another_length_is_refused() {
    for path in [LARGE, "sub folder/tokenizer.json"] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.trap(path, Fault::Shorter { by: 10 }, When::Always);
        let shown = shown_of(bench.fetch());
        assert!(shown.contains("not what was locked") && shown.contains("bytes instead of"), "{shown}");
    }
}

#[test]
fn a_server_without_ranges_serves_too() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Cut { after: 9_000_000 }, When::Nth(1));
    bench.hub.trap(LARGE, Fault::WholeFile, When::Always);
    bench.fetched();
}

#[test]
fn a_wrong_byte_costs_its_piece_where_the_lock_has_pieces() {
    let bench = Bench::new();
    bench.lock_pieces();
    bench.hub.trap(LARGE, Fault::Flip { at: PIECE.0 + 5 }, When::Nth(1));
    bench.fetched();
    assert_eq!(asked(&bench, LARGE), [(0, model().files[LARGE].size), (PIECE.0, 2 * PIECE.0)]);
    assert!(bench.warnings().contains("fetching piece 1 again"), "{}", bench.warnings());
}

#[test]
fn a_wrong_byte_costs_the_file_where_the_lock_has_no_pieces() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(LARGE, Fault::Flip { at: PIECE.0 + 5 }, When::Nth(1));
    bench.fetched();
    assert!(bench.warnings().contains("fetching all of it again"), "{}", bench.warnings());
}

/// A lock whose pieces are not those of its file, made to look whole: the hash of the file decides.
#[test]
fn pieces_do_not_outvote_the_hash_of_the_file() {
    // Its pieces are those of what the hub has, and its hash is another's.
    let bench = Bench::new();
    let mut locked = bench.lock_pieces();
    let other = noise(9, usize::try_from(model().files[LARGE].size).unwrap());
    large(&mut locked).sha256 = Sha256Digest::of(&other);
    write_lock(&bench, &locked);
    // The listing agrees with that hash, and what comes agrees with the pieces.
    bench.hub.change(REPO, |repo| {
        repo.files.get_mut(LARGE).unwrap().lfs = Some(Sha256Digest::of(&other).to_string());
    });
    assert_snapshot!(shown_of(bench.fetch()), @r"
    error: the lock contradicts itself about `model-00001-of-00002.safetensors`
    caused by: a file of its pieces has sha256 57e640f038865f62b698ac350fca84bd8ea73fe704e4025515acfacdb1a4056e, and not the one that was locked
    help: undo the last edit of the lock, or make it anew: `awqdeploy lock PROFILE`
    ");
    assert!(!bench.root.path().join("root/store/models").exists(), "no final name");

    // The hash is that of what the hub has, and a piece is another's: what comes is right, and `verify` tells.
    let bench = Bench::new();
    let mut locked = bench.lock_pieces();
    large(&mut locked).pieces.as_mut().unwrap()[1] = Sha256Digest::of("other");
    write_lock(&bench, &locked);
    bench.fetched();
    let verified = verify(&bench.context(), &Which::Profile("awq".to_owned()), Damaged::Told);
    assert_snapshot!(shown_of(verified), @r"
    error: the lock contradicts itself about `model-00001-of-00002.safetensors`
    caused by: the file has the locked sha256, and piece 1 is another
    help: make it anew: `awqdeploy lock PROFILE`
    ");
}

fn large(locked: &mut LockedModel) -> &mut LockedFile {
    locked.files.iter_mut().find(|file| file.path == Path::new(LARGE)).unwrap()
}

fn write_lock(bench: &Bench, locked: &LockedModel) {
    fs::write(bench.profiles().join("locks/awq.toml"), locked.to_toml()).unwrap();
}

#[test]
fn a_wrong_byte_that_stays_is_an_honest_error() {
    let bench = Bench::new();
    let with_pieces = Bench::new();
    bench.lock().unwrap();
    with_pieces.lock_pieces();
    for bench in [bench, with_pieces] {
        bench.hub.trap(LARGE, Fault::Flip { at: 5 }, When::Always);
        let problem = bench.fetch().unwrap_err();
        assert_eq!(problem.kind, Kind::Unverified);
        let shown = super::shown(&problem);
        assert!(shown.contains(LARGE) && shown.contains("sha256"), "{shown}");
        assert!(!bench.root.path().join("root/store/models").exists(), "no final name");
        bench.hub.mend();
        bench.fetched();
    }
}

#[test]
fn another_repository_steps_in() {
    let faults = [
        Fault::Status { status: 404, retry_after: None },
        Fault::Status { status: 503, retry_after: None },
        Fault::Flip { at: 77 },
        Fault::Cut { after: 0 },
        Fault::Shorter { by: 1 },
    ];
    for fault in faults {
        for pieces in [true, false] {
            let bench = Bench::with("alternatives = [\"mirror/model\"]");
            bench.hub.put("mirror/model", model());
            if pieces {
                bench.lock_pieces()
            } else {
                bench.lock().unwrap()
            };
            bench.hub.trap_in(REPO, LARGE, fault.clone(), When::Always);
            bench.fetched();
            // The CDN knows repositories too, so that the trap is in one of them.
            assert!(!bench.warnings().is_empty());
        }
    }
}

#[test]
fn a_repository_that_vanished_is_replaced_by_an_alternative() {
    let bench = Bench::with("alternatives = [\"gone/model\", \"mirror/model\"]");
    bench.lock().unwrap();
    bench.hub.put("mirror/model", model());
    bench.hub.remove(REPO);
    bench.fetched();
    assert_snapshot!(bench.warnings(), @r"
    cannot find `owner/model` at `104be15fd834a7564d52ad9b02b0de9e0e4bcf2e`: access denied (HTTP 401)
    cannot find `gone/model` at `main`: access denied (HTTP 401)
    ");
}

/// Two files of one content are one content: it is fetched once, and has both names.
#[test]
fn one_content_under_two_names_is_fetched_once() {
    let bench = Bench::new();
    bench.hub.change(REPO, |repo| {
        let twin = repo.files[SMALL].clone();
        repo.files.insert("a-twin.safetensors".to_owned(), twin);
    });
    bench.lock().unwrap();
    bench.hub.sent();
    let fetched = bench.fetch().unwrap_or_else(|problem| panic!("{}", super::shown(&problem)));
    assert_eq!(fetched.downloaded.0, model().files.values().map(|entry| entry.size).sum::<u64>());
    let one = fs::read(fetched.path.join("a-twin.safetensors")).unwrap();
    assert!(one == fs::read(fetched.path.join(SMALL)).unwrap());
}

/// All repositories at once, one of which has other bytes, and one nothing.
#[test]
fn sources_that_are_asked_at_once_cannot_spoil_each_other() {
    for pieces in [false, true] {
        let mut bench = Bench::with("alternatives = [\"mirror/wrong\", \"mirror/gone\"]");
        bench.settings.share.turns = Turns::AtOnce;
        if pieces {
            bench.lock_pieces();
        } else {
            bench.lock().unwrap();
        }
        bench.hub.put("mirror/wrong", model());
        bench.hub.put("mirror/gone", model());
        for path in [LARGE, SMALL] {
            bench.hub.trap_in("mirror/wrong", path, Fault::Flip { at: 5 }, When::Always);
            bench.hub.trap_in(
                "mirror/gone",
                path,
                Fault::Status { status: 404, retry_after: None },
                When::Always,
            );
        }
        bench.fetched();
    }
}

/// A limit of the rate costs time, and nothing else.
#[test]
fn a_fetch_under_a_limit_is_whole() {
    let mut bench = Bench::new();
    bench.settings.share.rate = Some(ByteSize(100_000_000));
    bench.settings.share.connections = 2;
    bench.lock().unwrap();
    bench.fetched();
}

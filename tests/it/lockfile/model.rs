//! Locks: read, refused, written back, and named.

use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::{GitHash, Sha256Digest},
        lockfile::{LockedFile, LockedModel, PIECE},
        problem::Kind,
        size::ByteSize,
    },
};
use insta::assert_snapshot;
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use std::{path::Path, time::Duration};

fn file(path: &str, size: u64) -> LockedFile {
    LockedFile::new(path, ByteSize(size), Sha256Digest::of(path))
}

fn model(files: Vec<LockedFile>) -> LockedModel {
    LockedModel::of("owner/name".to_owned(), "main".to_owned(), None, files).unwrap()
}

fn parse(text: &str) -> LockedModel {
    LockedModel::parse(Path::new("awq.toml"), text).unwrap()
}

fn commit() -> GitHash {
    "da39a3ee5e6b4b0d3255bfef95601890afd80709".parse().unwrap()
}

/// A file as its lock has it at most: from git, or in pieces.
fn in_git() -> LockedFile {
    LockedFile { git_sha1: Some(commit()), ..file("b-a", 1) }
}

fn in_pieces() -> LockedFile {
    let pieces = vec![Sha256Digest::of("1"), Sha256Digest::of("2"), Sha256Digest::of("3")];
    LockedFile { pieces: Some(pieces), ..file("b/c.bin", 2 * PIECE.0 + 1) }
}

fn whole() -> LockedModel {
    LockedModel { commit: Some(commit()), ..model(vec![in_pieces(), in_git(), file("a \"q\"", 3)]) }
}

/// The refusal of a lock in which `from` became `to`.
fn refused(from: &str, to: &str) -> String {
    let text = whole().to_toml();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let problem = LockedModel::parse(Path::new("awq.toml"), &text).unwrap_err();
    assert_eq!(problem.kind, Kind::Usage);
    render(&problem, Style::Plain)
}

#[test]
fn the_canonical_text_is_sorted_and_one_fact_a_line() {
    assert_eq!(whole().to_toml(), include_str!("../../fixtures/locks/awq.toml"));
    assert_eq!(parse(&whole().to_toml()), whole());
}

#[test]
fn another_version_is_refused_before_anything_else() {
    assert_snapshot!(refused("version = 1", "version = 2\nformat = 'new'"), @r"
    error: the lock is of the unknown version 2
     --> awq.toml:2:11
      |
    2 | version = 2
      |           ^ this program knows version 1
      |
      = help: use the awqdeploy that made it, or make it anew with this one
    ");
    let older = whole().to_toml().replacen("version = 1\n", "", 1);
    let problem = LockedModel::parse(Path::new("awq.toml"), &older).unwrap_err();
    assert_snapshot!(render(&problem, Style::Plain), @r"
    error: `version` is missing
     --> awq.toml:1:1
      |
    1 | # Every file of one model, by its hash; a piece is 8 MiB. Made by `awqdeploy lock`, not by hand.
      | ^ expected here, before the first table
      |
      = help: add the version of this format, for example `version = 1`
    ");
}

/// A lock remembers the folder that it was made from, and is of a later revision only then: older programs pass it over.
#[test]
fn the_folder_is_remembered_and_names_the_same_model() {
    let plain = whole();
    let from = plain.clone().taken_from(Path::new("/srv/a \"b\""));
    assert_eq!(parse(&from.to_toml()), from);
    assert_eq!(from.digest(), plain.digest());
    assert!(plain.to_toml().contains("\nrevision = 0\n") && from.to_toml().contains("\nrevision = 1\n"));
    for impossible in ["relative", "/a/../b", "/a\nb"] {
        assert_eq!(plain.clone().taken_from(Path::new(impossible)), plain, "{impossible:?}");
    }
}

/// Words of a later revision beside what this program knows are passed over; it is still what was locked.
#[test]
fn a_later_revision_is_read() {
    let text = whole().to_toml();
    let (head, lines) = text.split_once("checksum = ").unwrap();
    let (_, lines) = lines.split_once('\n').unwrap();
    let lines = lines.replace("[[file]]\n", "[[file]]\nxet = \"x\"\n");
    let with = |revision: &str, checksum: Sha256Digest| {
        let head = head.replace("revision = 0", &format!("revision = {revision}"));
        let text = format!("{head}checksum = \"{checksum}\"\n{lines}");
        LockedModel::parse(Path::new("awq.toml"), &text)
    };
    assert_eq!(with("2", Sha256Digest::of(&lines)).unwrap(), whole());
    assert!(with("0", Sha256Digest::of(&lines)).unwrap_err().to_string().contains("unknown key `xet`"));
    assert!(with("2", Sha256Digest::of("other")).unwrap_err().to_string().contains("was changed"));
    assert!(with("-1", Sha256Digest::of(&lines)).is_err());
}

/// Each of these leaves a lock that could be one.
#[test]
fn a_change_by_hand_is_noticed() {
    assert_snapshot!(refused("size = 3", "size = 4"), @r#"
    error: the lock was changed after it was made
     --> awq.toml:5:12
      |
    5 | checksum = "45607939cec0d4795c603efe806e4d83ff490f2a7d68d39a0dacade79701fc55"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not the checksum of the lines below
      |
      = help: undo the change, or make it anew: `awqdeploy lock PROFILE`
    "#);
    let text = whole().to_toml();
    for (from, to) in [
        ("main", "v2"),
        ("\"b-a\"", "\"b-c\""),
        (&*Sha256Digest::of("2").to_string(), &*Sha256Digest::of("4").to_string()),
        ("\n[[file]]\npath = \"a", "\n\n[[file]]\npath = \"a"),
        ("commit = \"da39a3ee5e6b4b0d3255bfef95601890afd80709\"\n", ""),
        ("[model]", "# a remark\n[model]"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(refused(from, to).contains("was changed after it was made"), "{from}");
    }
    // Git may change the line ends: that is no change by hand.
    assert_eq!(parse(&text.replace('\n', "\r\n")), whole());
}

#[test]
fn files_that_are_wrong() {
    assert_snapshot!(refused("\"b-a\"", "\"../etc/passwd\""), @r#"
    error: `file.path` takes a path below the model's folder
      --> awq.toml:18:8
       |
    18 | path = "../etc/passwd"
       |        ^^^^^^^^^^^^^^^ has an empty part, `.` or `..`
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(refused("size = 1", "size = -1"), @r"
    error: `file.size` takes a number of bytes
      --> awq.toml:19:8
       |
    19 | size = -1
       |        ^^ must be at least 0
       |
       = help: undo the last edit: locks are made by the program, not by hand
    ");
    assert_snapshot!(refused(&Sha256Digest::of("b-a").to_string(), "e3b0"), @r#"
    error: `file.sha256` takes 64 hexadecimal digits
      --> awq.toml:20:10
       |
    20 | sha256 = "e3b0"
       |          ^^^^^^ not a SHA-256 digest
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(refused("sha256 =", "sha265 ="), @r#"
    error: `file.sha256` is missing
      --> awq.toml:12:1
       |
    12 | [[file]]
       | ^^^^^^^^ has no `sha256`
       |
       = help: add 64 hexadecimal digits, for example `sha256 = "e3b0…"`

    error: unknown key `sha265`
      --> awq.toml:15:1
       |
    15 | sha265 = "ca1b0f51ddafa3869a5f7b5d694e8307571de1880dfa70c65a6ef7bd4fb8909a"
       | ^^^^^^ not known in `[file]`
       |
       = help: did you mean `sha256`?
    "#);
}

#[test]
fn hashes_and_names_that_are_wrong() {
    assert_snapshot!(refused("\"b-a\"", "\"b/c.bin\""), @r#"
    error: `b/c.bin` stands twice
      --> awq.toml:24:8
       |
    24 | path = "b/c.bin"
       |        ^^^^^^^^^ stands twice
       |
       = help: keep one of the two
    "#);
    assert_snapshot!(refused("git-sha1 = \"da39", "git-sha1 = \"xa39"), @r#"
    error: `file.git-sha1` takes 40 hexadecimal digits
      --> awq.toml:21:12
       |
    21 | git-sha1 = "xa39a3ee5e6b4b0d3255bfef95601890afd80709"
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a hash of git
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
}

#[test]
fn pieces_that_are_wrong() {
    assert_snapshot!(refused("size = 16777217", "size = 16777216"), @r#"
    error: `file.pieces` takes the SHA-256 of each piece
      --> awq.toml:27:10
       |
    27 |   pieces = [
       |  __________^
    28 | |   "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    29 | |   "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
    30 | |   "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
    31 | | ]
       | |_^ 3 pieces of 8 MiB for 16777216 bytes: it has 2
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
    assert_snapshot!(refused("size = 16777217", "size = 8388608"), @r#"
    error: `file.pieces` takes the SHA-256 of each piece
      --> awq.toml:27:10
       |
    27 |   pieces = [
       |  __________^
    28 | |   "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    29 | |   "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
    30 | |   "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
    31 | | ]
       | |_^ a file of 8388608 bytes is one piece
       |
       = help: undo the last edit: locks are made by the program, not by hand
    "#);
}

#[test]
fn paths_stay_below_the_model() {
    let of = |files| LockedModel::of("o/n".into(), "main".into(), None, files);
    for path in ["", "/etc/x", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb"] {
        assert!(of(vec![file(path, 1)]).is_err(), "{path:?}");
    }
    assert!(of(vec![file("a", 1), file("a", 2)]).is_err());
    assert!(of(vec![file("a", 1), file("a/b", 2)]).is_err());
    // The limits of Linux: a name of 255 bytes, and a path of 4,096 with that of the store.
    let (longest, longer) = ("n".repeat(255), "ü".repeat(128));
    for (path, is_right) in [
        (longest.clone(), true),
        (format!("a/{longest}/b"), true),
        (format!("a/n{longest}/b"), false),
        (longer, false),
        ([longest.as_str(); 8].join("/"), true),
        ([longest.as_str(); 9].join("/"), false),
    ] {
        assert_eq!(of(vec![file(&path, 1)]).is_ok(), is_right, "{}", path.len());
    }
    assert!(of(vec![]).is_err());
}

/// A length that no file has: it would take all memory to keep track of.
#[test]
fn a_length_has_the_limit_of_hubs() {
    let of = |size| LockedModel::of("o/n".into(), "main".into(), None, vec![file("a", size)]);
    assert!(of(1 << 40).is_ok());
    assert!(of((1 << 40) + 1).is_err() && of(u64::MAX).is_err());
    let shown = refused("size = 1\n", "size = 9000000000000000000\n");
    assert!(shown.contains("more than any file has: the most is 1 TiB"), "{shown}");
}

/// Many files cost no more than their number.
#[test]
fn each_content_is_named_once_by_its_first_file() {
    let twin = |path: &str| LockedFile { path: path.into(), ..file("x", 3) };
    let model = model(vec![twin("b"), twin("a"), file("c", 3)]);
    let contents: Vec<_> = model.contents().iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(contents, ["a", "c"]);
}

#[test]
fn pieces_cover_their_file() {
    let of = |size: u64, pieces: usize| {
        let pieces = Some(vec![Sha256Digest::of("x"); pieces]);
        let file = LockedFile { pieces, ..file("a", size) };
        LockedModel::of("o/n".into(), "main".into(), None, vec![file]).is_ok()
    };
    for (size, pieces) in [(PIECE.0 + 1, 2), (2 * PIECE.0, 2), (2 * PIECE.0 + 1, 3)] {
        assert!(of(size, pieces), "{size}");
        assert!(!of(size, pieces - 1) && !of(size, pieces + 1), "{size}");
    }
    assert!(!of(PIECE.0, 1) && !of(PIECE.0, 0) && !of(0, 0));
}

/// The name in the store depends on every file, on nothing else, and not on their order.
#[test]
fn digests_name_the_content() {
    let files = || vec![file("a", 1), file("b", 2)];
    let name = model(files()).digest();
    let known = |file| LockedFile { git_sha1: Some(commit()), pieces: Some(vec![]), ..file };
    let backwards = LockedModel {
        files: files().into_iter().rev().map(known).collect(),
        repo: "someone/else".to_owned(),
        revision: "v2".to_owned(),
        commit: Some(commit()),
        from: Some("/elsewhere".into()),
    };
    assert_eq!(backwards.digest(), name);
    for change in [
        |files: &mut Vec<LockedFile>| files[0].size = ByteSize(9),
        |files: &mut Vec<LockedFile>| files[0].sha256 = Sha256Digest::of("other"),
        |files: &mut Vec<LockedFile>| files[0].path = "c".into(),
        |files: &mut Vec<LockedFile>| files.truncate(1),
    ] {
        let mut changed = files();
        change(&mut changed);
        assert_ne!(model(changed).digest(), name);
    }
}

/// Names in the store outlive the program: this must never change.
#[test]
fn digests_are_stable() {
    assert_snapshot!(model(vec![file("a", 1), file("b", 2)]).digest(), @r"
    b264e58e911ab3f4ef61b2214eed3b2b9bc12cee91bab67ae7f66625910cf7fc
    ");
}

fn any_file(path: String, size: u64, seed: u64) -> LockedFile {
    let mut file = LockedFile::new(path, ByteSize(size), Sha256Digest::of(seed.to_le_bytes()));
    file.git_sha1 = seed.is_multiple_of(3).then(commit);
    let due = usize::try_from(file.piece_count()).unwrap();
    file.pieces = (due > 0 && seed % 3 == 1).then(|| vec![file.sha256; due]);
    file
}

fn any_model() -> impl Strategy<Value = LockedModel> {
    // The letter keeps a path from being the folder of another.
    let path = "([a-zA-Z0-9_é \"'#-][a-zA-Z0-9_.é \"'#-]{0,8}/){0,2}x[a-z0-9.\"' é-]{0,12}\\.bin";
    let size = prop_oneof![0..=PIECE.0, PIECE.0..40 * PIECE.0];
    let files = prop::collection::btree_map(path, (size, any::<u64>()), 1..8);
    let commit = prop::option::of(Just(commit()));
    ("[a-z0-9]{1,9}/[A-Za-z0-9]{1,9}", "[a-z0-9]{1,40}", commit, files).prop_map(
        |(repo, revision, commit, files)| {
            let files = files.into_iter().map(|(path, (size, seed))| any_file(path, size, seed)).collect();
            LockedModel::of(repo, revision, commit, files).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(model in any_model()) {
        let text = model.to_toml();
        prop_assert_eq!(&parse(&text), &model);
        prop_assert_eq!(&parse(&text).to_toml(), &text);
    }

    #[test]
    fn no_changed_line_passes(model in any_model(), at in any::<prop::sample::Index>(), flip in 1_u8..128) {
        let text = model.to_toml();
        let head = text.find("checksum = ").unwrap();
        let mut bytes = text.clone().into_bytes();
        let at = head + at.index(bytes.len() - head);
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes) {
            let read = LockedModel::parse(Path::new("awq.toml"), &changed);
            prop_assert!(read.is_err() || read.unwrap() == model, "byte {} of\n{}", at, text);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = LockedModel::parse(Path::new("awq.toml"), &text);
    }
}

/// The service reads this before each start.
#[test]
fn a_lock_of_45_gb_is_read_in_no_time() {
    let shards = (0..10).map(|number| {
        let shard = file(&format!("model-{number}.safetensors"), 4_500_000_000);
        let due = usize::try_from(shard.piece_count()).unwrap();
        LockedFile { pieces: Some((0..due).map(|n| Sha256Digest::of(n.to_le_bytes())).collect()), ..shard }
    });
    let text = model(shards.collect()).to_toml();
    assert!((350_000..450_000).contains(&text.len()), "{}", text.len());
    // The time that this thread computes: a clock goes on while others have the processor.
    let computed = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let began = computed();
    parse(&text);
    // Without optimisation: what is held here is that it does not grow with the square.
    let took = computed().saturating_sub(began);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

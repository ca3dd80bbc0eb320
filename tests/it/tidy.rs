//! The layers point one way, and nothing grows beyond what one can read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The words that each layer must not have. `domain` touches nothing outside; nothing points upwards.
const BANNED: &[(&str, &[&str])] = &[
    (
        "src/domain",
        &[
            "crate::host",
            "crate::flow",
            "crate::cli",
            "std::fs",
            "std::process",
            "std::env",
            "std::net::Tcp",
            "std::net::Udp",
            "std::thread",
            "Instant::now",
            "SystemTime",
            "Timestamp::now",
            "tokio::",
            "reqwest::",
            "duct::",
            "rustix::",
            "println!",
            "eprintln!",
        ],
    ),
    ("src/host", &["crate::flow", "crate::cli", "println!", "eprintln!"]),
    ("src/flow", &["crate::cli", "println!", "eprintln!", "std::process::Command"]),
];

/// Where text leaves the program, with everything in it made visible, and what it leaves by.
const SINK: &str = "src/cli/terminal.rs";
const LEAVES_BY: [&str; 6] = ["anstream::", "println!", "print!(", "io::stdout", "io::stderr()", "anstyle::"];

const FILE_LINES: usize = 500;
/// Files and rooms that one sees at once: at the front of a layer, and in a room. `mod.rs` is the room itself.
const FRONT: usize = 24;
const ROOM: usize = 12;

#[test]
fn layers_point_one_way() {
    let mut broken = vec![];
    for (folder, banned) in BANNED {
        each_source(folder, &mut |path, text| {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                for word in banned.iter().filter(|word| code.contains(**word)) {
                    broken.push(format!("{path}:{}: `{word}`", number + 1));
                }
            }
        });
    }
    assert!(broken.is_empty(), "a layer names what it must not:\n{}", broken.join("\n"));
}

/// A text that is printed elsewhere could drive the terminal of whoever reads it.
#[test]
fn only_one_place_prints() {
    let mut elsewhere = vec![];
    each_source("src/cli", &mut |path, text| {
        // Whether it is a terminal may be asked; and the command line's own help has colours of its own.
        let asked = |line: &str| line.contains("is_terminal()") || path == "src/cli/args/mod.rs";
        let lines = text.lines().enumerate().filter(|(_, line)| path != SINK && !asked(line));
        let found = lines.filter(|(_, line)| LEAVES_BY.iter().any(|way| line.contains(way)));
        elsewhere.extend(found.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())));
    });
    assert!(elsewhere.is_empty(), "printed beside `{SINK}`:\n{}", elsewhere.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut large = vec![];
    for folder in ["src", "tests"] {
        each_source(folder, &mut |path, text| {
            let lines = text.lines().count();
            if lines > FILE_LINES {
                large.push(format!("{path}: {lines} lines"));
            }
        });
    }
    assert!(large.is_empty(), "too large to read:\n{}", large.join("\n"));
}

/// Words that say nothing of the subject where a comment begins with them.
const RIDDLES: [&str; 3] = ["What ", "It ", "The same"];

#[test]
fn comments_name_their_subject() {
    let mut riddles = vec![];
    for folder in ["src", "tests", "benches"] {
        each_source(folder, &mut |path, text| {
            let lines = || text.lines().map(str::trim_start);
            for ((number, line), before) in lines().enumerate().zip(std::iter::once("").chain(lines())) {
                let said = line.trim_start_matches(['/', '!', ' ']);
                let begins = line.starts_with("//") && !before.starts_with("//");
                if begins && RIDDLES.iter().any(|riddle| said.starts_with(riddle)) {
                    riddles.push(format!("{path}:{}: {said}", number + 1));
                }
            }
        });
    }
    assert!(riddles.is_empty(), "name the subject, or begin with a verb:\n{}", riddles.join("\n"));
}

#[test]
fn no_room_is_crowded() {
    let mut rooms = BTreeMap::<PathBuf, BTreeSet<PathBuf>>::new();
    each_source("src", &mut |path, _| {
        for path in Path::new(path).ancestors().filter(|path| !path.ends_with("mod.rs")) {
            if let Some(room) = path.parent() {
                rooms.entry(room.to_owned()).or_default().insert(path.to_owned());
            }
        }
    });
    assert!(rooms.len() > 30, "{rooms:?}");
    for (room, within) in rooms {
        let most = if room.components().count() <= 2 { FRONT } else { ROOM };
        assert!(within.len() <= most, "{} has {} entries, at most {most} fit", room.display(), within.len());
    }
}

pub(crate) fn each_source(folder: &str, see: &mut impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    visit(root, &root.join(folder), see);
}

fn visit(root: &Path, folder: &Path, see: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(root, &path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            see(&shown, &fs::read_to_string(&path).unwrap());
        }
    }
}

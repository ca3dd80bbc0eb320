//! The scenes of docs/security.md name tests. What is not there cannot have been seen.

use super::{at_root, page};
use std::{fs, path::Path};

/// All code below a folder of the repository.
fn code(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(String::new(), |mut code, path| {
        if path.is_dir() {
            code += &self::code(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code += &fs::read_to_string(path).unwrap();
        }
        code
    })
}

/// Whether a path of modules, and perhaps a function, is in this folder of tests.
fn is_in(folder: &str, path: &str) -> bool {
    let mut place = at_root(folder);
    let mut words = path.split("::").peekable();
    while let Some(word) = words.peek().filter(|word| place.join(word).is_dir()) {
        place.push(word);
        words.next();
    }
    let file =
        words.next().map_or_else(|| place.join("mod.rs"), |word| place.join(word).with_extension("rs"));
    let Ok(text) = fs::read_to_string(file) else { return false };
    words.all(|name| text.contains(&format!("fn {name}")))
}

#[test]
fn the_tests_in_the_table_of_scenes_are_there() {
    let scenes = code(&at_root("tests/faults"));
    let security = page("docs/security.md");
    let table = security.split("| no. | scene |").nth(1).unwrap();
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "the table is gone");
    for row in rows {
        let tests: Vec<_> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        let mut kind = "";
        for test in tests {
            // The kind is said once for all that follow.
            let name = test.split_once(": ").map_or(test, |(said, name)| {
                kind = said;
                name
            });
            let there = match kind {
                "it" => is_in("tests/it", name),
                "systemd" => is_in("tests/systemd", name),
                "faults" => scenes.contains(&format!("(\"{name}")),
                _ => false,
            };
            assert!(there, "`{kind}: {name}` is no test: {row}");
        }
    }
}

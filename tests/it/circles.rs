//! No two files, rooms or layers import each other, by any way round.

use super::tidy::each_source;
use std::collections::{BTreeMap, BTreeSet};

/// How many names of a module tell its layer: `domain`.
const LAYER: usize = 1;
/// Likewise its room: `domain/planning`, or a file of the layer that lies in none.
const ROOM: usize = 2;

/// Who imports whom, by name.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// A module by the names that lead to it: `["domain", "plan"]`.
type Module = Vec<String>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(circle(&imports(&sources())), None);
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    assert_eq!(circle(&grouped(&imports(&sources()), ROOM)), None);
}

/// Each layer imports all those below it: an import that points upwards makes a circle.
#[test]
fn no_layers_import_each_other_in_a_circle() {
    let layers = grouped(&imports(&sources()), LAYER);
    assert_eq!(layers["cli"], ["domain", "flow", "host"].map(str::to_owned).into());
    assert_eq!(circle(&layers), None);
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let sources = |texts: [(&str, &str); 3]| {
        texts.into_iter().map(|(path, text)| (format!("src/{path}"), text.to_owned())).collect()
    };
    let nested = sources([
        ("host/a.rs", "use crate::{\n    domain::x,\n    host::{b::{self, B}, z},\n};\n"),
        ("host/b.rs", "fn f() -> super::c::C { g(\"crate::host::z\") } // crate::host::a\n"),
        ("host/c/mod.rs", "use super::a as other;\n"),
    ]);
    let found = circle(&imports(&nested)).unwrap();
    assert_eq!(found, ["src/host/a.rs", "src/host/b.rs", "src/host/c/mod.rs", "src/host/a.rs"]);
    let rooms = sources([
        ("host/c/one.rs", "use crate::host::d::two::Two;\n"),
        ("host/d/two.rs", "use std::path::Path;\n"),
        ("host/d/three.rs", "use crate::{domain::d::{c::Other}, host::c::one::One};\n"),
    ]);
    assert_eq!(circle(&imports(&rooms)), None);
    assert_eq!(circle(&grouped(&imports(&rooms), ROOM)).unwrap(), ["host/c", "host/d", "host/c"]);
    let children = sources([
        ("host/e/mod.rs", "mod one;\nfn f() { one::g() }\n"),
        ("host/e/one.rs", "use super::E;\n"),
        ("host/f.rs", "fn f(text: &str) -> bool { text.contains('\"') }\n"),
    ]);
    assert_eq!(circle(&imports(&children)).unwrap().len(), 3);
}

fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    each_source("src", &mut |path, text| {
        sources.insert(path.to_owned(), text.to_owned());
    });
    sources
}

/// Which file imports which.
fn imports(sources: &BTreeMap<String, String>) -> Imports {
    let modules: BTreeMap<Module, &String> = sources.keys().map(|path| (module_of(path), path)).collect();
    let imported = |path: &String, text: &String| {
        let here = module_of(path);
        let tokens = tokens(text);
        let mut found = BTreeSet::new();
        let mut index = 0;
        while index < tokens.len() {
            if !(is_name(&tokens[index]) && tokens.get(index + 1).is_some_and(|next| next == "::")) {
                index += 1;
                continue;
            }
            let mut paths = Vec::new();
            let is_child = modules.contains_key(&[here.as_slice(), &tokens[index..=index]].concat());
            let is_ours = ["crate", "super", "self"].contains(&tokens[index].as_str()) || is_child;
            // A name below a path of somebody else's is not ours, whatever it is called.
            index = tree(&tokens, index, &[], &mut paths);
            if is_ours {
                found.extend(paths.iter().filter_map(|path| file_of(&here, path, &modules)));
            }
        }
        found.remove(path);
        (path.clone(), found)
    };
    sources.iter().map(|(path, text)| imported(path, text)).collect()
}

/// Which group of files imports which: those that have so many names of their module in common.
fn grouped(imports: &Imports, names: usize) -> Imports {
    let group = |path: &String| module_of(path).into_iter().take(names).collect::<Vec<_>>().join("/");
    let mut groups = Imports::new();
    for (from, to) in imports {
        let others = to.iter().map(group).filter(|to| *to != group(from));
        groups.entry(group(from)).or_default().extend(others);
    }
    groups
}

fn module_of(path: &str) -> Module {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
    names.pop_if(|name| ["mod", "lib"].contains(&name.as_str()));
    names
}

/// The file of the longest part of a path that is a module.
fn file_of(here: &[String], path: &[String], modules: &BTreeMap<Module, &String>) -> Option<String> {
    let mut absolute = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => here.to_vec(),
    };
    for name in path {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    (1..=absolute.len()).rev().find_map(|length| modules.get(&absolute[..length])).map(|path| (*path).clone())
}

/// All paths of the tree that begins here: `a::{b, c::d}` has `a::b` and `a::c::d`. Where it ends.
fn tree(tokens: &[String], mut at: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = tree(tokens, at, &path, paths);
                    while tokens.get(at).is_some_and(|token| token != "," && token != "}") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            Some(name) if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    paths.push(path);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single other characters, without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => {
                let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
                rest[3..].find(end).map_or(rest.len(), |found| found + 3 + end.len())
            }
            '"' => {
                let mut escaped = false;
                let ends = |(_, c): &(usize, char)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                };
                rest.char_indices().skip(1).find(ends).map_or(rest.len(), |(found, _)| found + 1)
            }
            '\'' => match rest.char_indices().nth(2) {
                Some((_, '\'')) if !rest.starts_with("'\\") => {
                    2 + rest[1..].chars().next().map_or(0, char::len_utf8)
                }
                _ if rest.starts_with("'\\") => rest[3..].find('\'').map_or(rest.len(), |found| found + 4),
                _ => 1,
            },
            first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            first => first.len_utf8(),
        };
        let token = &rest[..length];
        if is_name(token) && !token.contains('"') || ["::", "{", "}", ",", ";", "*"].contains(&token) {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// A way round that leads back to where it began.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|from| walk(imports, from, &mut Vec::new(), &mut done))
}

fn walk<'a>(
    imports: &'a Imports,
    at: &'a str,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|passed| *passed == at) {
        return Some(way[begin..].iter().chain([&at]).map(|&name| name.to_owned()).collect());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at);
    let found = imports.get(at).into_iter().flatten().find_map(|to| walk(imports, to, way, done));
    way.pop();
    done.insert(at);
    found
}

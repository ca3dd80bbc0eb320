//! The files of wheels: read from the end of an archive and from `RECORD`s, held against each other and against what
//! is there.

use crate::wheel::{wheel, zip};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        digest::Sha256Digest,
        lockfile::{
            archive::{Member, directory, members},
            record::{self, Claim, clashes, place},
        },
        size::ByteSize,
        store::manifest::{Entry, Mode},
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const SITE: &str = "lib/python3.12/site-packages";

fn listed(bytes: &[u8], tail: usize) -> Option<Vec<Member>> {
    let size = bytes.len() as u64;
    let range = directory(size, &bytes[bytes.len().saturating_sub(tail)..])?;
    members(&bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()])
}

#[test]
fn the_end_of_a_wheel_says_what_it_holds() {
    let wheel =
        wheel("cuda-python", "12.6.2.post1", &[("cuda/bindings/__init__.py", "one"), ("cuda/x.py", "")]);
    let found = listed(&wheel, 512).unwrap();
    let paths: Vec<&str> = found.iter().map(|member| member.path.as_str()).collect();
    let info = "cuda_python-12.6.2.post1.dist-info";
    let own = ["METADATA", "WHEEL", "RECORD"].map(|name| format!("{info}/{name}"));
    assert_eq!(paths, ["cuda/bindings/__init__.py", "cuda/x.py", &own[0], &own[1], &own[2]]);
    // CRC-32 of `one`, as any program reckons it.
    assert_eq!((found[0].crc32, found[0].size), (0x7a6c_86f1, 3));
    assert_eq!((found[1].crc32, found[1].size), (0, 0));
    // A comment at the end, though it looks like one more end; and a tail that is no longer than the record.
    let mut commented = wheel.clone();
    let length = commented.len();
    commented[length - 2] = 4;
    commented.extend(b"PK\x05\x06");
    assert_eq!(listed(&commented, 512).as_ref(), Some(&found));
    assert_eq!(listed(&wheel, 22), Some(found));
    assert_eq!(listed(&wheel, 21), None);
}

/// Of wheels beyond 4 GiB the numbers stand in records of their own.
#[test]
fn a_wheel_of_more_than_4_gib_is_read() {
    let size = 5_u64 << 30;
    let name = "torch/lib/libtorch_cuda.so";
    let length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let elsewhere = [0xff; 4];
    let extra = [&[1, 0, 16, 0][..], &size.to_le_bytes(), &size.to_le_bytes()].concat();
    let entry = [
        b"PK\x01\x02",
        &[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
        &[9, 0, 0, 0],
        &elsewhere,
        &elsewhere,
        &length,
        &[20, 0],
        &[0; 10],
        &[0; 4],
        name.as_bytes(),
        &extra,
    ]
    .concat();
    let start = size + 100;
    let record =
        [b"PK\x06\x06", &[0; 36][..], &(entry.len() as u64).to_le_bytes(), &start.to_le_bytes()].concat();
    let at = start + entry.len() as u64;
    let locator = [b"PK\x06\x07", &[0; 4][..], &at.to_le_bytes(), &[1, 0, 0, 0]].concat();
    let end = [b"PK\x05\x06", &[0; 8][..], &elsewhere, &elsewhere, &[0, 0]].concat();
    let tail = [entry.clone(), record, locator, end].concat();
    let whole = start + tail.len() as u64;
    assert_eq!(directory(whole, &tail), Some(start..start + entry.len() as u64));
    assert_eq!(members(&entry), Some(vec![Member { path: name.to_owned(), crc32: 9, size }]));
}

#[test]
fn two_wheels_that_bring_one_file_are_refused() {
    let site = Path::new(SITE);
    let of = |name: &str, files: &[(&str, &str)]| {
        let (name, version) = name.split_once(' ').unwrap();
        let wheel = wheel(name, version, files);
        let found = listed(&wheel, 1 << 16).unwrap();
        let named = format!("{name} {version}");
        let brought = move |member: Member| {
            Some((place(site, &member.path)?, named.clone(), (member.crc32, member.size)))
        };
        found.into_iter().filter_map(brought).collect::<Vec<_>>()
    };
    let one = of(
        "cuda-bindings 13.5.0",
        &[
            ("cuda/bindings/__init__.py", "13"),
            ("build_backend.py", "a"),
            ("LICENSE", "MIT"),
            ("x/__pycache__/a.pyc", "1"),
        ],
    );
    let other = of(
        "cuda-python 12.6.2.post1",
        &[
            ("cuda/bindings/__init__.py", "12"),
            ("build_backend.py", "b"),
            ("LICENSE", "MIT"),
            ("x/__pycache__/a.pyc", "2"),
        ],
    );
    let (found, harmless) = clashes([one, other].concat());
    assert_eq!(harmless, [PathBuf::from(format!("{SITE}/build_backend.py"))]);
    let problem = record::refuse(&found).unwrap_err();
    assert_snapshot!(render(&problem, Style::Plain), @r#"
    error: `cuda-bindings 13.5.0` and `cuda-python 12.6.2.post1` both bring `lib/python3.12/site-packages/cuda/bindings/__init__.py`, with different content
    help: which of them would be installed is left to chance; lock versions that go together, for example `--with "cuda-python>=VERSION"`
    "#);
    record::refuse(&[]).unwrap();
}

#[test]
fn a_file_goes_where_an_installer_puts_it() {
    let place = |path: &str| place(Path::new(SITE), path).map(|path| path.display().to_string());
    let at = |path: &str| Some(path.to_owned());
    assert_eq!(place("vllm/__init__.py"), at("lib/python3.12/site-packages/vllm/__init__.py"));
    assert_eq!(place("vllm/"), None);
    assert_eq!(place("a-1.data/purelib/a.py"), at("lib/python3.12/site-packages/a.py"));
    assert_eq!(place("a-1.data/platlib/a.so"), at("lib/python3.12/site-packages/a.so"));
    assert_eq!(place("a-1.data/scripts/a"), at("bin/a"));
    assert_eq!(place("a-1.data/data/share/a"), at("share/a"));
    assert_eq!(place("a-1.data/headers/a.h"), None);
    assert_eq!(place("../../../../etc/passwd"), None);
}

fn line(path: &str, text: &str) -> String {
    use sha2::Digest as _;
    format!("{path},sha256={},{}\n", BASE64.encode(sha2::Sha256::digest(text)), text.len())
}

#[test]
fn a_record_is_read_as_installers_write_it() {
    let text = line("vllm/a.py", "a")
        + &line("../../../bin/vllm", "v")
        + &line("\"with,comma \"\"q\"\".py\"", "c")
        + "a-1.dist-info/RECORD,,\n";
    let read = record::read("a 1", Path::new(SITE), &text).unwrap();
    let paths: Vec<String> = read.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(
        paths,
        [
            "bin/vllm",
            "lib/python3.12/site-packages/a-1.dist-info/RECORD",
            "lib/python3.12/site-packages/vllm/a.py",
            "lib/python3.12/site-packages/with,comma \"q\".py",
        ]
    );
    assert_eq!(read[Path::new("bin/vllm")], Some(Claim { sha256: Sha256Digest::of("v"), size: ByteSize(1) }));
    assert_eq!(read[Path::new("lib/python3.12/site-packages/a-1.dist-info/RECORD")], None);
    for wrong in ["nothing", "a.py,md5=abc,1", "../../../../a,,", "/etc/passwd,,", "a.py,sha256=AAAA,1"] {
        assert!(record::read("a 1", Path::new(SITE), wrong).is_err(), "{wrong}");
    }
}

fn file(text: &str) -> Entry {
    Entry::File { sha256: Sha256Digest::of(text), size: ByteSize(text.len() as u64), mode: Mode::Plain }
}

fn link(target: &str) -> Entry {
    Entry::Link { target: target.into() }
}

/// The files that uv makes, and no others.
#[test]
fn what_is_installed_is_what_the_records_say() {
    let site = |name: &str| format!("{SITE}/{name}");
    let claims =
        record::read("a 1", Path::new(SITE), &(line("a.py", "a") + "a-1.dist-info/RECORD,,\n")).unwrap();
    let there = || -> BTreeMap<PathBuf, Entry> {
        [
            (site("a.py"), file("a")),
            (site("a-1.dist-info/RECORD"), file("whatever")),
            (site("__pycache__/a.cpython-312.pyc"), file("byte code")),
            (site("_virtualenv.py"), file("")),
            (site("_virtualenv.pth"), file("")),
            ("bin/python".to_owned(), link("/usr/bin/python3.12")),
            ("bin/python3.12".to_owned(), link("python")),
            ("bin/activate".to_owned(), file("")),
            ("bin/activate_this.py".to_owned(), file("")),
            ("lib64".to_owned(), link("lib")),
            ("pyvenv.cfg".to_owned(), file("")),
            (".gitignore".to_owned(), file("*")),
            ("CACHEDIR.TAG".to_owned(), file("")),
        ]
        .map(|(path, entry)| (PathBuf::from(path), entry))
        .into()
    };
    let hold = |there: &BTreeMap<PathBuf, Entry>| record::hold(Path::new(SITE), &claims, there);
    assert!(hold(&there()).unwrap().is_empty());
    // A wheel that brings byte code: uv compiles its own.
    let compiled = line("__pycache__/a.cpython-312.pyc", "the wheel's");
    let with_byte_code =
        record::read("a 1", Path::new(SITE), &(compiled + &line("a.py", "a") + "a-1.dist-info/RECORD,,\n"))
            .unwrap();
    assert!(record::hold(Path::new(SITE), &with_byte_code, &there()).unwrap().is_empty());
    let mut other = there();
    other.insert(site("a.py").into(), file("b"));
    assert_eq!(hold(&other).unwrap(), [PathBuf::from(site("a.py"))], "to be unpacked once more");
    for (path, entry, why) in [
        (site("a.py"), Some(link("b.py")), "is a link where its wheel has a file"),
        (site("a.py"), None, "was not installed, though its wheel brings it"),
        (site("evil.pth"), Some(file("import evil")), "was installed by no wheel"),
        (site("evil.pyc"), Some(file("")), "was installed by no wheel"),
        ("bin/python".to_owned(), Some(file("#!/bin/sh")), "was installed by no wheel"),
        ("bin/evil".to_owned(), Some(file("")), "was installed by no wheel"),
        ("lib64".to_owned(), Some(file("")), "was installed by no wheel"),
        (site("__pycache__/a.cpython-312.pyc"), Some(link("/tmp/a.pyc")), "was installed by no wheel"),
    ] {
        let mut there = there();
        match entry {
            Some(entry) => drop(there.insert(path.clone().into(), entry)),
            None => drop(there.remove(Path::new(&path))),
        }
        assert_eq!(hold(&there).unwrap_err().to_string(), format!("`{path}` {why}"));
    }
}

proptest! {
    #[test]
    fn no_bytes_of_an_archive_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>()) {
        let _ = directory(size, &bytes);
        let _ = members(&bytes);
        let _ = members(&[b"PK\x01\x02", &bytes[..]].concat());
        let _ = directory(size, &[b"PK\x06\x06", &bytes[..], b"PK\x06\x07", &bytes, b"PK\x05\x06", &[0xff; 30]].concat());
    }

    #[test]
    fn no_record_panics(text in any::<String>()) {
        let _ = record::read("a 1", Path::new(SITE), &text);
    }

    #[test]
    fn every_archive_is_listed(files in prop::collection::btree_map("[a-z]{1,9}(/[a-z]{1,9}){0,3}", ".{0,40}", 0..30)) {
        let files: Vec<(String, String)> = files.into_iter().collect();
        let bytes = zip(&files);
        let found = listed(&bytes, bytes.len()).unwrap();
        let wanted: Vec<(&str, u64)> = files.iter().map(|(path, text)| (path.as_str(), text.len() as u64)).collect();
        let found: Vec<(&str, u64)> = found.iter().map(|member| (member.path.as_str(), member.size)).collect();
        prop_assert_eq!(found, wanted);
    }
}

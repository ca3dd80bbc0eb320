//! `lock --runtime`: which wheel an installer would take, and what becomes of what uv says.

use crate::{program::Said, scratch::tempdir, wheel::wheel};
use awqdeploy::domain::{
    digest::Sha256Digest,
    lockfile::{LockedRuntime, wheel_tags::Target},
    profile::{Device, Python, Runtime},
};
use insta::assert_snapshot;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
};
use tempfile::TempDir;

const TARGET: Target = Target { python: 12, glibc: 31 };

/// From the most to the least wanted, as `packaging.tags` orders them for `CPython` 3.12 and glibc 2.31.
const ORDER: [&str; 15] = [
    "a-1-cp312-cp312-manylinux_2_31_x86_64.whl",
    "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "a-1-cp312-cp312-manylinux2014_x86_64.whl",
    "a-1-cp312-cp312-manylinux1_x86_64.whl",
    "a-1-cp312-cp312-linux_x86_64.whl",
    "a-1-cp312-abi3-manylinux_2_5_x86_64.whl",
    "a-1-cp312-none-manylinux_2_28_x86_64.whl",
    "a-1-cp311-abi3-manylinux_2_28_x86_64.whl",
    "a-1-cp38-abi3-manylinux_2_31_x86_64.whl",
    "a-1-py312-none-manylinux_2_28_x86_64.whl",
    "a-1-py3-none-manylinux_2_28_x86_64.whl",
    "a-1-py311-none-manylinux_2_28_x86_64.whl",
    "a-1-cp312-none-any.whl",
    "a-1-py2.py3-none-any.whl",
];

#[test]
fn wheels_are_ranked_as_installers_do() {
    let ranks: Vec<_> = ORDER.iter().map(|file| TARGET.rank(file).expect(file)).collect();
    for (one, other) in ORDER
        .iter()
        .zip(&ORDER[1..])
        .zip(ranks.windows(2))
        .map(|(names, ranks)| ((names.0, ranks[0]), (names.1, ranks[1])))
    {
        assert!(one.1 < other.1, "{} {:?}, {} {:?}", one.0, one.1, other.0, other.1);
    }
}

#[test]
fn what_cannot_run_has_no_rank() {
    for file in [
        "a-1-cp312-cp312-musllinux_1_2_x86_64.whl",
        "a-1-cp312-cp312-manylinux_2_34_x86_64.whl",
        "a-1-cp312-cp312-manylinux_2_28_aarch64.whl",
        "a-1-cp312-cp312-macosx_11_0_arm64.whl",
        "a-1-cp312-cp312-win_amd64.whl",
        "a-1-cp312-cp312t-manylinux_2_28_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1-cp313-abi3-manylinux_2_28_x86_64.whl",
        "a-1-py313-none-any.whl",
        "a-1-py2-none-any.whl",
        "a-1-pp310-pypy310_pp73-manylinux_2_28_x86_64.whl",
        "a-1.tar.gz",
        "a.whl",
        "",
    ] {
        assert_eq!(TARGET.rank(file), None, "{file}");
    }
    // A build number is no tag.
    assert!(TARGET.rank("a-1-2-py3-none-any.whl").is_some());
}

/// As uv 0.13.9 wrote it, shortened, with another index.
const PYLOCK: &str = r#"
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.12"

[[packages]]
name = "ninja"
version = "1.13.0"
wheels = [
    { url = "http://127.0.0.1:1/packages/db/d2/ninja-1.13.0-py3-none-macosx_10_9_universal2.whl", upload-time = 2025-08-11T15:09:46Z, size = 310125, hashes = { sha256 = "fa2a8bfc62e31b08f83127d1613d10821775a0eb334197154c4d6067b7068ff1" } },
    { url = "http://127.0.0.1:1/packages/ed/de/ninja-1.13.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", upload-time = 2025-08-11T15:09:53Z, size = 180716, hashes = { sha256 = "fb46acf6b93b8dd0322adc3a4945452a4e774b75b91293bafcc7b7f8e6517dfa" } },
]

[[packages]]
name = "vllm"
version = "0.26.0+cu130"
wheels = [
    { url = "http://127.0.0.1:1/packages/01/02/vllm-0.26.0%2Bcu130-cp38-abi3-manylinux_2_28_x86_64.whl", size = 5, hashes = { sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" } },
]
"#;

fn runtime() -> Runtime {
    Runtime { vllm: "0.26.0".to_owned(), device: Device::Cuda, python: Python::Locked }
}

#[test]
fn one_wheel_of_each_package_is_locked() {
    let locked = LockedRuntime::resolved(&runtime(), "3.12", "x86_64-manylinux_2_31", PYLOCK).unwrap().lock;
    assert_snapshot!(locked.to_toml(), @r#"
    # Every wheel of one vLLM environment, by its hash.
    version = 1
    vllm = "0.26.0"
    device = "cuda"
    python = "3.12"
    platform = "x86_64-manylinux_2_31"

    [[wheel]]
    name = "ninja"
    version = "1.13.0"
    file = "ninja-1.13.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    size = 180716
    sha256 = "fb46acf6b93b8dd0322adc3a4945452a4e774b75b91293bafcc7b7f8e6517dfa"
    url = "mirror://pypi/ed/de/ninja-1.13.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"

    [[wheel]]
    name = "vllm"
    version = "0.26.0+cu130"
    file = "vllm-0.26.0+cu130-cp38-abi3-manylinux_2_28_x86_64.whl"
    size = 5
    sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    url = "mirror://pypi/01/02/vllm-0.26.0%2Bcu130-cp38-abi3-manylinux_2_28_x86_64.whl"
    "#);
}

#[test]
fn what_cannot_be_locked_is_named() {
    let refused = |python: &str, platform: &str, pylock: &str| {
        LockedRuntime::resolved(&runtime(), python, platform, pylock).unwrap_err().to_string()
    };
    let platform = "x86_64-manylinux_2_31";
    let windows_only = PYLOCK.replace("cp38-abi3-manylinux_2_28_x86_64", "cp38-abi3-win_amd64");
    assert_snapshot!(refused("3.12", platform, &windows_only), @"`vllm` has no wheel for Python 3.12 and glibc 2.31");
    let (without_vllm, _) = PYLOCK.split_once("[[packages]]\nname = \"vllm\"").unwrap();
    assert_snapshot!(refused("3.12", platform, without_vllm), @"what uv has resolved:3:8: the lock is for vLLM 0.26.0, and has no wheel of it");
    assert_snapshot!(refused("3.12", "aarch64-manylinux_2_31", PYLOCK), @"no wheels can be chosen for Python 3.12 on `aarch64-manylinux_2_31`");
    assert_snapshot!(refused("3.12", platform, "packages = 1"), @"cannot read what uv has resolved");
}

/// A folder with a profile, and a `uv` that says what the real one said.
struct Place(TempDir);

impl Place {
    fn new(uv: &str) -> Self {
        let place = Self(tempdir().unwrap());
        fs::create_dir_all(place.0.path().join("bin")).unwrap();
        let profile =
            "service = 'vllm'\n[model]\nrepo = 'a/b'\nserved-name = 'b'\n[runtime]\nvllm = '0.26.0'\n";
        fs::create_dir(place.0.path().join("profiles")).unwrap();
        fs::write(place.0.path().join("profiles/awq.toml"), profile).unwrap();
        fs::write(place.0.path().join("pylock"), PYLOCK).unwrap();
        fs::create_dir_all(place.0.path().join(ARCHIVE).parent().unwrap()).unwrap();
        fs::write(place.0.path().join(ARCHIVE), "an archive").unwrap();
        let uv_path = place.0.path().join("bin/uv");
        fs::write(&uv_path, uv.replace("DIR", place.0.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&uv_path, fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn lock(&self, arguments: &[&str]) -> Said {
        let mut command = crate::program::awqdeploy(&[&["lock", "awq", "--runtime"], arguments].concat());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.0.path().join("bin").display()));
        command.env("AWQDEPLOY_PROFILES", self.0.path().join("profiles"));
        command.env("AWQDEPLOY_ROOT", self.0.path().join("root"));
        Said::by(&mut command)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

/// Where the archive of the newest interpreter is, below the folder.
const ARCHIVE: &str =
    "mirror/20991231/cpython-3.12.99+20991231-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz";

/// Asked for interpreters it knows one. Else the last word but one is where it shall write, and the second time it has
/// another answer, if there is one.
const UV: &str = r#"#!/bin/sh
[ "$1 $2" = "--no-config --no-cache" ] && [ "$PWD" = / ] || exit 2
if [ "$3" = python ]; then
  minor=$(echo "$*" | sed 's/.*cpython-\([0-9.]*\)-linux-x86_64-gnu.*/\1/')
  echo '[{"version": "'$minor'.99", "implementation": "cpython", "variant": "default", "url":
    "file://DIR/mirror/20991231/cpython-'$minor'.99%2B20991231-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"}]'
  exit
fi
echo "$@" > DIR/asked
for word; do before=$file; file=$word; done
cp "$file" DIR/requirements
cp DIR/pylock "$before"
[ ! -e DIR/pylock-next ] || mv DIR/pylock-next DIR/pylock
"#;

/// On NixOS nothing is installed by hand, and the profiles are a path of the Nix store.
#[test]
fn where_there_is_no_uv_the_remedy_is_that_of_the_system() {
    let place = Place::new(UV);
    fs::remove_file(place.0.path().join("bin/uv")).unwrap();
    let object = place.0.path().join("nix/store/0123456789abcdfghijklmnpqrsvwxyz-profiles");
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    let lock = |profiles: &Path| {
        let mut command = crate::program::awqdeploy(&["lock", "awq", "--runtime"]);
        command.env("PATH", place.0.path().join("bin")).env("AWQDEPLOY_ROOT", place.0.path().join("root"));
        let said = Said::by(command.env("AWQDEPLOY_PROFILES", profiles));
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        said.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let profiles = place.0.path().join("profiles");
    let said = lock(&profiles);
    assert!(said.contains("install uv (`pipx install uv`"), "{said}");
    fs::rename(&profiles, &object).unwrap();
    // As `/etc/awqdeploy/profiles` is one.
    std::os::unix::fs::symlink(&object, &profiles).unwrap();
    let said = lock(&profiles);
    assert!(!said.contains("pipx"), "{said}");
    for words in [
        &*object.to_string_lossy(),
        "`services.awqdeploy.runtimes`",
        "rebuild the system",
        "`nix run .#lock`",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_runtime_is_locked_beside_the_profiles() {
    let place = Place::new(UV);
    let said = place.lock(&["--with", "transformers==5.17.0", "--until", "2026-11-23", "--json"]).document(0);
    assert_eq!(said["schema"], "awqdeploy/runtime-lock/v1");
    assert_eq!((&said["vllm"], &said["wheels"]), (&"0.26.0".into(), &2.into()));
    assert_eq!(place.read("requirements"), "vllm==0.26.0\ntransformers==5.17.0\n");
    let asked = place.read("asked");
    for words in
        ["--python-version 3.12", "--python-platform x86_64-manylinux_2_31", "--exclude-newer 2026-11-23"]
    {
        assert!(asked.contains(words), "{asked}");
    }
    let path = place.0.path().join("profiles/runtimes/vllm-0.26.0.toml");
    let text = fs::read_to_string(&path).unwrap();
    let interpreter = LockedRuntime::parse(Path::new("x"), &text).unwrap().interpreter.unwrap();
    assert_eq!((interpreter.version.as_str(), interpreter.build.as_str()), ("3.12.99", "20991231"));
    assert_eq!(interpreter.sha256, Sha256Digest::of("an archive"));
    assert_eq!(said["interpreter"]["version"], "3.12.99");
    assert_eq!(said["digest"], LockedRuntime::parse(Path::new("x"), &text).unwrap().digest().to_string());

    // The next one is for what this one is for.
    fs::copy(place.0.path().join(ARCHIVE), place.0.path().join(ARCHIVE.replace("3.12", "3.11"))).unwrap();
    fs::write(&path, text.replace("3.12", "3.11")).unwrap();
    place.lock(&[]).text();
    assert!(place.read("asked").contains("--python-version 3.11"));
}

#[test]
fn a_resolution_that_fails_changes_nothing() {
    let place = Place::new("#!/bin/sh\necho 'no solution found' >&2\nexit 1\n");
    let said = place.lock(&[]);
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    assert!(said.stderr.contains("no solution found"), "{}", said.stderr);
    assert!(!place.0.path().join("profiles/runtimes").exists());

    let said = Place::new(UV).lock(&["--with", "--index-url=x"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    let said = Place::new(UV).lock(&["--with", "a; import os"]);
    assert!(said.stderr.contains("is no requirement"), "{}", said.stderr);
}

/// A profile that takes the host's interpreter locks none.
#[test]
fn the_interpreter_of_the_host_is_not_locked() {
    let place = Place::new(UV);
    let profile = place.0.path().join("profiles/awq.toml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text + "python = 'system'\n").unwrap();
    fs::remove_file(place.0.path().join(ARCHIVE)).unwrap();
    assert_eq!(place.lock(&["--json"]).document(0)["interpreter"], serde_json::Value::Null);
    fs::write(&profile, fs::read_to_string(&profile).unwrap().replace("python = 'system'\n", "")).unwrap();
    let refused = place.lock(&[]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("cannot get the interpreter `file://"), "{}", refused.stderr);
    assert!(refused.stderr.contains("UV_PYTHON_INSTALL_MIRROR=URL"), "{}", refused.stderr);
}

type Wheel = (&'static str, &'static str, Vec<u8>);

/// An index on loopback that gives parts of files, and what uv would say of these wheels.
fn index(wheels: Vec<Wheel>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut pylock = String::new();
    let mut files = BTreeMap::new();
    for (name, version, bytes) in wheels {
        let path = format!("/packages/01/{}-{version}-py3-none-any.whl", name.replace('-', "_"));
        let (size, sha256) = (bytes.len(), Sha256Digest::of(&bytes));
        let url = format!("http://{address}{path}");
        let wheel = format!("{{ url = \"{url}\", size = {size}, hashes = {{ sha256 = \"{sha256}\" }} }}");
        let package =
            format!("[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\nwheels = [{wheel}]\n");
        pylock.push_str(&package);
        files.insert(path, bytes);
    }
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(asked) = lines.next() else { continue };
            let path = asked.split(' ').nth(1).unwrap().to_owned();
            let header = |line: String| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned);
            let range = lines.take_while(|line| !line.is_empty()).find_map(header).unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let part = &files[&path][start.parse().unwrap()..=end.parse().unwrap()];
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                part.len()
            );
            stream.write_all(&[head.as_bytes(), part].concat()).unwrap();
        }
    });
    pylock
}

fn with_vllm(more: Vec<Wheel>) -> Vec<Wheel> {
    [vec![("vllm", "0.26.0", wheel("vllm", "0.26.0", &[("vllm/__init__.py", "")]))], more].concat()
}

/// uv resolves them, and would install one or the other: one lock, two environments.
#[test]
fn wheels_that_bring_the_same_file_are_not_locked() {
    let place = Place::new(UV);
    let one = wheel("one", "1.0", &[("shared/data.json", "{}"), ("one/a.py", "")]);
    let two = wheel("two", "2.0", &[("shared/data.json", "[]"), ("two/a.py", "")]);
    let pylock = index(with_vllm(vec![("one", "1.0", one), ("two", "2.0", two)]));
    fs::write(place.0.path().join("pylock"), pylock).unwrap();
    let said = place.lock(&[]);
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    let (_, error) = said.stderr.split_once("error: ").unwrap();
    assert_snapshot!(error, @r#"
    `one 1.0` and `two 2.0` both bring `lib/python3.12/site-packages/shared/data.json`, with different content
    help: which of them would be installed is left to chance; lock versions that go together, for example `--with "two>=VERSION"`
    "#);
    assert!(!place.0.path().join("profiles/runtimes").exists());
}

/// uv takes the last release of the whole that does not ask for the part: vLLM 0.33.0 resolves so.
#[test]
fn mixed_majors_of_cuda_are_put_right() {
    let place = Place::new(UV);
    let cuda =
        |name, version, text| (name, version, wheel(name, version, &[("cuda/bindings/__init__.py", text)]));
    let bindings = || cuda("cuda-bindings", "13.5.0", "13");
    let mixed = index(with_vllm(vec![bindings(), cuda("cuda-python", "12.6.2.post1", "12")]));
    let right =
        index(with_vllm(vec![bindings(), ("cuda-python", "13.5.0", wheel("cuda-python", "13.5.0", &[]))]));
    fs::write(place.0.path().join("pylock"), mixed).unwrap();
    fs::write(place.0.path().join("pylock-next"), right).unwrap();
    let said = place.lock(&["--json"]).document(0);
    assert_eq!(said["wheels"], 3);
    assert_eq!(place.read("requirements"), "vllm==0.26.0\ncuda-python>=13\n");
    let lock = place.read("profiles/runtimes/vllm-0.26.0.toml");
    assert!(lock.contains("\"13.5.0\"") && !lock.contains("12.6.2"), "{lock}");
}

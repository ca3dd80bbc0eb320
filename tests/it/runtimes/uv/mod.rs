//! uv itself, without a network: what it may see, what it installs, and that what came is what was locked.
//!
//! `tests/real/prepare` brings uv. Where it has not run, and none is on the path, these say so and test nothing.

mod mirror;

use crate::{scratch::tempdir, skipped::skipped, stand::FORKED, wheel};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedRuntime, LockedWheel, Unlocked},
        planning::inputs::PlannedRuntime,
        problem::{Kind, Problem},
        profile::{Device, Python},
        size::ByteSize,
        store::layout::Layout,
    },
    flow::models::verify_at_start::{Known, verify_runtime},
    host::{
        os::signals::Interrupt,
        process::exec,
        runtimes::{
            self, InstallJob,
            uv::{CACHE, Uv, environment, variables},
        },
        store::Store,
    },
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Write as _, stderr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};
use tempfile::TempDir;

/// A name, a version, and files with their texts.
type Wheel<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A root, a folder of wheels in an index's place, and a real uv.
struct Place {
    folder: TempDir,
    store: Store,
    python: PathBuf,
    variables: BTreeMap<String, String>,
}

/// Where uv lies, and an interpreter of this host.
fn parts() -> Option<(PathBuf, PathBuf)> {
    let prepared = std::env::var_os("AWQDEPLOY_REAL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [prepared.join("uv/bin")].into_iter().chain(std::env::split_paths(&path));
    let uv = folders.map(|folder| folder.join("uv")).find(|uv| uv.is_file());
    let python =
        (9..20).map(|minor| PathBuf::from(format!("/usr/bin/python3.{minor}"))).find(|path| path.exists());
    let found = uv.zip(python);
    if found.is_none() {
        skipped("there is no uv, or no Python in /usr/bin (tests/real/prepare brings both)");
    }
    found
}

impl Place {
    fn new() -> Option<Self> {
        let (uv, python) = parts()?;
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let variables = [
            ("PATH", format!("{}:/usr/bin:/bin", uv.parent().unwrap().display())),
            ("HOME", at("home")),
            ("UV_FIND_LINKS", at("wheels")),
            ("UV_OFFLINE", "1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        let store = Store::new(Layout::new(folder.path().join("root")));
        Some(Self { folder, store, python, variables })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `3.11`.
    fn minor(&self) -> String {
        self.python.to_str().unwrap().trim_start_matches("/usr/bin/python").to_owned()
    }

    /// A lock of vLLM and of these wheels, which the index has.
    fn lock(&self, wheels: &[Wheel<'_>]) -> LockedRuntime {
        let vllm = ("vllm", "0.26.0", &[("vllm/__init__.py", "VERSION = 1\n"), ("vllm/py.typed", "")][..]);
        let all = [&[vllm][..], wheels].concat();
        let wheels = all.iter().map(|(name, version, files)| {
            let path = wheel::write(&self.path("wheels"), name, version, files);
            let bytes = fs::read(&path).unwrap();
            LockedWheel {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                file: path.file_name().unwrap().to_str().unwrap().to_owned(),
                size: ByteSize(bytes.len() as u64),
                sha256: Sha256Digest::of(&bytes),
                url: None,
            }
        });
        LockedRuntime {
            vllm: "0.26.0".to_owned(),
            device: Device::Cpu,
            python: self.minor(),
            platform: "x86_64-manylinux_2_31".to_owned(),
            interpreter: None,
            wheels: wheels.collect(),
        }
    }

    fn system(&self) -> Interpreter {
        Interpreter::System { version: self.minor(), why: Unlocked::Chosen }
    }

    /// Installs it as a deployment does. Returns the plan's part of it.
    fn install(&self, lock: &LockedRuntime, interpreter: &Interpreter) -> Result<PlannedRuntime, Problem> {
        let name = lock.installed_for(interpreter);
        let uv = &Uv::installing(self.store.layout(), self.variables.clone())?;
        let writer = self.store.writer(FORKED, "test")?;
        let order = InstallJob { name, runtime: lock, interpreter, uv, interrupt: &Interrupt::default() };
        runtimes::install(&writer, &order, &mut |_| ())?;
        Ok(PlannedRuntime {
            vllm: lock.vllm.clone(),
            digest: Some(name),
            command: runtimes::command(&self.store.layout().runtime(name)),
            python: Some(interpreter.clone()),
            needs: Vec::new(),
        })
    }

    fn prove(&self, runtime: &PlannedRuntime) -> Result<(), Problem> {
        verify_runtime(&self.store, runtime, Known::Stored, &Interrupt::default(), &mut |_, _| ()).map(drop)
    }

    fn site(&self, runtime: &PlannedRuntime) -> PathBuf {
        let folder = self.store.layout().runtime(runtime.digest.unwrap());
        folder.join(format!("lib/python{}/site-packages", self.minor()))
    }

    /// Puts a program in uv's place that does something more than the real one.
    fn wrap(&mut self, more: &str) {
        let real = self.variables["PATH"].split(':').next().unwrap().to_owned();
        let script = format!("#!/bin/sh\nset -e\n{real}/uv \"$@\"\n{more}\n");
        fs::create_dir_all(self.path("bin")).unwrap();
        fs::write(self.path("bin/uv"), script).unwrap();
        fs::set_permissions(self.path("bin/uv"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), self.variables["PATH"]);
        self.variables.insert("PATH".to_owned(), path);
    }
}

#[test]
fn uv_sees_no_variable_but_those_that_are_meant_for_it() {
    let given = [
        ("PATH", "/usr/bin"),
        ("HTTPS_PROXY", "p"),
        ("UV_DEFAULT_INDEX", "i"),
        ("UV_INDEX_INTERNAL_PASSWORD", "s"),
        ("UV_PYTHON_INSTALL_MIRROR", "m"),
        ("UV_CONFIG_FILE", "/tmp/uv.toml"),
        ("UV_CACHE_DIR", "/tmp/cache"),
        ("UV_LINK_MODE", "symlink"),
        ("UV_NO_VERIFY_HASHES", "1"),
        ("UV_OVERRIDE", "/tmp/o"),
        ("UV_INSECURE_HOST", "h"),
        ("UV_PYTHON_DOWNLOADS_JSON_URL", "/tmp/p.json"),
        ("UV_PYTHON_CACHE_DIR", "/tmp/p"),
        ("UV_WORKING_DIR", "/tmp"),
        ("PIP_INDEX_URL", "i"),
        ("PYTHONPATH", "/tmp"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("XDG_CONFIG_HOME", "/tmp"),
        ("VIRTUAL_ENV", "/tmp/v"),
        ("HF_TOKEN", "secret"),
    ];
    let seen = environment(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    let meant =
        ["HTTPS_PROXY", "PATH", "UV_DEFAULT_INDEX", "UV_INDEX_INTERNAL_PASSWORD", "UV_PYTHON_INSTALL_MIRROR"];
    assert_eq!(names, meant);
}

#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn wheels_are_installed_recorded_and_nothing_of_uv_stays() {
    let Some(place) = Place::new() else { return };
    let lock = place.lock(&[("helper", "1.0", &[("helper.py", "x = 1\n")])]);
    let runtime = place.install(&lock, &place.system()).unwrap();
    place.prove(&runtime).unwrap();
    let site = place.site(&runtime);
    assert_eq!(fs::read_to_string(site.join("helper.py")).unwrap(), "x = 1\n");
    let cached = format!("__pycache__/helper.cpython-{}.pyc", place.minor().replace('.', ""));
    // Magic, then the flags: by hash, and unchecked.
    assert_eq!(fs::read(site.join(cached)).unwrap()[4..8], [1, 0, 0, 0]);
    assert!(!place.store.layout().staging().join("uv").exists());
    fs::write(site.join("helper.py"), "x = 2\n").unwrap();
    assert!(place.prove(&runtime).is_err());
    // In place of what is damaged.
    let again = place.install(&lock, &place.system()).unwrap();
    assert_eq!(again, runtime);
    place.prove(&runtime).unwrap();
}

/// Whoever deploys is root, and all of these run in the environment's own Python: two at its start, one in whatever
/// compiles there.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn nothing_of_a_wheel_runs_while_it_is_installed() {
    let Some(place) = Place::new() else { return };
    let ran = place.path("ran");
    let write = format!("import os; os.close(os.open({ran:?}, os.O_CREAT | os.O_WRONLY))\n");
    let lock = place.lock(&[(
        "helper",
        "1.0",
        &[
            ("helper.pth", &write),
            ("sitecustomize.py", &write),
            ("compileall.py", &write),
            ("helper.py", "x = '\\d'\n"),
            ("template.py", "{{ not Python }}; def\n"),
        ],
    )]);
    let runtime = place.install(&lock, &place.system()).unwrap();
    assert!(!ran.exists(), "a wheel's own code ran as whoever installed it");
    place.prove(&runtime).unwrap();
    // All that is Python was compiled all the same.
    let tag = format!(".cpython-{}.pyc", place.minor().replace('.', ""));
    let cached = fs::read_dir(place.site(&runtime).join("__pycache__")).unwrap();
    let mut cached: Vec<_> = cached.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    cached.sort();
    assert_eq!(cached, ["compileall", "helper", "sitecustomize"].map(|name| format!("{name}{tag}")));

    // And these would have run.
    let environment = place.store.layout().runtime(runtime.digest.unwrap());
    let python = environment.join("bin/python").display().to_string();
    exec::run(&python, &["-c", ""], &BTreeMap::new()).unwrap().success().unwrap();
    assert!(ran.exists());
}

/// The attack that was tried: a wheel that lay unpacked in uv's cache was altered, and was installed in spite of its
/// hash. And a configuration in a folder that somebody else can write to says where things come from.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn neither_a_cache_nor_a_configuration_of_somebody_else_is_taken() {
    let Some(mut place) = Place::new() else { return };
    let lock = place.lock(&[]);
    place.variables.insert(CACHE.to_owned(), place.path("cache").display().to_string());
    fs::create_dir(place.path("cache")).unwrap();
    place.install(&lock, &place.system()).unwrap();
    let mut altered = 0;
    alter(&place.path("cache"), &mut altered);
    assert!(altered > 0, "uv keeps wheels unpacked");

    // As the cache of whoever calls: it is not looked at.
    place.variables.remove(CACHE);
    for name in ["UV_CACHE_DIR", "XDG_CACHE_HOME"] {
        place.variables.insert(name.to_owned(), place.path("cache").display().to_string());
    }
    // uv would end at once, if it read this.
    fs::create_dir_all(place.path("home/.config/uv")).unwrap();
    fs::write(place.path("home/.config/uv/uv.toml"), "required-version = \"==0.0.1\"\n").unwrap();
    place
        .variables
        .insert("UV_CONFIG_FILE".to_owned(), place.path("home/.config/uv/uv.toml").display().to_string());
    let runtime = place.install(&lock, &place.system()).unwrap();
    let installed = fs::read_to_string(place.site(&runtime).join("vllm/__init__.py")).unwrap();
    assert_eq!(installed, "VERSION = 1\n");

    // As one that is named on purpose: the wheel's own record tells.
    place.variables.insert(CACHE.to_owned(), place.path("cache").display().to_string());
    let refused = place.install(&lock, &place.system()).unwrap_err();
    assert!(refused.to_string().ends_with("vllm/__init__.py` is not what its wheel says"), "{refused}");
    // And one that others can write to is not taken at all.
    fs::set_permissions(place.path("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = place.install(&lock, &place.system()).unwrap_err();
    assert_eq!(refused.kind, Kind::Refused, "{refused}");
    place.prove(&runtime).unwrap();
}

/// Every module of vLLM below a folder says something else.
fn alter(folder: &Path, altered: &mut u32) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            alter(&path, altered);
        } else if path.ends_with("vllm/__init__.py") {
            fs::write(&path, "VERSION = 'e'").unwrap();
            *altered += 1;
        }
    }
}

#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn two_wheels_that_bring_one_file_are_not_installed() {
    let Some(place) = Place::new() else { return };
    let lock = place.lock(&[
        ("cuda-bindings", "13.5.0", &[("cuda/bindings/__init__.py", "13"), ("build_backend.py", "13")]),
        ("cuda-python", "12.6.2.post1", &[("cuda/bindings/__init__.py", "12"), ("build_backend.py", "12")]),
    ]);
    let refused = place.install(&lock, &place.system()).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified);
    let what = refused.to_string();
    assert!(what.contains("cuda-bindings 13.5.0") && what.contains("cuda-python 12.6.2.post1"), "{what}");
    assert!(what.contains("cuda/bindings/__init__.py"), "{what}");
    assert!(!place.store.layout().runtime(lock.installed_for(&place.system())).exists());

    // A file that nothing imports is no reason; it is left out, so that each installation is the same.
    let lock = place.lock(&[
        ("one", "1", &[("build_backend.py", "one"), ("one.py", "")]),
        ("two", "2", &[("build_backend.py", "two"), ("two.py", "")]),
    ]);
    let runtime = place.install(&lock, &place.system()).unwrap();
    assert!(!place.site(&runtime).join("build_backend.py").exists());
    place.prove(&runtime).unwrap();
}

/// There are such wheels: libraries were put into them after their `RECORD` was written. The archive is the authority.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn a_wheel_that_is_wrong_about_itself_is_unpacked_twice() {
    let Some(place) = Place::new() else { return };
    let mut lock =
        place.lock(&[("py-codec", "2.1.0", &[("codec/lib.so", "patched"), ("codec/__init__.py", "")])]);
    let files = [("codec/lib.so", "patched"), ("codec/__init__.py", "")];
    let bytes =
        wheel::recorded("py-codec", "2.1.0", &files, |text| if text == "patched" { "built" } else { text });
    fs::write(place.path("wheels").join(&lock.wheels[1].file), &bytes).unwrap();
    (lock.wheels[1].sha256, lock.wheels[1].size) = (Sha256Digest::of(&bytes), ByteSize(bytes.len() as u64));
    let runtime = place.install(&lock, &place.system()).unwrap();
    assert_eq!(fs::read_to_string(place.site(&runtime).join("codec/lib.so")).unwrap(), "patched");
    place.prove(&runtime).unwrap();
}

/// Whatever it was: a disk, a bug, a hostile uv.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn what_uv_leaves_must_be_what_the_wheels_say() {
    for (more, why) in [
        (
            "[ \"$4\" != pip ] || find / -xdev -path '*staging*/env/*vllm/__init__.py' -exec sh -c 'echo x > $1' - {} \\; 2>/dev/null",
            "is not what its wheel says",
        ),
        (
            "[ \"$4\" != pip ] || for d in SITE; do echo import evil > $d/evil.pth; done",
            "evil.pth` was installed by no wheel",
        ),
    ] {
        let Some(mut place) = Place::new() else { return };
        let site = format!("{}/*/env/lib/python*/site-packages", place.store.layout().staging().display());
        let more =
            more.replace("SITE", &site).replace("find /", &format!("find {}", place.folder.path().display()));
        place.wrap(&more);
        let lock = place.lock(&[]);
        let refused = place.install(&lock, &place.system()).unwrap_err();
        assert!(refused.to_string().ends_with(why), "{refused}");
        assert!(!place.store.layout().staging().join("uv").exists(), "what was unpacked is thrown away");
    }
}

/// A whole lock, from the index that uv is set up with: gigabytes. `AWQDEPLOY_LOCK` names it; it is installed below
/// `AWQDEPLOY_LOCK_ROOT`, and proven there. What it took is told.
#[test]
#[ignore = "downloads gigabytes: name a lock in AWQDEPLOY_LOCK"]
fn a_whole_lock_is_installed_and_proven() {
    let (Some(path), Some(root)) =
        (std::env::var_os("AWQDEPLOY_LOCK"), std::env::var_os("AWQDEPLOY_LOCK_ROOT"))
    else {
        panic!("name a lock in AWQDEPLOY_LOCK, and a folder in AWQDEPLOY_LOCK_ROOT");
    };
    let text = fs::read_to_string(&path).unwrap();
    let lock = LockedRuntime::parse(Path::new(&path), &text).unwrap();
    let interpreter = Interpreter::of(&lock, &Python::Locked);
    let name = lock.installed_for(&interpreter);
    let store = Store::new(Layout::new(PathBuf::from(root)));
    let mut variables: BTreeMap<String, String> = variables().collect();
    let (uv, _) = parts().expect("there is a uv");
    let path = format!("{}:{}", uv.parent().unwrap().display(), variables["PATH"]);
    variables.insert("PATH".to_owned(), path);
    let uv = &Uv::installing(store.layout(), variables).unwrap();
    let interrupt = Interrupt::default();
    let began = Instant::now();
    let writer = store.writer(FORKED, "test").unwrap();
    let order = InstallJob { name, runtime: &lock, interpreter: &interpreter, uv, interrupt: &interrupt };
    runtimes::install(&writer, &order, &mut |line| drop(writeln!(stderr(), "{line}"))).unwrap();
    let installed = began.elapsed();
    let runtime = PlannedRuntime {
        vllm: lock.vllm.clone(),
        digest: Some(name),
        command: runtimes::command(&store.layout().runtime(name)),
        python: Some(interpreter),
        needs: Vec::new(),
    };
    let timed = |known| {
        let began = Instant::now();
        verify_runtime(&store, &runtime, known, &interrupt, &mut |_, _| ()).unwrap();
        began.elapsed()
    };
    let (stamps, all) = (timed(Known::Stored), timed(Known::Nothing));
    let manifest = store.manifest(name).unwrap().unwrap();
    let _ = writeln!(
        stderr(),
        "vLLM {}: {} wheels, {} files, {}; manifest {}; installed in {installed:.1?}, known again in {stamps:.3?}, read in {all:.1?}",
        lock.vllm,
        lock.wheels.len(),
        manifest.entries().len(),
        manifest.size(),
        ByteSize(manifest.to_text().len() as u64),
    );
}

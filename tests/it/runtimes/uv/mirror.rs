//! Interpreters by the hash of their archive, from a mirror on the local disk.

use super::Place;
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedInterpreter, LockedRuntime},
        problem::Kind,
    },
    host::{
        os::signals::Interrupt,
        runtimes::{interpreters, uv::Uv},
    },
};
use flate2::{Compression, write::GzEncoder};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A mirror on the local disk that has one build: this host's own interpreter, as it finds its library.
fn mirror(place: &Place, build: &str, version: &str) -> PathBuf {
    let file = format!("cpython-{version}+{build}-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz");
    let folder = place.path("mirror").join(build);
    fs::create_dir_all(&folder).unwrap();
    let archive = fs::File::create(folder.join(&file)).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(archive, Compression::fast()));
    let minor = place.minor();
    tar.append_path_with_name(fs::canonicalize(&place.python).unwrap(), format!("python/bin/python{minor}"))
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "python/bin/python3", format!("python{minor}")).unwrap();
    let text = b"# of this build\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("python/lib/python{minor}/note.py"), &text[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    folder.join(file)
}

fn locked_build(archive: &Path, build: &str, version: &str) -> Interpreter {
    Interpreter::Locked(LockedInterpreter {
        version: version.to_owned(),
        build: build.to_owned(),
        file: archive.file_name().unwrap().to_str().unwrap().to_owned(),
        sha256: Sha256Digest::of(fs::read(archive).unwrap()),
    })
}

#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn the_locked_interpreter_comes_from_a_mirror_and_is_a_part_of_the_generation() {
    let Some(mut place) = Place::new() else { return };
    let (build, version) = ("20991231", format!("{}.99", place.minor()));
    let archive = mirror(&place, build, &version);
    let mirrored = format!("file://{}", place.path("mirror").display());
    place.variables.insert("UV_PYTHON_INSTALL_MIRROR".to_owned(), mirrored);
    let lock = place.lock(&[]);
    let python = locked_build(&archive, build, &version);
    let runtime = place.install(&lock, &python).unwrap();
    place.prove(&runtime).unwrap();
    let name = python.locked().unwrap();
    let folder = place.store.layout().python(name);
    let program = fs::canonicalize(&runtime.command[0]).unwrap();
    assert_eq!(
        program,
        fs::canonicalize(folder.join("bin").join(format!("python{}", place.minor()))).unwrap()
    );
    assert_ne!(
        runtime.digest,
        Some(lock.installed_for(&place.system())),
        "another runtime than on the host's"
    );
    assert_eq!(
        fs::read_dir(folder.join(format!("lib/python{}/__pycache__", place.minor()))).unwrap().count(),
        1
    );

    // The file changes under the generation; it comes again, in place of what is damaged; it vanishes.
    let note = folder.join(format!("lib/python{}/note.py", place.minor()));
    fs::write(&note, "# of that build\n").unwrap();
    let refused = place.prove(&runtime).unwrap_err().to_string();
    assert!(refused.starts_with("the interpreter is not what was installed: "), "{refused}");
    place.install(&lock, &python).unwrap();
    place.prove(&runtime).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(place.prove(&runtime).unwrap_err().to_string().ends_with("is gone"));

    // A mirror that has another file under that name.
    fs::write(&archive, "another").unwrap();
    let refused = place.install(&lock, &python).unwrap_err();
    assert!(refused.to_string().contains("is not what was locked: its sha256 is "), "{refused}");
    assert_eq!(refused.kind, Kind::Unverified);
    fs::remove_file(&archive).unwrap();
    let refused = place.install(&lock, &python).unwrap_err();
    assert!(refused.to_string().starts_with("cannot get the interpreter `file://"), "{refused}");
    assert!(refused.help.unwrap().contains("UV_PYTHON_INSTALL_MIRROR"));
}

/// uv says which build is the newest; the lock has the hash of its archive.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn the_newest_build_is_locked_by_the_hash_of_its_archive() {
    let Some(mut place) = Place::new() else { return };
    place
        .variables
        .insert("UV_PYTHON_INSTALL_MIRROR".to_owned(), format!("file://{}", place.path("mirror").display()));
    let uv = Uv::asking(place.variables.clone());
    let interrupt = Interrupt::default();
    let missing = interpreters::newest(&uv, "3.12", &interrupt).unwrap_err().to_string();
    // The archive is asked for where uv says that it is.
    let path = missing.split('`').nth(1).unwrap().trim_start_matches("file://").replace("%2B", "+");
    fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
    fs::write(&path, "an archive").unwrap();
    let locked = interpreters::newest(&uv, "3.12", &interrupt).unwrap();
    assert_eq!(locked.sha256, Sha256Digest::of("an archive"));
    assert!(locked.version.starts_with("3.12."), "{locked:?}");
    assert_eq!(Path::new(&path).file_name().unwrap().to_str(), Some(locked.file.as_str()));
    assert!(path.contains(&format!("/{}/", locked.build)), "{path}");
    // The lock that is written of it can be read.
    let lock = LockedRuntime { python: "3.12".to_owned(), interpreter: Some(locked), ..place.lock(&[]) };
    assert_eq!(LockedRuntime::parse(Path::new("x"), &lock.to_toml()).unwrap().interpreter, lock.interpreter);
}

/// A link out of an archive must lead nowhere.
#[test]
#[ignore = "needs uv and a Python: tests/real/all"]
fn an_archive_that_leads_out_writes_nothing_outside() {
    let Some(mut place) = Place::new() else { return };
    let (build, version) = ("20991231", format!("{}.99", place.minor()));
    let archive = mirror(&place, build, &version);
    let file = fs::File::create(&archive).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "python", place.path("outside")).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    tar.append_data(&mut header, format!("python/bin/python{}", place.minor()), &b"evil"[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    fs::create_dir(place.path("outside")).unwrap();
    place
        .variables
        .insert("UV_PYTHON_INSTALL_MIRROR".to_owned(), format!("file://{}", place.path("mirror").display()));
    let python = locked_build(&archive, build, &version);
    let refused = place.install(&place.lock(&[]), &python).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified, "{refused}");
    assert_eq!(fs::read_dir(place.path("outside")).unwrap().count(), 0);
}

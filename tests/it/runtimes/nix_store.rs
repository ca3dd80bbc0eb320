//! Parts in a Nix store: found, held against the collector, and never a reason to go on without it.
//!
//! The stores here are folders of the test's own; `tests/nix/check deploy` has a real Nix and its collector.

use crate::{scratch::tempdir, stand::FORKED};
use awqdeploy::{
    domain::{digest::Sha256Digest, problem::Kind, service::unit::Unit, store::layout::Layout},
    host::{
        profiles::ProfileLibrary,
        runtimes::{self, Built},
        store::{Store, nix_store::StorePath},
        systemd::unit_folder::UnitFolder,
    },
};
use insta::assert_snapshot;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const OBJECT: &str = "0123456789abcdfghijklmnpqrsvwxyz-vllm-0.26.0-cuda";

/// A folder with a Nix store that has one object, and a root of awqdeploy.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempdir().unwrap());
        fs::create_dir_all(place.object().join("bin")).unwrap();
        fs::write(place.object().join("bin/awqdeploy"), "").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn object(&self) -> PathBuf {
        self.path("nix/store").join(OBJECT)
    }

    /// Where the roots lead that Nix's collector would find.
    fn roots(&self) -> Vec<PathBuf> {
        let Ok(roots) = fs::read_dir(self.path("nix/var/nix/gcroots/auto")) else { return Vec::new() };
        roots.map(|root| fs::read_link(root.unwrap().path()).unwrap()).collect()
    }

    fn plain(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn a_driver_that_nix_would_not_find_is_told_before_anything_is_built_on_it() {
    let place = Place::new();
    let driver = place.path("driver");
    let refused = |place: &Place| {
        let problem = runtimes::verify_driver(&driver).unwrap_err();
        assert_eq!(problem.kind, Kind::Refused);
        place.plain(&problem.to_string())
    };
    assert_snapshot!(refused(&place), @"vLLM from Nix finds the NVIDIA driver in `DIR/driver` alone, and there is no `DIR/driver/libcuda.so.1`");
    fs::create_dir(&driver).unwrap();
    fs::write(driver.join("libcuda.so.1"), "").unwrap();
    // A link of tmpfiles.d that leads nowhere: the driver is not installed.
    symlink("/nowhere/libnvidia-ml.so.1", driver.join("libnvidia-ml.so.1")).unwrap();
    assert_snapshot!(refused(&place), @"vLLM from Nix finds the NVIDIA driver in `DIR/driver` alone, and there is no `DIR/driver/libnvidia-ml.so.1`");
    fs::remove_file(driver.join("libnvidia-ml.so.1")).unwrap();
    fs::write(driver.join("libnvidia-ml.so.1"), "").unwrap();
    runtimes::verify_driver(&driver).unwrap();
}

#[test]
fn a_folder_of_profiles_that_a_system_was_built_with_is_not_written_to() {
    let place = Place::new();
    let etc = place.path("etc");
    symlink(place.object(), &etc).unwrap();
    let problem =
        ProfileLibrary::at(etc).save_profile("awq", "", |_, _| panic!("it was written to")).unwrap_err();
    assert_eq!(problem.kind, Kind::Usage);
    assert_snapshot!(place.plain(&problem.to_string()), @"`DIR/etc` is in the Nix store, where nothing is written");
    assert!(problem.help.unwrap().contains("beside your configuration"));
}

#[test]
fn store_paths_are_told_from_others() {
    let path = |text: &str| StorePath::of(Path::new(text)).map(|path| path.path().display().to_string());
    let object = format!("/nix/store/{OBJECT}");
    assert_eq!(path(&object), Some(object.clone()));
    assert_eq!(path(&format!("{object}/bin/python")), Some(object.clone()));
    assert_eq!(path(&format!("/chroot{object}/bin")), Some(format!("/chroot{object}")));
    for other in [
        "/nix/store",
        "/nix/store/",
        "/nix/store/.links/0123456789abcdfghijklmnpqrsvwxyz-x",
        // `e` is no digit of Nix.
        "/nix/store/e123456789abcdfghijklmnpqrsvwxyz-x",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-",
        "/store/0123456789abcdfghijklmnpqrsvwxyz-x",
        "/usr/bin/python3",
        "",
    ] {
        assert_eq!(path(other), None, "{other}");
    }
}

#[test]
fn what_is_held_has_a_root_that_leads_through_our_link() {
    let place = Place::new();
    let held = StorePath::of(&place.object()).unwrap();
    let link = place.path("root/store/runtimes/one");
    held.hold(&link).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), place.object());
    assert_eq!(place.roots(), std::slice::from_ref(&link));
    // Again, and after somebody removed the root.
    held.hold(&link).unwrap();
    fs::remove_dir_all(place.path("nix/var")).unwrap();
    held.hold(&link).unwrap();
    assert_eq!(place.roots(), std::slice::from_ref(&link));
    // Each link has a root of its own: the first may go.
    let other = place.path("root/store/runtimes/two");
    held.hold(&other).unwrap();
    fs::remove_file(&link).unwrap();
    assert_eq!(place.roots().len(), 2);
    assert!(place.roots().contains(&other));
}

#[test]
fn what_is_gone_or_cannot_be_held_is_refused() {
    let place = Place::new();
    let held = StorePath::of(&place.object()).unwrap();
    fs::remove_dir_all(place.object()).unwrap();
    let problem = held.hold(&place.path("link")).unwrap_err();
    assert_eq!(problem.kind, Kind::Unverified);
    assert!(problem.what.ends_with("is gone from the Nix store"), "{}", problem.what);

    fs::create_dir_all(place.object()).unwrap();
    fs::remove_dir_all(place.path("nix/var")).unwrap();
    // In the place of the folder for roots: nothing can be made in it, not even by root.
    fs::write(place.path("nix/var"), "").unwrap();
    let problem = held.hold(&place.path("link")).unwrap_err();
    assert_eq!(problem.kind, Kind::Unverified);
    assert!(problem.what.starts_with("Nix cannot be told to keep"), "{}", problem.what);
    assert!(problem.help.unwrap().contains("would take the rollback target"));
}

#[test]
fn a_runtime_is_taken_by_the_digest_of_its_lock() {
    let place = Place::new();
    let lock = Sha256Digest::of("lock");
    let folder = place.path("runtimes");
    fs::create_dir(&folder).unwrap();
    let missing = runtimes::built(&folder, lock).unwrap_err();
    assert_eq!(missing.kind, Kind::Unverified);
    assert_snapshot!(place.plain(&missing.to_string()), @"there is no vLLM for the lock 0c030586945f in `DIR/runtimes`");

    symlink(place.path(""), folder.join(lock.to_string())).unwrap();
    let elsewhere = runtimes::built(&folder, lock).unwrap_err();
    assert_eq!(elsewhere.kind, Kind::Usage);
    fs::remove_file(folder.join(lock.to_string())).unwrap();

    symlink(place.object(), folder.join(lock.to_string())).unwrap();
    let Built { path, digest } = runtimes::built(&folder, lock).unwrap();
    assert_eq!(path.path(), place.object());
    assert_ne!(digest, lock, "an environment is more than its wheels");

    let store = Store::new(Layout::new(place.path("root")));
    let writer = store.writer(FORKED, "test").unwrap();
    runtimes::adopt(&writer, &Built { path, digest }).unwrap();
    let link = store.layout().runtime(digest);
    assert_eq!(fs::read_link(&link).unwrap(), place.object());
    assert_eq!(place.roots(), [link]);
}

fn unit(text: &str) -> Unit {
    Unit { name: "vllm.service".to_owned(), text: format!("# Made by awqdeploy\n{text}"), replaces: None }
}

/// `/etc/systemd/system` as NixOS has it: a link into the store.
fn declared(place: &Place, declares: &[&Unit]) -> UnitFolder {
    let units = place.object();
    for unit in declares {
        fs::write(units.join(&unit.name), &unit.text).unwrap();
    }
    symlink(&units, place.path("units")).unwrap();
    UnitFolder::at(&place.path("units"), &place.path("control"))
}

fn want(place: &Place, unit: &Unit) {
    let wants = place.object().join("multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    fs::write(wants.join(&unit.name), "").unwrap();
}

#[test]
fn a_plain_folder_gets_the_units() {
    let place = Place::new();
    fs::create_dir(place.path("units")).unwrap();
    let folder = UnitFolder::at(&place.path("units"), &place.path("control"));
    assert!(folder.enables());
    folder.claim(&[unit("one")]).unwrap();
    assert!(folder.place(&[unit("one")]).unwrap());
    assert!(!folder.place(&[unit("one")]).unwrap(), "written again without need");
    assert!(folder.place(&[unit("two")]).unwrap());
    assert!(!place.path("control").exists());
    fs::write(place.path("units/vllm.service"), "[Service]\n").unwrap();
    assert_eq!(folder.claim(&[unit("two")]).unwrap_err().kind, Kind::Refused);
}

#[test]
fn nixos_keeps_its_units_and_what_deviates_lies_beside_them() {
    let place = Place::new();
    let active = unit("active");
    let folder = declared(&place, &[&active]);
    want(&place, &active);
    assert!(!folder.enables(), "NixOS declares what is enabled");
    folder.claim(std::slice::from_ref(&active)).unwrap();

    assert!(!folder.place(std::slice::from_ref(&active)).unwrap(), "what is declared needs nothing");
    assert!(folder.place(&[unit("returned to")]).unwrap());
    let control = place.path("control/vllm.service");
    assert_eq!(fs::read_to_string(&control).unwrap(), unit("returned to").text);
    assert_eq!(fs::read_to_string(place.path("units/vllm.service")).unwrap(), active.text);
    // Both agree again.
    assert!(folder.place(std::slice::from_ref(&active)).unwrap());
    assert!(!control.exists());
}

#[test]
fn nixos_without_the_module_is_refused_before_anything_stops() {
    let place = Place::new();
    let folder = declared(&place, &[]);
    let problem = folder.claim(&[unit("any")]).unwrap_err();
    assert_eq!(problem.kind, Kind::Refused);
    assert_snapshot!(place.plain(&problem.to_string()), @"NixOS keeps `DIR/units` read-only, and does not start `vllm.service`");
    assert!(problem.help.unwrap().contains("services.awqdeploy"));
}

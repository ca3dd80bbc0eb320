//! `export`: a plain folder wherever it is asked for, and nothing half-made whatever ends it.

use super::commands::Site;
use crate::{
    program::{Said, awqdeploy},
    skipped::skipped,
    store::flip,
};
use awqdeploy::{
    domain::problem::Kind,
    host::{
        models::{self, Sharing},
        os::{fs::names, signals::Interrupt},
    },
};
use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

#[test]
fn an_export_is_a_plain_folder() {
    let site = Site::new();
    let stored = site.take_in();
    let to = site.dir.path().join("out/awq");
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let to_text = to.to_str().unwrap();
    let said = site.run(&["export", "awq", to_text]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for name in ["config.json", "model.safetensors"] {
        assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(site.source().join(name)).unwrap());
        assert!(!fs::symlink_metadata(to.join(name)).unwrap().file_type().is_symlink());
        assert!(!fs::metadata(to.join(name)).unwrap().file_type().is_block_device());
    }
    // The links of an export are no reason to read the model again.
    let cache = site.store().hash_cache().unwrap();
    let checked = models::verify::stored(&stored, &site.locked(), &cache, &Interrupt::default(), &mut |_| ());
    assert_eq!(checked.unwrap().read.0, 0);

    assert_eq!(site.run(&["export", "awq", to_text]).code, Some(2), "it would overwrite what is there");
    flip(&stored.join("config.json"), 0);
    let other = site.dir.path().join("out/other");
    assert_eq!(site.run(&["export", "awq", other.to_str().unwrap()]).code, Some(4));
    assert!(!other.exists());
}

/// An export puts its files where it was told to, and touches nothing else there.
#[test]
fn an_export_goes_into_empty_folders_of_any_kind_and_spares_the_rest() {
    let site = Site::new();
    let stored = site.take_in();
    let out = site.dir.path().join("out");
    for folder in ["empty", "here", "behind", ".keep.new"] {
        fs::create_dir_all(out.join(folder)).unwrap();
    }
    symlink(out.join("behind"), out.join("link")).unwrap();
    fs::write(out.join(".keep.new/precious"), "x").unwrap();
    let export = |folder: &Path, words: &[&str]| {
        let mut command = awqdeploy(&[&["export", "awq"], words].concat());
        command.env("AWQDEPLOY_ROOT", site.dir.path().join("root")).current_dir(folder);
        Said::by(command.env("AWQDEPLOY_PROFILES", site.dir.path().join("profiles")))
    };
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let weights = inode(&stored.join("model.safetensors"));
    for (from, words, lies_in, shared) in [
        (&out, &["keep"][..], "keep", true),
        (&out, &["empty"][..], "empty", true),
        (&out.join("here"), &["."][..], "here", true),
        (&out, &["link"][..], "behind", true),
        (&out, &["copy", "--copy"][..], "copy", false),
    ] {
        let said = export(from, words);
        assert_eq!(said.code, Some(0), "{words:?}: {}", said.stderr);
        let told = format!("{}{}", said.stdout, said.stderr).contains("the store's own files");
        let same = inode(&out.join(lies_in).join("model.safetensors")) == weights;
        assert_eq!((told, same), (shared, shared), "{words:?}");
        assert_eq!(export(from, words).code, Some(2), "{words:?}: it would overwrite what is there");
    }
    assert!(fs::symlink_metadata(out.join("link")).unwrap().is_symlink());
    assert_eq!(fs::read(out.join(".keep.new/precious")).unwrap(), b"x");
    for inside in [stored, site.store().layout().models().join("mine")] {
        assert_eq!(export(&out, &[inside.to_str().unwrap()]).code, Some(2));
    }
    let mut left = names(&out).unwrap();
    left.sort();
    assert_eq!(left, [".keep.new", "behind", "copy", "empty", "here", "keep", "link"]);
}

/// Whatever is below: the folder stays, and holds the model or nothing.
#[test]
fn an_export_fills_a_mount_point_or_leaves_it_empty() {
    let site = Site::new();
    site.take_in();
    for (room, held) in [("40m", &["config.json", "model.safetensors"][..]), ("8m", &[])] {
        let inner = format!(
            "mkdir -p \"$1\" && mount -t tmpfs -o size={room} tmpfs \"$1\" || exit 77; \"$2\" export awq \"$1\" > /dev/null; \
             echo $? $(ls -A \"$1\")"
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &inner, "sh"]);
        command.arg(site.dir.path().join("mounted"));
        let Some(output) = with_program(&site, &mut command) else { return };
        let said = text(&output.stdout);
        let mut said = said.split_whitespace();
        assert_eq!(said.next() == Some("0"), !held.is_empty(), "{}", text(&output.stderr));
        assert!(said.eq(held.iter().copied()), "{}", text(&output.stdout));
    }
}

/// NFS, 9p and older ZFS know no rename with conditions: the kernel answers EINVAL. Here a filter of system calls does.
#[test]
fn an_export_needs_no_rename_with_conditions() {
    let numbers = match std::env::consts::ARCH {
        "x86_64" => (157, 316),
        "aarch64" => (167, 276),
        _ => return skipped("the numbers of this machine's system calls are not known"),
    };
    let filter = format!(
        "my @rules = ([0x20, 0, 0, 0], [0x15, 0, 3, {renameat2}], [0x20, 0, 0, 48], [0x15, 1, 0, 0], \
         [0x06, 0, 0, 0x00050016], [0x06, 0, 0, 0x7fff0000]); \
         my $code = join '', map {{ pack 'S C C L', @$_ }} @rules; my $program = pack 'S x6 P', scalar @rules, $code; \
         syscall({prctl}, 38, 1, 0, 0, 0) == 0 and syscall({prctl}, 22, 2, $program) == 0 or exit 77; \
         exec $ARGV[1], 'export', 'awq', $ARGV[0]",
        prctl = numbers.0,
        renameat2 = numbers.1
    );
    let site = Site::new();
    site.take_in();
    let to = site.dir.path().join("out");
    let mut command = Command::new("perl");
    command.args(["-e", &filter]).arg(&to);
    let Some(output) = with_program(&site, &mut command) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read(to.join("config.json")).unwrap(), b"{}");
    assert_eq!(names(site.dir.path()).unwrap().iter().filter(|name| name.starts_with(".out")).count(), 0);
    let mut again = Command::new("perl");
    again.args(["-e", &filter]).arg(&to);
    let again = with_program(&site, &mut again).unwrap();
    assert_eq!(again.status.code(), Some(2), "it would overwrite what is there");
}

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let site = Site::new();
    site.take_in();
    let (store, out) = (site.store(), site.dir.path().join("out"));
    fs::create_dir_all(out.join("empty")).unwrap();
    for to in ["new", "empty"] {
        let interrupt = Interrupt::default();
        let writer = store.writer(Duration::ZERO, "a test").unwrap();
        let (to, locked) = (out.join(to), site.locked());
        // Ctrl-C while it is copied.
        let stop = &mut |_| interrupt.raise();
        let ended = writer.export(&locked, &to, Sharing::Never, &interrupt, stop).unwrap_err();
        assert_eq!(ended.kind, Kind::Interrupted, "{ended:?}");
        assert_eq!(names(&out).unwrap(), ["empty"]);
        assert!(names(&out.join("empty")).unwrap().is_empty());
        assert!(
            names(&site.dir.path().join("root/store/exports")).unwrap().is_empty(),
            "a record of it is left"
        );
    }
}

/// Runs a command that runs the program on this site. Nothing where this machine does not allow it.
fn with_program(site: &Site, command: &mut Command) -> Option<Output> {
    let folder = |name| site.dir.path().join(name);
    command.arg(env!("CARGO_BIN_EXE_awqdeploy")).env("AWQDEPLOY_ROOT", folder("root"));
    let output = command.env("AWQDEPLOY_PROFILES", folder("profiles")).output();
    let cannot =
        |output: &Output| output.status.code() == Some(77) || text(&output.stderr).starts_with("unshare:");
    let output = output.ok().filter(|output| !cannot(output));
    if output.is_none() {
        skipped("this machine allows no file system of one's own, or no filter of system calls");
    }
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! `lock`, `verify` and `gc` as commands: documents, exit statuses, two at once.

use crate::{
    program::{Said, awqdeploy},
    scratch::tempdir,
    stand::FORKED,
    store::{bytes, flip, mib, write},
};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, LockedModel},
        size::ByteSize,
        store::layout::Layout,
    },
    host::{models, os::signals::Interrupt, store::Store},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A root, a folder of profiles, and a model's folder.
pub(super) struct Site {
    pub(super) dir: TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        let site = Self { dir: tempdir().unwrap() };
        write(&site.source().join("config.json"), b"{}");
        write(&site.source().join("model.safetensors"), &bytes(3, mib(20)));
        let profile = format!(
            "service = 'vllm'\n[model]\nrepo = 'o/n'\npath = '{}'\nserved-name = 'n'\n[runtime]\nvllm = '0.26.0'\n",
            site.source().display()
        );
        write(&site.dir.path().join("profiles/awq.toml"), profile.as_bytes());
        site
    }

    pub(super) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(super) fn store(&self) -> Store {
        Store::new(Layout::new(self.dir.path().join("root")))
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        let mut command = awqdeploy(arguments);
        command.env("AWQDEPLOY_ROOT", self.dir.path().join("root"));
        Said::by(command.env("AWQDEPLOY_PROFILES", self.dir.path().join("profiles")))
    }

    /// The document of a command that ended with this status.
    fn document(&self, arguments: &[&str], code: i32) -> Value {
        self.run(arguments).document(code)
    }

    pub(super) fn locked(&self) -> LockedModel {
        let path = self.dir.path().join("profiles/locks/awq.toml");
        LockedModel::parse(&path, &fs::read_to_string(&path).unwrap()).unwrap()
    }

    /// The model in the store, as a deployment would take it in; a copy, to be spoilt by itself.
    pub(super) fn take_in(&self) -> PathBuf {
        for name in ["config.json", "model.safetensors"] {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(self.source().join(name), private).unwrap();
        }
        assert_eq!(self.run(&["lock", "awq"]).code, Some(0));
        let store = self.store();
        let writer = store.writer(FORKED, "test").unwrap();
        let interrupt = Interrupt::default();
        models::import(&writer, &self.locked(), Some(&self.source()), &interrupt, &mut |_| ()).unwrap()
    }
}

/// vLLM makes the weights up for a benchmark. Without that flag a folder without weights is no model.
#[test]
fn dummy_weights_need_no_files() {
    let site = Site::new();
    fs::remove_file(site.source().join("model.safetensors")).unwrap();
    let refused = site.run(&["lock", "awq"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("has no weights"), "{}", refused.stderr);
    let profile = site.dir.path().join("profiles/awq.toml");
    let text = fs::read_to_string(&profile).unwrap();
    for (arguments, code) in
        [("['--load-format', 'auto']", 4), ("['--load-format', 'dummy']", 0), ("['--load-format=dummy']", 0)]
    {
        fs::write(&profile, format!("{text}[vllm]\narguments = {arguments}\n")).unwrap();
        assert_eq!(site.run(&["lock", "awq"]).code, Some(code), "{arguments}");
    }
}

#[test]
fn a_lock_is_made_of_a_folder_and_is_the_same_each_time() {
    let site = Site::new();
    let first = site.document(&["lock", "awq", "--from", site.source().to_str().unwrap(), "--json"], 0);
    assert_eq!(first["files"].as_array().unwrap().len(), 2);
    let path = site.dir.path().join("profiles/locks/awq.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(site.locked().files[1].pieces.as_ref().unwrap().len(), 3);
    assert_eq!(site.run(&["lock", "awq"]).code, Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    symlink("/etc/hostname", site.source().join("tokenizer.json")).unwrap();
    let refused = site.run(&["lock", "awq"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("outside of its folder"), "{}", refused.stderr);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        text,
        "a lock that could not be made took the old one's place"
    );
}

#[test]
fn a_lock_that_was_changed_stops_every_command() {
    let site = Site::new();
    site.take_in();
    let path = site.dir.path().join("profiles/locks/awq.toml");
    let text = fs::read_to_string(&path).unwrap().replace("size = 2\n", "size = 3\n");
    fs::write(&path, text).unwrap();
    for command in [&["verify", "awq"][..], &["gc", "--dry-run"], &["export", "awq", "/nowhere/x"]] {
        let refused = site.run(command);
        assert_eq!(refused.code, Some(2), "{command:?}");
        assert!(refused.stderr.contains("the lock was changed after it was made"), "{}", refused.stderr);
    }
}

#[test]
fn verify_tells_files_and_pieces_and_repairs_them() {
    let site = Site::new();
    let stored = site.take_in();
    let clean = site.document(&["verify", "awq", "--json"], 0);
    assert_eq!(clean["schema"], "awqdeploy/verify/v1");
    assert_eq!((&clean["files"], &clean["bytes"]), (&2.into(), &(mib(20) + 2).into()));
    assert!(clean["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(clean["damaged"], Value::Array(vec![]));

    flip(&stored.join("model.safetensors"), mib(19));
    let damaged = site.document(&["verify", "--all", "--json"], 4);
    assert_eq!(damaged["damaged"][0]["path"], "model.safetensors");
    assert_eq!(damaged["damaged"][0]["pieces"], Value::Array(vec![2.into()]));
    let text = site.run(&["verify", "awq"]);
    assert!(text.stdout.contains("model.safetensors (content, piece 2)"), "{}", text.stdout);

    let repaired = site.document(&["verify", "awq", "--repair", "--json"], 0);
    assert_eq!(repaired["repaired"][0]["pieces"], Value::Array(vec![2.into()]));
    assert_eq!(site.document(&["verify", "awq", "--json"], 0)["damaged"], Value::Array(vec![]));

    fs::remove_dir_all(site.source()).unwrap();
    flip(&stored.join("config.json"), 0);
    let left = site.document(&["verify", "awq", "--repair", "--json"], 4);
    assert_eq!(left["damaged"][0]["path"], "config.json");
}

#[test]
fn a_folder_that_is_not_in_the_store_is_verified_and_not_repaired() {
    let site = Site::new();
    assert_eq!(site.run(&["lock", "awq"]).code, Some(0));
    assert_eq!(site.document(&["verify", "awq", "--json"], 0)["files"], 2);
    flip(&site.source().join("model.safetensors"), 1);
    assert_eq!(site.document(&["verify", "awq", "--json"], 4)["damaged"][0]["pieces"][0], 0);
    let refused = site.run(&["verify", "awq", "--repair"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("is not in the store"), "{}", refused.stderr);
}

#[test]
fn collect_shows_first_and_then_frees() {
    let site = Site::new();
    let stored = site.take_in();
    // Locked and never deployed: somebody wants it.
    assert_eq!(site.document(&["gc", "--dry-run", "--json"], 0)["models"], Value::Array(vec![]));
    fs::remove_file(site.dir.path().join("profiles/locks/awq.toml")).unwrap();
    let shown = site.document(&["gc", "--dry-run", "--json"], 0);
    assert_eq!((&shown["schema"], &shown["dry_run"]), (&"awqdeploy/collect/v1".into(), &true.into()));
    assert_eq!(shown["models"][0]["name"], "o/n");
    assert!(shown["freed_bytes"].as_u64().unwrap() >= mib(20) as u64);
    assert!(stored.exists());
    let freed = site.document(&["gc", "--json"], 0);
    assert_eq!(freed["freed_bytes"], shown["freed_bytes"]);
    assert!(!stored.exists());
    assert_eq!(site.document(&["gc", "--json"], 0)["freed_bytes"], 0);
    assert_eq!(site.run(&["pin", "7"]).code, Some(2));
}

/// A download that a fetch would go on with stays; what no lock wants any more goes, and so does all else that is
/// half-made.
#[test]
fn collect_leaves_a_download_that_will_go_on() {
    let site = Site::new();
    assert_eq!(site.run(&["lock", "awq"]).code, Some(0));
    let layout = site.store().layout().clone();
    let weights = site.locked().files[1].sha256;
    let given_up = Sha256Digest::of("given up");
    for content in [weights, given_up] {
        write(&layout.downloads().join(format!("{content}.part")), &bytes(1, mib(3)));
        write(&layout.downloads().join(format!("{content}.marks")), b"x");
    }
    write(&layout.staging().join("import/half"), &bytes(2, mib(1)));
    let shown = site.document(&["gc", "--json"], 0);
    assert!((3 << 20..4 << 20).contains(&shown["kept_downloads_bytes"].as_u64().unwrap()), "{shown}");
    assert!((4 << 20..5 << 20).contains(&shown["freed_bytes"].as_u64().unwrap()), "{shown}");
    let mut left = awqdeploy::host::os::fs::names(&layout.downloads()).unwrap();
    left.sort();
    assert_eq!(left, [format!("{weights}.marks"), format!("{weights}.part")]);
    assert!(!layout.staging().join("import").exists());
    let text = site.run(&["gc", "--dry-run"]).stdout;
    assert!(text.contains("3.0 MiB: `awqdeploy fetch` goes on with them"), "{text}");

    fs::remove_file(site.dir.path().join("profiles/locks/awq.toml")).unwrap();
    let shown = site.document(&["gc", "--json"], 0);
    assert_eq!(shown["kept_downloads_bytes"], 0);
    assert_eq!(fs::read_dir(layout.downloads()).unwrap().count(), 0);
}

/// Whoever comes second is told who is at work. Looking needs no turn.
#[test]
fn two_at_once() {
    let site = Site::new();
    site.take_in();
    let store = site.store();
    let held = store.writer(Duration::ZERO, "awqdeploy deploy gptq").unwrap();
    let out = site.dir.path().join("out");
    for command in [&["gc"][..], &["pin", "1"], &["export", "awq", out.to_str().unwrap()]] {
        let busy = site.run(command);
        assert_eq!(busy.code, Some(5), "{command:?}: {}", busy.stderr);
        assert!(busy.stderr.contains("`awqdeploy deploy gptq`"), "{}", busy.stderr);
    }
    for command in [&["verify", "awq"][..], &["gc", "--dry-run"], &["generations"], &["lock", "awq"]] {
        assert_eq!(site.run(command).code, Some(0), "{command:?}");
    }
    drop(held);
    assert_eq!(site.run(&["gc"]).code, Some(0));
    assert!(Path::new(&site.source()).exists());
}

/// A profile named by its file alone lies in the working directory.
#[test]
fn a_profile_is_a_file_of_the_working_directory() {
    let site = Site::new();
    let mut command = awqdeploy(&["plan", "awq.toml"]);
    command.env("AWQDEPLOY_ROOT", site.dir.path().join("root"));
    let said = Said::by(command.current_dir(site.dir.path().join("profiles")));
    // The model is nothing that could be planned: that is found out, as the profile was.
    assert!(said.code != Some(1) && !said.stderr.contains("find the way"), "{}", said.stderr);
}

/// A model of many files: what is not here is said at once, and not in as many lines.
/// `AWQDEPLOY_MANY_FILES=100000 cargo test --release --locked --test it -- many_files --nocapture` says how long it takes.
#[test]
fn many_files_that_are_not_here_are_told_in_few_lines() {
    let site = Site::new();
    let many = std::env::var("AWQDEPLOY_MANY_FILES").ok().and_then(|many| many.parse().ok()).unwrap_or(5000);
    let file = |number: u32| {
        let (path, content) = (format!("f{number:06}.json"), Sha256Digest::of(number.to_le_bytes()));
        LockedFile::new(path, ByteSize(5), content)
    };
    let files = (0..many).map(file).collect();
    let model = LockedModel::of("o/n".to_owned(), "main".to_owned(), None, files).unwrap();
    write(&site.dir.path().join("profiles/locks/awq.toml"), model.to_toml().as_bytes());
    let began = std::time::Instant::now();
    let said = site.run(&["fetch", "awq", "--offline"]);
    println!("{many} files: {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    assert!(said.stderr.contains(&format!("{many} files of `o/n` are not on this host")), "{}", said.stderr);
    assert!(said.stderr.contains(&format!("… and {} more", many - 20)), "{}", said.stderr);
    assert!(said.stderr.lines().count() < 40, "{}", said.stderr);
}

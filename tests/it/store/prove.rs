//! Before each start the service proves its model, and starts nothing if it cannot.

use super::{Scene, flip, mib, write};
use crate::{
    running_engine,
    stand::{FORKED, computed},
};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, LockedModel},
        planning::{inputs::PlannedModel, plan::Plan},
        problem::{Kind, Problem},
        profile::VerifyAtStart,
        size::ByteSize,
    },
    flow::models::verify_at_start::verify_model,
    host::{
        models::verify::stamp, os::signals::Interrupt, store::hash_cache::HashCache,
        systemd::service::TRIAL_VARIABLE,
    },
};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

fn model(scene: &Scene, verify_at_start: VerifyAtStart) -> PlannedModel {
    PlannedModel {
        digest: Some(scene.model.digest()),
        path: scene.stored(),
        verify_at_start,
        ..running_engine::plan("127.0.0.1:1".parse().unwrap()).model
    }
}

fn proved(scene: &Scene, verify_at_start: VerifyAtStart) -> Result<ByteSize, Problem> {
    let model = model(scene, verify_at_start);
    verify_model(&scene.store, &model, HashCache::default(), &Interrupt::default(), &mut |_, _| ())
        .map(|checked| checked.read)
}

#[test]
fn an_untouched_model_costs_next_to_nothing() {
    let scene = Scene::taken_in();
    let began = computed();
    assert_eq!(proved(&scene, VerifyAtStart::Memo).unwrap(), ByteSize(0));
    let took = computed().saturating_sub(began);
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(proved(&scene, VerifyAtStart::Full).unwrap(), scene.model.size());
}

/// A model of the size that this program is for: ten shards of 4.5 GB with their pieces, and as many small files as a
/// repository has. They are holes, which take no room, and nobody may come to read them.
fn vast(root: &Scene) -> Scene {
    let shard = |number: u64| {
        let file = LockedFile::new(
            format!("model-{number}.safetensors"),
            ByteSize(4_500_000_000),
            Sha256Digest::of(number.to_le_bytes()),
        );
        let pieces = (0..file.piece_count()).map(|piece| Sha256Digest::of(piece.to_le_bytes())).collect();
        LockedFile { pieces: Some(pieces), ..file }
    };
    let small = |n: u64| {
        LockedFile::new(format!("sub/{n}.json"), ByteSize(n), Sha256Digest::of(format!("small {n}")))
    };
    let files = (0..10).map(shard).chain((0..200).map(small)).collect();
    let scene = root.with_model(LockedModel::of("o/n".into(), "main".into(), None, files).unwrap());
    fs::create_dir_all(scene.stored().join("sub")).unwrap();
    let mut cache = HashCache::default();
    for file in &scene.model.files {
        let path = scene.stored().join(&file.path);
        fs::File::create(&path).unwrap().set_len(file.size.0).unwrap();
        cache.note(file.sha256, stamp(&path).unwrap().unwrap());
    }
    let writer = scene.store.writer(FORKED, "test").unwrap();
    writer.keep_model_lock(&scene.model).unwrap();
    writer.keep_hash_cache(&cache).unwrap();
    drop(writer);
    scene
}

#[test]
fn a_model_of_45_gb_that_nobody_touched_is_proven_in_no_time() {
    let root = Scene::new();
    let scene = vast(&root);
    assert_eq!(scene.model.size().0 / 1_000_000_000, 45);
    let took = (0..3).map(|_| {
        let began = computed();
        assert_eq!(proved(&scene, VerifyAtStart::Memo).unwrap(), ByteSize(0));
        computed().saturating_sub(began)
    });
    // Without optimisation the reading of the lock takes many times as long.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 5000 } else { 100 });
    let least = took.min().unwrap();
    assert!(least < limit, "{least:?}");
}

#[test]
fn any_difference_refuses_the_start() {
    let scene = Scene::taken_in();
    flip(&scene.stored().join("model.safetensors"), mib(3));
    let refused = proved(&scene, VerifyAtStart::Memo).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified);
    assert_eq!(
        refused.to_string(),
        "the model is not what was locked: `model.safetensors` has another content"
    );
    // vLLM loads every file that ends in `.safetensors`.
    write(&scene.stored().join("extra.safetensors"), b"");
    fs::remove_file(scene.stored().join("config.json")).unwrap();
    let refused = proved(&scene, VerifyAtStart::Memo).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the model is not what was locked: `config.json` is missing, and 2 other files differ"
    );
}

#[test]
fn the_lock_in_the_store_is_no_easier_to_change() {
    let scene = Scene::taken_in();
    let path = scene.store.layout().model_lock(scene.model.digest());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("size = 2\n", "size = 3\n")).unwrap();
    assert!(proved(&scene, VerifyAtStart::Memo).unwrap_err().to_string().contains("was changed"));
    let mut other = scene.model.clone();
    other.files.truncate(1);
    fs::write(&path, other.to_toml()).unwrap();
    assert!(proved(&scene, VerifyAtStart::Memo).unwrap_err().to_string().contains("locks another model"));
    fs::remove_file(&path).unwrap();
    assert_eq!(proved(&scene, VerifyAtStart::Memo).unwrap_err().kind, Kind::Unverified);
}

/// A generation on trial whose engine leaves a mark and ends.
fn supervise(scene: &Scene) -> (Output, String) {
    supervise_with(scene, &[(TRIAL_VARIABLE, "1")])
}

fn supervise_with(scene: &Scene, environment: &[(&str, &str)]) -> (Output, String) {
    let marker = scene.path().join("started");
    let serve = |plan: Plan| Plan {
        model: model(scene, VerifyAtStart::Memo),
        serve: awqdeploy::domain::vllm::serve::Serve {
            argv: vec!["/usr/bin/touch".to_owned(), marker.to_string_lossy().into_owned()],
            ..plan.serve
        },
        ..plan
    };
    let plan = serve(running_engine::plan("127.0.0.1:1".parse().unwrap()));
    let writer = scene.store.writer(FORKED, "test").unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_awqdeploy"));
    let id = writer.add_generation(plan, "", binary).unwrap();
    writer.point(Some(id)).unwrap();
    let socket = scene.path().join("notify");
    let _earlier = fs::remove_file(&socket);
    fs::create_dir_all(scene.path().join("state")).unwrap();
    let listener = awqdeploy::host::os::notify::Listener::bind(&socket).unwrap();
    let output = Command::new(binary)
        .arg("--root")
        .arg(scene.store.layout().root())
        .arg("supervise")
        .env("NOTIFY_SOCKET", &socket)
        .env("STATE_DIRECTORY", scene.path().join("state"))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said: Vec<_> = listener.heard().unwrap().into_iter().map(|said| format!("{said:?}")).collect();
    (output, said.join("\n"))
}

#[test]
fn the_engine_is_started_only_on_a_proven_model() {
    let scene = Scene::taken_in();
    let marker = scene.path().join("started");
    flip(&scene.stored().join("config.json"), 0);
    let (output, said) = supervise(&scene);
    assert!(!marker.exists(), "the engine was started");
    assert_eq!(output.status.code(), Some(4));
    assert!(said.contains("the model is not what was locked: `config.json` has another content"), "{said}");
    assert!(!said.contains("starting vLLM"), "{said}");

    flip(&scene.stored().join("config.json"), 0);
    let (output, said) = supervise(&scene);
    assert!(marker.exists(), "the engine was not started: {said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// A model that was linked into the store from a folder that is removed later: that is a change of its files, though
/// not of their content. The service may not write to the store, and hashes them once and no more.
#[test]
fn what_was_touched_and_is_right_is_hashed_once() {
    let scene = Scene::new();
    scene.take_in(Some(&scene.source())).unwrap();
    let hashed = |said: &str| said.contains("verifying the model: 100 %");
    assert!(!hashed(&supervise(&scene).1), "the import was not remembered");

    fs::remove_dir_all(scene.source()).unwrap();
    write(&scene.path().join("aside"), b"");
    for file in &scene.model.files {
        // A file system that shares blocks made copies; a new name and its end are the same change.
        let (path, aside) = (scene.stored().join(&file.path), scene.path().join("aside"));
        fs::remove_file(&aside).unwrap();
        fs::hard_link(&path, &aside).unwrap();
    }
    let (_, said) = supervise(&scene);
    assert!(hashed(&said), "a change of the files was not noticed: {said}");
    let (_, said) = supervise(&scene);
    assert!(!hashed(&said), "hashed again: {said}");

    // Its own memo saves nothing but the reading.
    flip(&scene.stored().join("model.safetensors"), mib(3));
    let (output, said) = supervise(&scene);
    assert_eq!(output.status.code(), Some(4), "{said}");
    fs::write(scene.path().join("state/memo.json"), "{").unwrap();
    flip(&scene.stored().join("model.safetensors"), mib(3));
    assert!(hashed(&supervise(&scene).1), "a torn memo is none");
}

/// A boot finds this where the recovery before it was killed, too.
#[test]
fn what_was_never_proven_serves_nobody_unless_it_is_on_trial() {
    let scene = Scene::taken_in();
    let (output, said) = supervise_with(&scene, &[]);
    assert!(!scene.path().join("started").exists(), "the engine was started");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("generation 1 was never proven, and nobody is trying it"), "{said}");
}

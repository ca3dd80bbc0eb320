//! Bad input: what a hub must not be able to do, and what is refused before anything is downloaded.

use super::{Bench, LARGE, REPO, SMALL, model, noise, same, shown_of};
use crate::{
    hub::{Entry, Fault, When},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{problem::Kind, store::layout::Layout},
    host::{
        hub::{Reach, Settings, Token},
        store::Store,
    },
};
use insta::assert_snapshot;
use std::{fs, os::unix::fs::symlink, time::Duration};

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in ["../evil", "/etc/evil", "a/../../evil", "a\\b", "a//b", "a/./b"] {
        let bench = Bench::new();
        bench.hub.change(REPO, |repo| {
            repo.files.insert(name.to_owned(), Entry::of(name, b"x".to_vec()));
        });
        let problem = bench.lock().unwrap_err();
        assert_eq!(problem.kind, Kind::Unverified);
        let shown = super::shown(&problem);
        assert!(shown.contains(&format!("`{}`", name.escape_debug())), "{shown}");
        assert!(bench.hub.downloads().is_empty(), "refused before any file is read");
    }
}

#[test]
fn upstream_that_changed_under_the_lock_is_refused_before_a_download() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.seen();
    bench.hub.change(REPO, |repo| {
        let length = repo.files[LARGE].size;
        let other = Entry::of(LARGE, noise(9, usize::try_from(length).unwrap()));
        repo.files.insert(LARGE.to_owned(), other);
    });
    assert_snapshot!(shown_of(bench.fetch()), @r"
    error: 1 file is not what was locked in `owner/model` any more
    caused by: `model-00001-of-00002.safetensors` has another content
    help: nothing was fetched; `awqdeploy lock PROFILE --check` shows what changed. If it is meant, lock it anew; else name a repository that has the files under `alternatives` in the profile's `[model]`
    ");
    assert!(bench.hub.downloads().is_empty());
}

#[test]
fn a_content_that_the_listing_hides_is_found_by_its_hash() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.change(REPO, |repo| {
        let length = usize::try_from(repo.files[LARGE].size).unwrap();
        let other = Entry::of(LARGE, noise(9, length));
        repo.files.get_mut(LARGE).unwrap().bytes = other.bytes;
    });
    assert_snapshot!(shown_of(bench.fetch()), @r"
    error: cannot fetch `model-00001-of-00002.safetensors` from `owner/model`
    caused by: not what was locked: it has sha256 fd504f273003ce0b8be2df184f1f95a227d3c63169f4e8329b27f8841db215ad
    help: look at what changed upstream; if it is meant, lock it anew with `awqdeploy lock PROFILE`
    ");
    assert!(!bench.root.path().join("root/store/models").exists());
}

#[test]
fn a_gated_repository_wants_the_token_and_the_cdn_never_sees_it() {
    let mut bench = Bench::new();
    bench.hub.change(REPO, |repo| repo.token = Some("hf_secret".to_owned()));
    assert_snapshot!(shown_of(bench.lock()), @r"
    error: cannot read `.gitattributes` of `owner/model`
    caused by: access denied (HTTP 401)
    help: accept the model's terms on its page and set `HF_TOKEN`; the hub answers the same for a repository that does not exist, so look at its name too
    ");
    bench.settings.token = Token::of("hf_secret\n").unwrap();
    bench.lock().unwrap();
    bench.fetched();
    let seen = bench.hub.seen();
    assert!(seen.iter().any(|seen| seen.cdn), "large files come from the other port");
    assert!(seen.iter().all(|seen| !seen.cdn || seen.authorization.is_none()), "{seen:?}");
    assert!(seen.iter().any(|seen| seen.authorization.as_deref() == Some("Bearer hf_secret")));
    bench.settings.token = Token::of("hf_wrong").unwrap();
    bench.empty();
    let problem = bench.fetch().unwrap_err();
    let shown = format!("{problem:?} {} {:?}", super::shown(&problem), bench.settings);
    assert!(shown.contains("403") && !shown.contains("hf_wrong"), "{shown}");
}

#[test]
fn settings_are_those_of_the_hubs_own_client() {
    let home = tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_of_file\n").unwrap();
    let place = home.path().to_str().unwrap().to_owned();
    let settings = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::of(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone()))
    };
    let plain = settings(&[("HOME", "/nowhere")]).unwrap();
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert_eq!(plain.cache.unwrap(), std::path::Path::new("/nowhere/.cache/huggingface/hub"));
    assert!(plain.token.is_none() && plain.reach == Reach::Online);
    let set =
        settings(&[("HF_HOME", &place), ("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://hub:1/")]).unwrap();
    assert_eq!((set.endpoint.as_str(), set.reach), ("http://hub:1", Reach::Offline));
    assert!(set.token.is_some());
    assert_snapshot!(shown_of(settings(&[("HF_ENDPOINT", "hub.example")])), @r"
    error: `HF_ENDPOINT` is not the address of a hub
    help: for example `HF_ENDPOINT=https://huggingface.co`
    ");
    // Its other names, and what it makes of them.
    let cache = |pairs: &[(&str, &str)]| settings(pairs).unwrap().cache.unwrap();
    let home = [("HOME", place.as_str())];
    for (variable, value, due) in [
        ("HF_HUB_CACHE", "/a", "/a".to_owned()),
        ("HUGGINGFACE_HUB_CACHE", "/b", "/b".to_owned()),
        ("HF_HOME", "~/c", format!("{place}/c/hub")),
        ("HF_HOME", "~", format!("{place}/hub")),
        ("HF_HUB_CACHE", "~other/d", "~other/d".to_owned()),
        ("XDG_CACHE_HOME", "~/e", format!("{place}/e/huggingface/hub")),
    ] {
        assert_eq!(cache(&[home[0], (variable, value)]), std::path::Path::new(&due), "{variable}={value}");
    }
    let token = |pairs: &[(&str, &str)]| settings(pairs).unwrap().token.is_some();
    assert!(token(&[home[0], ("HF_TOKEN_PATH", "~/token")]));
    assert!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_old")]));
    assert!(!token(&[("HF_HOME", &place), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]));
    assert!(!token(&[("HF_TOKEN", "hf_x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]));
    assert!(token(&[("HF_TOKEN", "hf_x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")]));
    let bad = shown_of(settings(&[("HF_TOKEN", "hf_\u{1}secret")]));
    assert!(!bad.contains("secret"), "{bad}");
}

#[test]
fn offline_takes_what_is_here_and_names_what_is_not() {
    let mut bench = Bench::new();
    bench.lock().unwrap();
    bench.settings.reach = Reach::Offline;
    bench.hub.seen();
    assert_snapshot!(shown_of(bench.fetch()), @r"
    error: 6 files of `owner/model` are not on this host, and offline mode is on
    caused by: `.gitattributes`
               `config.json`
               `empty.txt`
               `model-00001-of-00002.safetensors`
               `model-00002-of-00002.safetensors`
               `sub folder/tokenizer.json`
    help: name a folder that has them as `path` in the profile's `[model]`, or go online
    ");
    assert!(bench.hub.seen().is_empty(), "nobody was asked");
}

#[test]
fn what_the_hubs_own_cache_has_is_not_downloaded() {
    let mut bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.seen();
    let kept = bench.root.path().join("cache/models--owner--model");
    let (blobs, snapshot) = (kept.join("blobs"), kept.join("snapshots").join(model().commit));
    fs::create_dir_all(&blobs).unwrap();
    for (path, entry) in &model().files {
        let mut bytes = entry.bytes.read(0, 1 << 30).unwrap();
        if path == SMALL {
            bytes[7] ^= 1;
        }
        fs::write(blobs.join(entry.etag()), bytes).unwrap();
        fs::create_dir_all(snapshot.join(path).parent().unwrap()).unwrap();
        symlink(blobs.join(entry.etag()), snapshot.join(path)).unwrap();
    }
    let fetched = bench.fetched();
    assert_eq!(fetched.downloaded.0, model().files[SMALL].size, "only the damaged one");
    assert_eq!(bench.hub.downloads().len(), 1);
    assert!(bench.warnings().contains("not taken from this host"), "{}", bench.warnings());
    bench.empty();
    bench.settings.reach = Reach::Offline;
    let bytes = model().files[SMALL].bytes.read(0, 1 << 30).unwrap();
    fs::write(blobs.join(model().files[SMALL].etag()), bytes).unwrap();
    assert_eq!(bench.fetched().downloaded.0, 0);
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_a_download() {
    let bench = Bench::new();
    bench.hub.change(REPO, |repo| repo.files.get_mut(LARGE).unwrap().size = 1 << 40);
    bench.lock().unwrap();
    bench.hub.seen();
    let problem = bench.fetch().unwrap_err();
    assert_eq!(problem.kind, Kind::Unverified);
    let shown = super::shown(&problem);
    assert!(shown.contains("1.0 TiB to fetch, and ") && shown.contains("free"), "{shown}");
    assert!(bench.hub.downloads().is_empty());
    assert_eq!(bench.remains(), Vec::<String>::new());
}

#[test]
fn a_second_fetch_is_told_of_the_first() {
    let bench = Bench::new();
    bench.lock().unwrap();
    let store = Store::new(Layout::new(bench.root.path().join("root")));
    let held = store.writer(Duration::ZERO, "awqdeploy fetch awq").unwrap();
    let problem = bench.fetch().unwrap_err();
    assert_eq!(problem.kind, Kind::Busy);
    drop(held);
    same(&bench.fetched().path, &model());
    bench.hub.seen();
    let again = bench.fetch().unwrap();
    assert_eq!(again.downloaded.0, 0);
    assert!(bench.hub.seen().is_empty(), "what is in the store is not asked for");
}

/// The hub that was asked is asked for the next page, too: another host sees no token.
#[test]
fn a_listing_leads_our_token_to_no_other_host() {
    let mut bench = Bench::new();
    bench.settings.token = Token::of("hf_secret").unwrap();
    bench.hub.page(2);
    bench.hub.trap("next", Fault::WholeFile, When::Always);
    assert_eq!(bench.lock().unwrap().files.len(), model().files.len());
    assert!(bench.hub.seen().iter().all(|seen| !seen.cdn || seen.authorization.is_none()));
}

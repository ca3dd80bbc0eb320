//! Models that their maker signed. The fixtures were made by the real thing, `model-signing` 1.1.1 of the Python package
//! index: `model_signing sign key --private_key KEY --signature model/model.sig model`, and again with a key of P-384
//! into `other.sig`. `model_signing verify key --public_key maker.pem` accepts them.

use crate::{
    fetch::{Bench, REPO, shown, shown_of},
    hub::Repo,
    store::write,
};
use awqdeploy::{domain::lockfile::signature::PublicKey, flow::models::lock, host::hub::Reach};
use insta::assert_snapshot;
use std::{
    fs,
    path::{Path, PathBuf},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/signed");
const FILES: [&str; 4] = ["config.json", "model.safetensors", "model.sig", "sub/tokenizer.json"];

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

/// A host whose profile wants this key's signature, and a copy of the signed model.
fn signed_by(key: &Path) -> (Bench, PathBuf) {
    let bench = Bench::with(&format!("signed-by = \"{}\"", key.display()));
    let folder = bench.root.path().join("model");
    for name in FILES {
        write(&folder.join(name), &fs::read(fixture("model").join(name)).unwrap());
    }
    (bench, folder)
}

/// `awqdeploy lock awq --from FOLDER`: what is said, or how many files were locked.
fn locked(bench: &Bench, folder: &Path) -> Result<usize, String> {
    let locked = lock::lock(&bench.context(), "awq", Some(folder), &bench.settings);
    let place = bench.root.path().display().to_string();
    locked.map(|locked| locked.files.len()).map_err(|problem| shown(&problem).replace(&place, "DIR"))
}

#[test]
fn what_its_maker_signed_is_locked_from_a_folder_and_from_a_hub() {
    let (mut bench, folder) = signed_by(&fixture("maker.pem"));
    assert_eq!(locked(&bench, &folder), Ok(4));

    // Git's own notes are not signed.
    write(&folder.join(".gitattributes"), b"*.safetensors filter=lfs");
    bench.hub.put(REPO, Repo::from_folder(&folder).unwrap());
    assert_eq!(bench.lock().unwrap().files.len(), 5);
    assert_eq!(bench.fetch().unwrap().files, 5);
    bench.settings.reach = Reach::Offline;
    assert_eq!(bench.fetch().unwrap().downloaded.0, 0, "from then on the lock vouches for it");

    // A key of the other curve.
    let (bench, folder) = signed_by(&fixture("other.pem"));
    write(&folder.join("model.sig"), &fs::read(fixture("other.sig")).unwrap());
    assert_eq!(locked(&bench, &folder), Ok(4));
}

#[test]
fn what_differs_from_the_signature_is_named_and_not_locked() {
    let (bench, folder) = signed_by(&fixture("maker.pem"));
    write(&folder.join("config.json"), b"{}");
    fs::remove_file(folder.join("sub/tokenizer.json")).unwrap();
    write(&folder.join("modeling_evil.py"), b"import os");
    assert_snapshot!(locked(&bench, &folder).unwrap_err(), @r"
    error: the model is not what its maker signed
    caused by: `config.json` has another content
               `modeling_evil.py` is not signed
               `sub/tokenizer.json` is missing
    help: nothing was locked; fetch these files again, or ask who signed them
    ");
    bench.hub.put(REPO, Repo::from_folder(&folder).unwrap());
    assert!(shown_of(bench.lock()).contains("is not what its maker signed"));
    assert!(!bench.profiles().join("locks").exists());
}

#[test]
fn a_signature_of_somebody_else_or_none_is_refused() {
    let (bench, folder) = signed_by(&fixture("other.pem"));
    assert_snapshot!(locked(&bench, &folder).unwrap_err(), @r"
    error: `model.sig` was not made with the profile's key
    help: look whose key it is: do not serve a model that somebody else signed
    ");

    // Signed by the right key, and changed since.
    let (bench, folder) = signed_by(&fixture("maker.pem"));
    let text = fs::read_to_string(folder.join("model.sig")).unwrap();
    // One letter of the payload, which is in base64.
    let at = text.find("\"payload\"").unwrap() + 400;
    let letter = if &text[at..=at] == "A" { "B" } else { "A" };
    write(&folder.join("model.sig"), [&text[..at], letter, &text[at + 1..]].concat().as_bytes());
    assert!(locked(&bench, &folder).unwrap_err().contains("was not made with the profile's key"));

    for (text, why) in [("{", "EOF"), ("{}", "dsseEnvelope"), (&*text.replace("\"sig\"", "\"s\""), "sig")] {
        write(&folder.join("model.sig"), text.as_bytes());
        let told = locked(&bench, &folder).unwrap_err();
        assert!(told.contains("no signature that can be checked") && told.contains(why), "{told}");
    }

    fs::remove_file(folder.join("model.sig")).unwrap();
    assert_snapshot!(locked(&bench, &folder).unwrap_err(), @r"
    error: there is no signature `model.sig` in `owner/model`
    help: leave out `signed-by` in the profile's `[model]`, or lock a model that its maker signed
    ");
}

#[test]
fn keys() {
    let pem = fs::read_to_string(fixture("maker.pem")).unwrap();
    assert!(PublicKey::from_pem(&format!("\n{pem}\n")).is_ok());
    for text in ["", "hello", &pem.replace("PUBLIC", "PRIVATE"), &pem.replacen("MFkw", "MFkx", 1)] {
        assert!(PublicKey::from_pem(text).is_err(), "{text}");
    }
    let (bench, folder) = signed_by(Path::new("/nowhere/maker.pem"));
    assert_snapshot!(locked(&bench, &folder).unwrap_err(), @r"
    error: there is no key `/nowhere/maker.pem`
    help: correct `signed-by` in the profile's `[model]`
    ");
    let (bench, folder) = signed_by(&fixture("model/config.json"));
    assert!(locked(&bench, &folder).unwrap_err().contains("is not a public key of the curve"));
}

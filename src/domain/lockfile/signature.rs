//! An `OpenSSF` model signature: a file beside the model's with the signed hash of each.
//!
//! `model.sig` is a Sigstore bundle around a DSSE envelope around an in-toto statement, as `model_signing` 1.x writes it
//! with `sign key` (its repository is sigstore/model-transparency). Signatures by certificate or by identity rest on
//! roots of trust that this program does not keep, and are refused.

use super::LockedModel;
use crate::domain::{
    digest::Sha256Digest,
    problem::{Kind, Problem},
};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The name of the file with the signature, below the model's folder.
pub(crate) const NAME: &str = "model.sig";

const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// How the keys that can be read begin in DER (RFC 5480): the curve's name and the point's length; the point follows.
const CURVES: [(&str, &EcdsaVerificationAlgorithm); 2] = [
    ("3059301306072a8648ce3d020106082a8648ce3d030107034200", &ECDSA_P256_SHA256_ASN1),
    ("3076301006072a8648ce3d020106052b81040022036200", &ECDSA_P384_SHA384_ASN1),
];

/// The key that a model's maker signs with, the public half.
#[derive(Debug)]
pub struct PublicKey(UnparsedPublicKey<Vec<u8>>);

/// The files and hashes that a signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed(BTreeMap<PathBuf, Sha256Digest>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

impl PublicKey {
    /// A key in PEM, as `openssl ec -pubout` writes it, of the curve P-256 or P-384.
    ///
    /// # Errors
    /// [`Kind::Usage`] for anything else.
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        let key = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
        let lines = key.and_then(|key| key.strip_suffix("-----END PUBLIC KEY-----"));
        let der = lines.and_then(|lines| BASE64.decode(lines.split_whitespace().collect::<String>()).ok());
        let found = der.and_then(|der| {
            let hex = hex::encode(der);
            CURVES.iter().find_map(|(head, curve)| {
                let point = hex::decode(hex.strip_prefix(head)?).ok()?;
                Some(Self(UnparsedPublicKey::new(*curve, point)))
            })
        });
        found.ok_or_else(|| {
            Problem::new(Kind::Usage, "not a public key of the curve P-256 or P-384 in PEM")
                .help("`openssl ec -in KEY -pubout` writes the public half of a key")
        })
    }
}

impl Signed {
    /// Reads the text of a signature, if this key made it.
    ///
    /// # Errors
    /// [`Kind::Unverified`] if it did not, or where it cannot be told.
    pub(crate) fn read(text: &[u8], key: &PublicKey) -> Result<Self, Problem> {
        let Bundle { dsse_envelope: envelope } = json(text)?;
        let decoded = |text: &str| BASE64.decode(text).map_err(|why| unreadable(&why.to_string()));
        let payload = decoded(&envelope.payload)?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(unreadable("it has not one signature"));
        };
        let message = encoded(&envelope.payload_type, &payload);
        if key.0.verify(&message, &decoded(&signature.sig)?).is_err() {
            return Err(Problem::new(
                Kind::Unverified,
                format!("`{NAME}` was not made with the profile's key"),
            )
            .help("look whose key it is: do not serve a model that somebody else signed"));
        }
        // Only now, so that nothing unsigned is looked at.
        if envelope.payload_type != PAYLOAD {
            return Err(unreadable(&format!("a payload of the type `{}`", envelope.payload_type)));
        }
        Self::of(json(&payload)?)
    }

    fn of(statement: Statement) -> Result<Self, Problem> {
        let Statement { kind, predicate_type, predicate } = statement;
        let Predicate { serialization: Serialization { method }, resources } = predicate;
        for (found, due) in [(&kind, STATEMENT), (&predicate_type, PREDICATE), (&method, "files")] {
            if found != due {
                return Err(unreadable(&format!("`{found}` instead of `{due}`")));
            }
        }
        let mut files = BTreeMap::new();
        for Resource { name, algorithm, digest } in resources {
            let read = (algorithm == "sha256").then(|| digest.parse().ok()).flatten();
            let digest = read.ok_or_else(|| unreadable(&format!("no SHA-256 of `{name}`")))?;
            if files.insert(PathBuf::from(&name), digest).is_some() {
                return Err(unreadable(&format!("`{name}` stands twice")));
            }
        }
        Ok(Self(files))
    }

    /// Compares with what was locked. Only the signature itself and the notes of git may be unsigned.
    ///
    /// # Errors
    /// [`Kind::Unverified`] with each file that differs.
    pub(crate) fn agrees(&self, model: &LockedModel) -> Result<(), Problem> {
        let locked: BTreeMap<&Path, Sha256Digest> =
            model.files.iter().map(|file| (file.path.as_path(), file.sha256)).collect();
        let mut lines: Vec<String> = Vec::new();
        for (path, digest) in &self.0 {
            match locked.get(path.as_path()) {
                Some(found) if found == digest => {}
                Some(_) => lines.push(format!("`{}` has another content", path.display())),
                None => lines.push(format!("`{}` is missing", path.display())),
            }
        }
        let unsigned = locked.keys().filter(|path| !self.0.contains_key(**path) && !may_be_unsigned(path));
        lines.extend(unsigned.map(|path| format!("`{}` is not signed", path.display())));
        if lines.is_empty() {
            return Ok(());
        }
        lines.sort();
        Err(Problem::new(Kind::Unverified, "the model is not what its maker signed")
            .because(lines.join("\n"))
            .help("nothing was locked; fetch these files again, or ask who signed them"))
    }
}

fn may_be_unsigned(path: &Path) -> bool {
    path == Path::new(NAME) || path.to_str().is_some_and(|path| path.starts_with(".git"))
}

/// The bytes that are signed: DSSE's pre-authentication encoding.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|why| unreadable(&why.to_string()))
}

fn unreadable(why: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("`{NAME}` is no signature that can be checked"))
        .because(why.to_owned())
        .help("what can be checked is what `model_signing sign key` of `model-signing` 1.x writes")
}

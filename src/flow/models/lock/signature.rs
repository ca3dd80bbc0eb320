//! Checks a model's signature before it is locked: from then on the lock vouches for it.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{
            LockedFile, LockedModel,
            signature::{NAME, PublicKey, Signed},
        },
        problem::{Kind, Problem},
        profile::Model,
        size::ByteSize,
    },
    host::os::{fs, trust},
};
use std::path::Path;

/// The longest signature that is read into memory. A file takes some 200 bytes of one.
const LONGEST: ByteSize = ByteSize::mib(16);

/// A problem if the profile names a key, and the model is not what that key signed. `read` gets the
/// signature.
pub(super) fn check(
    wanted: &Model,
    locked: &LockedModel,
    read: impl FnOnce(&LockedFile) -> Result<Vec<u8>, Problem>,
) -> Result<(), Problem> {
    let Some(path) = &wanted.signed_by else { return Ok(()) };
    let help = "correct `signed-by` in the profile's `[model]`";
    trust::believe_as_root(path)?;
    let key = fs::read(path)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("there is no key `{}`", path.display())).help(help)
    })?;
    let key = PublicKey::from_pem(&key).map_err(|problem| {
        Problem::new(problem.kind, format!("`{}` is {}", path.display(), problem.what)).help(help)
    })?;
    let file = locked.files.iter().find(|file| file.path == Path::new(NAME));
    let file = file.filter(|file| file.size <= LONGEST).ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("there is no signature `{NAME}` in `{}`", locked.repo))
            .help("leave out `signed-by` in the profile's `[model]`, or lock a model that its maker signed")
    })?;
    let text = read(file)?;
    if Sha256Digest::of(&text) != file.sha256 {
        return Err(Problem::new(Kind::Unverified, format!("`{NAME}` changed while it was read"))
            .help("run it again"));
    }
    Signed::read(&text, &key)?.agrees(locked)
}

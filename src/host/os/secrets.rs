//! Reads secrets from root's files, and from the credentials that systemd gives the service.

use super::{fs, trust};
use crate::domain::{
    problem::{Kind, Problem},
    profile::secrets::{Secret, SecretText, Secrets},
};
use std::{
    env,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The variable that names the folder of a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// A problem if one of these files cannot be used, or is no secret: found before anything is stopped.
pub fn verify(secrets: &Secrets) -> Result<(), Problem> {
    for (secret, path) in secrets.all() {
        in_file(secret, path)?;
        let shown = path.display();
        let found = path.metadata().map_err(|e| Problem::doing(format_args!("look at `{shown}`"), e))?;
        if found.mode() & OTHERS != 0 {
            return Err(Problem::new(Kind::Refused, format!("`{shown}` is no secret: others may read it"))
                .help(format!("`chmod 600 {shown}`")));
        }
        // The file's owner knows the secret, and whoever can replace the file chooses it.
        trust::believe(path, &trust::ours_and_callers())?;
    }
    Ok(())
}

/// The secret variables of an engine, beside its plan's environment. The service gets each secret from
/// systemd.
pub(crate) fn variables(secrets: &Secrets) -> Result<Vec<(String, SecretText)>, Problem> {
    secrets.all().map(|(secret, path)| Ok((secret.variable().to_owned(), text(secret, path)?))).collect()
}

/// The API key that the engine asks clients for.
pub(crate) fn api_key(secrets: &Secrets) -> Result<Option<SecretText>, Problem> {
    secrets.api_key.as_deref().map(|path| text(Secret::ApiKey, path)).transpose()
}

/// The text of a secret: in the service its credential, elsewhere its file.
fn text(secret: Secret, path: &Path) -> Result<SecretText, Problem> {
    let handed = env::var_os(CREDENTIALS).map(|folder| PathBuf::from(folder).join(secret.credential()));
    match handed.filter(|handed| handed.exists()) {
        Some(handed) => in_file(secret, &handed),
        None => in_file(secret, path),
    }
}

fn in_file(secret: Secret, path: &Path) -> Result<SecretText, Problem> {
    let shown = path.display();
    let refused = |what: String| Problem::new(Kind::Refused, what);
    let content = match fs::read(path) {
        Ok(Some(content)) => content,
        Ok(None) => {
            return Err(refused(format!("there is no file `{shown}`"))
                .help(format!("write the secret into it, for root alone, or correct `{}`", secret.key())));
        }
        Err(problem) if !rustix::process::geteuid().is_root() => {
            return Err(problem.help("only root reads this secret: run the same command with `sudo`"));
        }
        Err(problem) => return Err(problem),
    };
    SecretText::of(&content).map_err(|fault| {
        refused(format!("`{shown}` {fault}")).help("it is to hold the secret alone, on one line")
    })
}

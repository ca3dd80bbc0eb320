//! The common settings of all HTTP clients.

use reqwest::{Certificate, Client, ClientBuilder, redirect::Policy};
use std::{env, error::Error, fs, path::Path};

/// Beside the system's own variables, `SSL_CERT_FILE` and `SSL_CERT_DIR`: what Python's `requests` reads, in this order.
const BUNDLES: [&str; 2] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// The longest file of certificates that is read. That of a distribution takes some 220 KiB.
const MOST_CERTIFICATES: u64 = 8 << 20;

/// The `User-Agent` header.
const USER_AGENT: &str = concat!("awqdeploy/", env!("CARGO_PKG_VERSION"));

/// The most redirects that are followed. The hub needs two: a renamed repository, and the CDN.
const REDIRECTS: usize = 5;

/// A client for the Internet, by the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY` …) and the
/// system's certificates. Secrets go to no other host than they were meant for (reqwest drops them), and
/// never from an encrypted connection to a plain one.
pub(crate) fn public() -> ClientBuilder {
    // Fails where it is installed already, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder = bundles().into_iter().fold(Client::builder(), ClientBuilder::add_root_certificate);
    builder.user_agent(USER_AGENT).redirect(Policy::custom(|attempt| {
        let downgraded = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
            && attempt.url().scheme() != "https";
        if downgraded {
            attempt.error("a redirect from https to http")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    }))
}

/// The authorities that a variable names: those of a file, or of all files in a folder. What cannot be read is none.
fn bundles() -> Vec<Certificate> {
    let Some(named) = BUNDLES.iter().find_map(|name| env::var_os(name).filter(|path| !path.is_empty()))
    else {
        return Vec::new();
    };
    let named = Path::new(&named);
    let files = match fs::read_dir(named) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![named.to_owned()],
    };
    let read = |path: &std::path::PathBuf| {
        let found = fs::metadata(path).ok()?;
        let bytes = fs::read(path).ok().filter(|_| found.is_file() && found.len() <= MOST_CERTIFICATES)?;
        Certificate::from_pem_bundle(&bytes).ok()
    };
    files.iter().filter_map(read).flatten().collect()
}

/// The innermost cause: `Connection refused (os error 111)` says more than three layers of "error
/// sending request".
pub(crate) fn root_of(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

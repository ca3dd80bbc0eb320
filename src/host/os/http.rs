//! The common settings of all HTTP clients.

use reqwest::{Client, ClientBuilder, redirect::Policy};
use std::error::Error;

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
    Client::builder().user_agent(USER_AGENT).redirect(Policy::custom(|attempt| {
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

/// The innermost cause: `Connection refused (os error 111)` says more than three layers of "error
/// sending request".
pub(crate) fn root_of(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

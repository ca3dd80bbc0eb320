//! Hubs, and proxies before them, that are within their rights, or think so: the model comes in spite of it, or one is told why not.

use super::{Bench, LARGE, REPO, SMALL, killed::program, model, shown_of};
use crate::hub::{Entry, Fault, Hub, Odd, Repo, When};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// A connection ends early, and the rest is asked for by a range, which is answered as nobody should.
#[test]
fn ranges_that_are_answered_oddly_cost_the_whole_file() {
    for odd in [Odd::Slice, Odd::Unnamed, Odd::Lengthless, Odd::Elsewhere, Odd::Refused] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.trap(LARGE, Fault::Cut { after: 9_000_000 }, When::Nth(1));
        for path in [LARGE, SMALL] {
            bench.hub.trap(path, Fault::Ranges(odd), When::Always);
        }
        let fetched = bench.fetched();
        assert!(fetched.downloaded >= fetched.bytes, "{odd:?}");
        let whole =
            bench.hub.seen().iter().filter(|seen| seen.path.contains(LARGE) && seen.range.is_none()).count();
        assert!(whole > 0, "{odd:?}: the whole file was never asked for");
    }
}

/// Hugging Face says how long its window is shut in a header of its own.
#[test]
fn the_window_of_a_rate_limit_is_waited_for() {
    for path in [LARGE, "tree", "revision"] {
        let bench = Bench::new();
        if path == LARGE {
            bench.lock().unwrap();
        }
        bench.hub.trap(path, Fault::RateLimit { seconds: 1 }, When::First(1));
        let began = Instant::now();
        if path != LARGE {
            bench.lock().unwrap();
        }
        bench.fetched();
        assert!(began.elapsed() >= Duration::from_secs(1), "{path}: came back after {:?}", began.elapsed());
    }
}

/// A signed address ends with its time, which is no matter of terms or of tokens.
#[test]
fn an_address_that_has_expired_is_asked_for_again() {
    for status in [401, 403, 404, 410] {
        let bench = Bench::new();
        bench.lock().unwrap();
        bench.hub.seen();
        bench.hub.trap(LARGE, Fault::Status { status, retry_after: None }, When::First(1));
        bench.fetched();
        let asked = bench.hub.seen().iter().filter(|seen| !seen.cdn && seen.path.contains(LARGE)).count();
        assert!(asked >= 2, "{status}: the hub was asked {asked} times for an address");
    }
}

#[test]
fn a_body_that_is_coded_is_named() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.hub.trap(SMALL, Fault::Coded, When::Always);
    let told = shown_of(bench.fetch());
    assert!(told.contains("not a hub's answer: a file coded as `gzip`, which was not asked for"), "{told}");
}

#[test]
fn a_link_without_a_host_leads_to_the_next_page() {
    for entries in [1, 2, 6] {
        let bench = Bench::new();
        bench.hub.page(entries);
        bench.hub.trap("next", Fault::Relative, When::Always);
        assert_eq!(bench.lock().unwrap().files.len(), model().files.len(), "{entries} on a page");
    }
}

/// A proxy may know a repository, and have no route for its listing, in its own words.
#[test]
fn a_proxy_that_lists_nothing_is_told_so() {
    for status in [400, 404, 405, 410, 501] {
        let bench = Bench::new();
        bench.hub.trap("tree", Fault::Status { status, retry_after: None }, When::Always);
        let told = shown_of(bench.lock());
        assert!(told.contains("the route `tree` is not there"), "{status}: {told}");
        assert!(told.contains("ask the hub itself (`HF_ENDPOINT`)"), "{status}: {told}");
        assert_eq!(
            bench.hub.seen().iter().filter(|seen| seen.path.contains("/tree/")).count(),
            1,
            "{status}"
        );
    }
    let bench = Bench::new();
    bench.hub.put(REPO, Repo::of([]));
    let told = shown_of(bench.lock());
    assert!(told.contains("not a hub's answer: a listing without a single file"), "{told}");
}

/// Files are opened when their turn comes: neither limit of a process is reached.
#[test]
fn many_small_files_come_under_a_low_limit_of_descriptors() {
    let small =
        (0..400).map(|number| (format!("f{number:03}.json"), Entry::of("x.json", number.to_string())));
    let weights = ("model.safetensors".to_owned(), Entry::of("model.safetensors", "weights"));
    let config = ("config.json".to_owned(), Entry::of("config.json", r#"{"architectures":["X"]}"#));
    let bench = Bench { hub: Hub::start(REPO, Repo::of(small.chain([config, weights]))), ..Bench::new() };
    for words in [["lock", "awq"], ["fetch", "awq"]] {
        let inner = program(&bench, &words);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""])
            .arg(inner.get_program())
            .args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        let output = limited.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

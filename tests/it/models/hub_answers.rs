//! The answers of hubs, read; how patient we are; and who fetches what.

use crate::{stand::NEVER, vllm::hostile_servers::drip};
use awqdeploy::{
    domain::{
        digest::Sha256Digest,
        hub::{
            Concern, Content, HubError, Listing, MOST_FILES, Patience, Throttle, commit, encoded, git_name,
            listing, next_page,
            peer::SshPeer,
            retry_after,
            schedule::{Next, Schedule},
        },
        problem::Kind,
        size::ByteSize,
        spelling::lines,
    },
    host::hub::{Hub, Settings, Source},
};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn a_listing_as_the_hub_writes_it() {
    // Shape of GET /api/models/REPO/tree/main?recursive=true, October 2026.
    let json = br#"[
        {"type":"directory","oid":"aa","size":0,"path":"sub"},
        {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","size":0,"path":"sub/empty.txt"},
        {"type":"file","oid":"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0","size":5,"path":"m.safetensors",
         "lfs":{"oid":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5,"pointerSize":135},
         "xetHash":"00","lastCommit":null}]"#;
    let files = listing(json).unwrap();
    assert_eq!(files.len(), 2, "folders are no files");
    assert_eq!(files[0].content, Content::Git(git_name(b"")));
    assert_eq!((files[1].size, files[1].path.as_path()), (ByteSize(5), Path::new("m.safetensors")));
    assert!(matches!(files[1].content, Content::Sha256(_)));
}

#[test]
fn what_is_no_listing_is_said_so() {
    let fault = |json: &str| listing(json.as_bytes()).unwrap_err().to_string();
    assert_snapshot!(fault("<html>Sign in</html>"), @"not a hub's answer: expected value at line 1 column 1");
    let file =
        |path: &str, oid: &str| format!(r#"[{{"type":"file","oid":"{oid}","size":1,"path":"{path}"}}]"#);
    assert_snapshot!(fault(&file("../x", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")), @"not a hub's answer: it lists a file `../x`: has an empty part, `.` or `..`");
    assert_snapshot!(fault(&file("x", "zz")), @"not a hub's answer: of `x`: `zz` is not a hash of git: want 40 hexadecimal digits");
    let long = file("x", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").replace(":1,", ":9007199254740993,");
    assert_snapshot!(fault(&long), @"not a hub's answer: of `x`: a length of 9007199254740993 bytes");
    assert!(commit(br#"{"sha":"main"}"#).is_err());
}

/// No folder could hold these files, whoever lists them, and on whichever page.
#[test]
fn a_name_is_a_files_or_a_folders_and_one_files_only() {
    let file = |path: &str| {
        let oid = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        format!(r#"{{"type":"file","path":"{path}","size":1,"oid":"{oid}"}}"#)
    };
    let told = |names: &[&str]| {
        let mut all = Listing::default();
        let added = names.iter().try_for_each(|name| all.add(format!("[{}]", file(name)).as_bytes()));
        added.map_err(|fault| fault.to_string())
    };
    assert_eq!(told(&["a/b", "a/c", "A", "ab", "a/d/e", "a/d/f"]), Ok(()));
    for (names, what) in [
        (["a", "a"], "`a` twice"),
        (["a", "a/b"], "`a` as a file and as a folder"),
        (["a/b/c", "a"], "`a` as a file and as a folder"),
        (["a/b", "a/b/c"], "`a/b` as a file and as a folder"),
    ] {
        assert_eq!(told(&names), Err(format!("not a hub's answer: it lists {what}")));
    }
}

/// Pages may come one after the other, each within its limits.
#[test]
fn a_listing_has_an_end() {
    let page = |from: usize, count: usize| {
        let file = |number: usize| {
            let oid = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
            serde_json::json!({ "type": "file", "path": format!("f{number}"), "size": 1, "oid": oid })
        };
        serde_json::to_vec(&(from..from + count).map(file).collect::<Vec<_>>()).unwrap()
    };
    let mut many = Listing::default();
    for number in 0..MOST_FILES / 10_000 {
        many.add(&page(number * 10_000, 10_000)).unwrap();
    }
    let fault = many.add(&page(MOST_FILES, 1)).unwrap_err().to_string();
    assert_eq!(fault, "not a hub's answer: a listing of more than 100000 files");
    assert_eq!(many.files().len(), MOST_FILES);

    // Pages of nothing but blanks.
    let (mut blank, mut pages) = (Listing::default(), 0);
    let nothing = [b"[".as_slice(), &vec![b' '; 16 << 20], b"]"].concat();
    let fault = loop {
        match blank.add(&nothing) {
            Ok(()) => pages += 1,
            Err(fault) => break fault.to_string(),
        }
    };
    assert_eq!((pages, fault.as_str()), (3, "not a hub's answer: a listing of more than 64.0 MiB"));
}

/// A byte now and then keeps no answer alive.
#[tokio::test]
async fn a_listing_that_drips_is_late() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[";
    let address = drip(head, b" ", Duration::from_millis(50));
    let mut settings = Settings::of(|_| None).unwrap();
    settings.endpoint = format!("http://{address}");
    settings.patience.whole = Duration::from_secs(1);
    let hub = Hub::new(&settings).unwrap();
    let source = Source { repo: "owner/model".to_owned(), revision: "main".to_owned() };
    let began = Instant::now();
    assert_eq!(hub.list(&source).await.unwrap_err(), HubError::Late(Duration::from_secs(1)));
    assert!(matches!(hub.commit("owner/model", "main").await, Err(HubError::Late(_))));
    assert!(began.elapsed() < NEVER, "{:?}", began.elapsed());
}

#[test]
fn git_names_files_as_git_does() {
    // `printf hello | git hash-object --stdin`
    assert_eq!(git_name(b"hello").to_string(), "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0");
}

#[test]
fn addresses() {
    assert_eq!(encoded(Path::new("a b/ü%#?.json")), "a%20b/%C3%BC%25%23%3F.json");
    let link = r#"<https://hub/prev>; rel="prev", <https://hub/next?cursor=a%3D>; rel="next""#;
    assert_eq!(next_page(link), Some("https://hub/next?cursor=a%3D"));
    assert_eq!(next_page(r#"<https://hub/last>; rel="last""#), None);
}

#[test]
fn a_hub_says_when_to_come_again_in_two_ways() {
    let now = Some("Mon, 23 Nov 2026 17:00:00 GMT");
    for (text, date, due) in [
        ("120", None, Some(120)),
        (" 0 ", None, Some(0)),
        ("Mon, 23 Nov 2026 17:01:30 GMT", now, Some(90)),
        // The first example of RFC 9110: long ago.
        ("Sun, 06 Nov 1994 08:49:37 GMT", now, Some(0)),
        ("Mon, 23 Nov 2026 17:01:30 GMT", None, None),
        ("Mon, 23 Nov 2026 17:01:30 GMT", Some("now"), None),
        ("soon", now, None),
        ("-1", now, None),
        ("1e3", now, None),
    ] {
        assert_eq!(retry_after(text, date), due.map(Duration::from_secs), "{text} at {date:?}");
    }
}

#[test]
fn faults_that_pass_and_faults_that_do_not() {
    let passes = |status| HubError::of_status(status, None).map(|fault| fault.passes());
    assert_eq!([200, 206].map(passes), [None, None]);
    assert_eq!([408, 429, 500, 502, 503, 504].map(passes), [Some(true); 6]);
    assert_eq!([301, 400, 401, 403, 404, 410, 416, 451].map(passes), [Some(false); 8]);
}

proptest! {
    #[test]
    fn a_pause_doubles_within_its_limits(failures in 1..40u32, random in 0.0..1.0f64) {
        let patience = Patience::DEFAULT;
        let pause = patience.pause(failures, None, random).unwrap();
        let full = patience.pause(failures, None, 0.0).unwrap();
        prop_assert!(pause <= patience.longest_pause && pause * 2 >= full && pause <= full);
        let next = patience.pause(failures + 1, None, 0.0).unwrap();
        prop_assert!(next == full * 2 || next == patience.longest_pause);
    }

    #[test]
    fn a_hub_is_left_alone_as_long_as_it_asks(seconds in 0..1000u64) {
        let asked = Duration::from_secs(seconds);
        let patience = Patience::DEFAULT;
        for failures in [1, 4] {
            let pause = patience.pause(failures, Some(asked), 0.9);
            prop_assert_eq!(pause.is_some(), seconds <= 300);
            // Never earlier, nor all at once, nor at once again and again.
            let least = patience.pause(failures, None, 0.9).unwrap();
            let most = least.max(asked + patience.first_pause);
            prop_assert!(pause.is_none_or(|pause| pause >= asked.max(least) && pause <= most));
        }
    }

    /// Whatever the order in which connections work, every wanted piece is fetched once, and no other.
    #[test]
    fn every_piece_is_fetched_once(
        files in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..40), 0..6),
        connections in 1..6usize,
        order in prop::collection::vec(0..6usize, 1..400),
    ) {
        let wanted: BTreeSet<(usize, usize)> = files
            .iter()
            .enumerate()
            .flat_map(|(file, pieces)| (0..pieces.len()).filter(|at| pieces[*at]).map(move |at| (file, at)))
            .collect();
        let mut schedule = Schedule::new(connections, files.clone());
        let mut at: Vec<Option<(usize, usize)>> = vec![None; connections];
        let mut fetched = Vec::new();
        let turns = order.iter().copied().chain((0..connections).cycle().take(2000));
        for connection in turns.map(|turn| turn % connections) {
            if let Some((file, piece)) = at[connection].take() {
                let ahead = schedule.ahead(connection);
                prop_assert_eq!(ahead.start, piece);
                fetched.push((file, piece));
                at[connection] = schedule.finished_piece(connection).then_some((file, piece + 1));
            } else if let Next::Run(run) = schedule.next(connection) {
                at[connection] = Some((run.file, run.pieces.start));
            }
        }
        prop_assert_eq!(schedule.next(0), Next::End);
        prop_assert_eq!(fetched.len(), wanted.len());
        prop_assert_eq!(fetched.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}

#[test]
fn one_large_file_keeps_all_connections_busy() {
    let mut schedule = Schedule::new(4, [vec![true; 64]]);
    for connection in 0..4 {
        assert!(matches!(schedule.next(connection), Next::Run(_)), "connection {connection} is idle");
    }
    let shares: Vec<usize> = (0..4).map(|connection| schedule.ahead(connection).len()).collect();
    assert_eq!(shares, [8, 8, 8, 8], "halves of quarters");
}

/// Whoever reads faster than the rate waits for as long as the bytes should have taken, whatever came together.
#[test]
fn a_rate_is_kept_over_all_that_came() {
    let mut throttle = Throttle::new(ByteSize(1000));
    let began = Instant::now();
    let after = |seconds| began + Duration::from_secs(seconds);
    assert_eq!(throttle.take(500, began), Duration::from_millis(500));
    assert_eq!(throttle.take(1500, began), Duration::from_secs(2));
    // Two connections that waited go on where the bytes of both end.
    assert_eq!(throttle.take(1000, after(2)), Duration::from_secs(1));
    // Time in which nothing came is lost, and not made up for at a higher rate.
    assert_eq!(throttle.take(1000, after(10)), Duration::from_secs(1));
    assert!(Throttle::new(ByteSize(0)).take(1, began) > Duration::ZERO);
}

#[test]
fn a_peers_address_is_a_host_and_never_an_option() {
    let command = |address: &str| {
        let peer = SshPeer::parse(address).unwrap().unwrap();
        let content = Sha256Digest::of("");
        let words = peer.command(content, &(8..16));
        words.join(" ").replace(&content.to_string(), "SHA256")
    };
    assert_snapshot!(
        ["ssh://gpu2", "ssh://me@gpu2:2222/", "ssh://[fe80::1%eth0]:22/srv/a'b", "ssh://10.0.0.7/root"].map(command).join("\n"),
        @r"
    -oBatchMode=yes -oConnectTimeout=10 -- gpu2 test -r '/var/lib/awqdeploy/store/blobs/SHA256' || exit 0; tail -c +9 '/var/lib/awqdeploy/store/blobs/SHA256' | head -c 8
    -oBatchMode=yes -oConnectTimeout=10 -p2222 -- me@gpu2 test -r '/var/lib/awqdeploy/store/blobs/SHA256' || exit 0; tail -c +9 '/var/lib/awqdeploy/store/blobs/SHA256' | head -c 8
    -oBatchMode=yes -oConnectTimeout=10 -p22 -- fe80::1%eth0 test -r '/srv/a'\''b/store/blobs/SHA256' || exit 0; tail -c +9 '/srv/a'\''b/store/blobs/SHA256' | head -c 8
    -oBatchMode=yes -oConnectTimeout=10 -- 10.0.0.7 test -r '/root/store/blobs/SHA256' || exit 0; tail -c +9 '/root/store/blobs/SHA256' | head -c 8
    "
    );
    for address in [
        "ssh://",
        "ssh://-oProxyCommand=id",
        "ssh://-l@gpu2",
        "ssh://a b",
        "ssh://gpu2:0",
        "ssh://gpu2:x",
        "ssh://$(id)",
        "ssh://gpu2/a\nb",
    ] {
        assert_eq!(SshPeer::parse(address).unwrap_err().kind, Kind::Usage, "{address}");
    }
    assert_eq!(SshPeer::parse("/srv/models").unwrap(), None);
}

/// A fault gives up what it is about: no more, and no less.
#[test]
fn a_fault_is_about_the_hub_a_repository_or_a_file() {
    let late = Duration::from_secs(1);
    for (fault, concern) in [
        (HubError::Unreachable(String::new()), Concern::Hub),
        (HubError::Late(late), Concern::Hub),
        (HubError::Untrusted(String::new()), Concern::Hub),
        (HubError::StaleToken, Concern::Hub),
        (HubError::NotNow { status: 503, retry_after: None }, Concern::Hub),
        (HubError::Denied(403), Concern::Repository),
        (HubError::Cut(String::new()), Concern::File),
        (HubError::Missing, Concern::File),
        (HubError::Changed(String::new()), Concern::File),
        (HubError::Expired(403), Concern::File),
        (HubError::NoPart(String::new()), Concern::File),
        (HubError::Malformed(String::new()), Concern::File),
    ] {
        assert_eq!(fault.concerns(), concern, "{fault}");
    }
}

#[test]
fn a_long_list_is_shown_in_part() {
    let of = |count: usize| lines((0..count).map(|number| number.to_string()));
    assert_eq!((of(0).as_str(), of(2).as_str()), ("", "0\n1"));
    assert_eq!(of(21).lines().count(), 21);
    assert!(of(100_000).ends_with("\n19\n… and 99980 more"));
}

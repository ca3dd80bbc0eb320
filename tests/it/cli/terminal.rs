//! Foreign words drive no terminal: neither a server's, nor a log's, nor those of what is on record.

use crate::{
    program::{Said, awqdeploy},
    recorded::serve,
    scratch::tempdir,
    stand::{FORKED, NEW, OLD, Stand},
};
use awqdeploy::{
    cli::terminal::{TextStyle, is_hidden, json_text, plain, styled},
    domain::{
        activation::machine::{Activation, Cause, End, State, Step},
        generation_id::GenerationId,
        validation::report::Report,
    },
    host::{process::exec, store::Evidence},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, fs, os::unix::net::UnixDatagram, time::Duration};

/// A window's title, magenta, a cleared screen, the same by a C1 byte, DEL, text that runs backwards, a mark like ours,
/// and what a browser would run.
const HOSTILE: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[35mred\u{1b}[2J\u{9b}2J\u{9d}0;PWNED\u{9c}\u{7f}\u{202e}txt\u{61c}\u{2066}\
    \u{fdd0}0000000000000000+x\u{fdd0}<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
/// Parts of foreign words that we never send.
const NEVER: [&str; 7] = ["\u{1b}]", "\u{1b}[35m", "\u{1b}[2J", "\u{7}", "\u{9b}", "\u{7f}", "\u{202e}"];

/// The text without our own colours: `ESC [ … m`.
fn uncoloured(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let after = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = after.strip_prefix('m').unwrap_or_else(|| panic!("{:?} is no colour", &rest[at..]));
    }
    out + rest
}

fn harmless(text: &str) {
    for never in NEVER {
        assert!(!text.contains(never), "{never:?} in {text:?}");
    }
    let left: Vec<char> = uncoloured(text).chars().filter(|c| is_hidden(*c)).collect();
    assert!(left.is_empty(), "{left:?} in {text:?}");
}

proptest! {
    /// Nothing hidden is left of any text, and nothing else is touched.
    #[test]
    fn nothing_but_our_colours_is_sent(text in any::<String>(), before in any::<char>()) {
        let mixed = format!("{}{before}{text}{:#}", TextStyle::Bad, TextStyle::Bad);
        let shown = styled(&mixed);
        let (begin, end) = ("\u{1b}[1m\u{1b}[31m", "\u{1b}[0m");
        let inside = shown.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
        let inside = inside.expect("our colour is there");
        prop_assert!(!inside.contains(is_hidden), "{inside:?}");
        prop_assert_eq!(&plain(&mixed), inside);
        let visible: String = text.chars().filter(|c| !is_hidden(*c)).collect();
        prop_assert_eq!(plain(&visible), visible);
    }

    /// JSON with nothing hidden says the same.
    #[test]
    fn json_is_the_same_with_nothing_hidden(text in any::<String>()) {
        let hostile = format!("{text}{HOSTILE}");
        let safe = json_text(&serde_json::to_string(&hostile).unwrap());
        prop_assert!(!safe.contains(is_hidden), "{safe:?}");
        prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }
}

/// Letters of Unicode's tags say one thing to a model, and nothing to a person; a family of emoji is one picture.
#[test]
fn what_cannot_be_seen_is_shown() {
    assert_eq!(plain("a\u{e0041}\u{200b}\u{2028}\u{feff}b"), r"a\u{e0041}\u{200b}\u{2028}\u{feff}b");
    assert_eq!(json_text("\"\u{e0041}\""), r#""\udb40\udc41""#);
    for seen in ["👩‍👧", "نمی‌خواهم", "naïve – “quoted”\n"] {
        assert_eq!(plain(seen), seen);
    }
}

#[test]
fn a_mark_of_somebody_elses_is_text() {
    let foreign = "\u{fdd0}0000000000000000+x\u{fdd0}";
    assert_eq!(styled(foreign), r"\u{fdd0}0000000000000000+x\u{fdd0}");
    // Even with our own number: only whole marks are.
    let ours = format!("{}", TextStyle::Good);
    let cut: String = ours.chars().take(10).collect();
    assert!(styled(&cut).starts_with(r"\u{fdd0}"), "{cut:?}");
}

/// `systemctl status` prints what a service says of itself as it is.
#[test]
fn what_a_service_manager_is_told_drives_no_terminal() {
    let folder = tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let root = folder.path().join("a\u{1b}[2J\u{9b}root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("current"), "no link").unwrap();
    let mut program = awqdeploy(&["supervise"]);
    program.env("AWQDEPLOY_ROOT", &root).env("NOTIFY_SOCKET", folder.path().join("notify"));
    assert_ne!(Said::by(&mut program).code, Some(0));
    let mut told = [0; 4096];
    let length = socket.recv(&mut told).expect("it says why");
    let told = std::str::from_utf8(&told[..length]).unwrap();
    assert!(told.starts_with("STATUS=") && told.contains(r"a\u{1b}[2J\u{9b}root"), "{told:?}");
}

/// A root whose second generation failed, and whose evidence is of somebody who means harm.
fn poisoned() -> Stand {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    let store = &stand.context.store;
    let writer = store.writer(FORKED, "test").unwrap();
    let good = store.report(2, Evidence::Candidate).unwrap().unwrap();
    let says = || HOSTILE.to_owned();
    let mut checks = good.checks.clone();
    for check in &mut checks {
        check.detail = Some(says());
    }
    let report = Report {
        failures: vec![says()],
        doubts: vec![says()],
        added_fields: vec![says()],
        checks,
        generation: Some(GenerationId(2)),
        ..good
    };
    let (number, mut journal) = writer.begin_activation().unwrap();
    writer.keep_report(number, Evidence::Candidate, &report).unwrap();
    writer.keep_report(2, Evidence::Candidate, &report).unwrap();
    writer.keep_log(number, &format!("INFO all is well\nERROR {HOSTILE}\n")).unwrap();
    let cause = Cause::Failed { step: Step::Validate, why: says() };
    let state = State::Done { end: End::RolledBack { cause } };
    journal.record(&Activation { from: Some(GenerationId(1)), to: GenerationId(2), state }).unwrap();
    writer.point(Some(GenerationId(1))).unwrap();
    drop(writer);
    stand
}

/// Every command that shows what is on record, as a terminal gets it.
#[test]
fn whatever_is_on_record_drives_no_terminal() {
    let stand = poisoned();
    let page = stand.path("page.html").display().to_string();
    let (markdown, bench) =
        (stand.path("page.md").display().to_string(), stand.path("bench.json").display().to_string());
    let commands: [&[&str]; 10] = [
        &["status"],
        &["generations"],
        &["history"],
        &["why"],
        &["why", "2"],
        &["logs", "2"],
        &["report", "2"],
        &["report", "2", "--html", &page, "--markdown", &markdown, "--vllm-bench", &bench],
        &["diff", "1", "2"],
        &["deploy", HOSTILE, "--yes"],
    ];
    let mut seen = 0;
    for command in commands {
        for form in [&[][..], &["--json"]] {
            for progress in ["plain", "json"] {
                let mut program = awqdeploy(&[command, form, &["--progress", progress]].concat());
                program
                    .env("AWQDEPLOY_ROOT", stand.path("root"))
                    .env("AWQDEPLOY_PROFILES", stand.path("profiles"));
                program.env("CLICOLOR_FORCE", "1");
                let said = Said::by(&mut program);
                harmless(&said.stdout);
                harmless(&said.stderr);
                seen += usize::from(format!("{}{}", said.stdout, said.stderr).contains("PWNED"));
            }
        }
    }
    assert!(seen > 20, "only {seen} of 40 showed anything of it");
    for file in [&page, &markdown, &bench] {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains(is_hidden), "{file}");
    }
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is not shown");
    assert!(!page.contains("<script") && !page.contains("<img"), "a browser runs it");
}

#[test]
fn what_a_server_says_drives_no_terminal() {
    let models = serde_json::json!({ "data": [{ "id": HOSTILE }] }).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{models}").into_bytes();
    let url = format!("http://{}", serve(answer, 4096));
    for form in [&["--progress", "plain"][..], &["--progress", "json"], &["--json"]] {
        let command = [&["validate", "--url", &url, "--model", "tiny"], form].concat();
        let said = Said::by(awqdeploy(&command).env("CLICOLOR_FORCE", "1"));
        assert_eq!(said.code, Some(6), "{}", said.stderr);
        assert!(said.stdout.contains("PWNED"), "{}", said.stdout);
        harmless(&said.stdout);
        harmless(&said.stderr);
    }
}

/// Typed words may have been pasted.
#[test]
fn what_is_typed_drives_no_terminal() {
    for arguments in
        [&[HOSTILE][..], &["plan", "awq", HOSTILE], &["plan", HOSTILE], &["--progress", HOSTILE, "status"]]
    {
        let said = Said::by(awqdeploy(arguments).env("CLICOLOR_FORCE", "1"));
        assert_ne!(said.code, Some(0));
        assert!(said.stderr.contains("PWNED"), "{}", said.stderr);
        harmless(&said.stderr);
    }
}

#[test]
fn a_profile_of_the_old_name_is_still_shown_as_it_is() {
    assert_eq!(plain(&format!("{OLD}: naïve ☃ 日本\n\tok\r\n")), "gptq: naïve ☃ 日本\n\tok\n");
}

/// A program's output need not be text.
#[test]
fn bytes_that_are_no_text_and_lines_without_end_are_told() {
    let mut lines = Vec::new();
    let script = r"printf 'a\377\233b\n\n'; head -c 200000 /dev/zero | tr '\0' x; printf '\r\nlast'";
    exec::stream("sh", &["-c", script], &mut |line| lines.push(line.to_owned())).unwrap();
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("a\u{fffd}\u{fffd}b", ""));
    assert_eq!(lines.last().unwrap(), "last");
    assert_eq!(lines[2..lines.len() - 1].concat(), "x".repeat(200_000));
    assert!(lines.iter().all(|line| line.len() <= 64 << 10));
}

/// A program may print until it is ended, or until nobody has memory any more.
#[test]
fn of_a_program_that_prints_without_end_the_beginning_and_the_end_are_kept() {
    let none = BTreeMap::new();
    let very_much = "echo begin; yes $(printf %01000d 0) | head -c 50000000; echo; echo end";
    let is_kept = |said: &str| {
        assert!(said.starts_with("begin\n"), "{}", &said[..100]);
        assert!(said.ends_with("\nend\n") && said.contains(" bytes are left out]\n"));
        assert!(said.len() < 5 << 20, "{}", said.len());
    };
    let ended = exec::run("sh", &["-c", very_much], &none).unwrap();
    is_kept(&ended.stdout);
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let beside = format!("({very_much}) >&2; exit 3");
    let ended = exec::run_within(Duration::from_mins(1), "sh", &["-c", &beside], &none).unwrap().unwrap();
    is_kept(&ended.stderr);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), ""));
    // Told as it comes; of a command that failed all of it was kept beside.
    let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let mut told = 0_u64;
    let ended =
        exec::watch_alone("sh", &["-c", very_much], &environment, &mut |line| told += line.len() as u64 + 1);
    is_kept(&ended.unwrap().stderr);
    assert!(told > 50_000_000);

    // A command that does not end is ended, also where only somebody else still prints.
    let limit = Duration::from_millis(200);
    assert!(exec::run_within(limit, "yes", &[""; 0], &none).unwrap().is_none());
    assert!(exec::run_within(limit, "sh", &["-c", "yes & exit 0"], &none).unwrap().is_none());
}

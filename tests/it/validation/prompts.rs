//! The texts of measured requests: they differ from each other, and are the same for every server.

use crate::running_engine::start;
use awqdeploy::{
    domain::{
        generation_id::GenerationId,
        measure::prompts::{PromptSource, SHORT},
        profile::Sweep,
        validation::report::Report,
    },
    flow::validate::{Subject, validate},
    host::{process::owned::OwnedProcesses, vllm::api::Api},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Whoever changes the sentences or the drawing raises `SET`: stored measurements name it.
#[test]
fn the_first_set_stays_what_it_is() {
    insta::assert_snapshot!(
        PromptSource { set: 1, seed: 25 }.text("8-3", 150),
        @"Prune the roses in late winter, just above a bud that points outwards. Sodium reacts with water to form sodium hydroxide and hydrogen, and gives off heat."
    );
    assert_eq!(PromptSource::NOW, PromptSource { set: 1, seed: 25 });
}

#[test]
fn a_thousand_requests_have_a_thousand_texts() {
    let texts: Vec<String> =
        (0..1000).map(|number| PromptSource::NOW.text(&format!("8-{number}"), SHORT)).collect();
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 1000);
    // Eight at once do not go on from one place: a stream's next token follows from its last words.
    for eight in texts.chunks(8) {
        let ends: BTreeSet<Vec<&str>> =
            eight.iter().map(|text| words(text).into_iter().rev().take(4).collect()).collect();
        assert!(ends.len() >= 6, "{ends:?}");
    }
}

proptest! {
    #[test]
    fn texts_are_as_long_as_asked(name in "[0-9]{1,4}-[0-9]{1,3}", characters in 1usize..20_000, seed in any::<u64>()) {
        let source = PromptSource { set: 1, seed };
        let text = source.text(&name, characters);
        prop_assert_eq!(&text, &source.text(&name, characters));
        // To the end of a word, and the longest has 30 bytes.
        prop_assert!(text.len() + 1 >= characters && text.len() <= characters + 30, "{} for {characters}", text.len());
    }
}

/// In front of a server: notes what it is asked.
fn listening_in(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&heard);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ended = std::io::copy(&mut from, &mut to);
                let _told = to.shutdown(Shutdown::Both);
            });
            let asked = Arc::clone(&asked);
            thread::spawn(move || {
                let (mut client, mut server) = (client, server);
                let (mut said, mut piece) = (Vec::new(), vec![0; 65536]);
                while let Ok(count @ 1..) = client.read(&mut piece) {
                    said.extend_from_slice(&piece[..count]);
                    if server.write_all(&piece[..count]).is_err() {
                        break;
                    }
                }
                asked.lock().unwrap().extend(said);
                let _gone = server.shutdown(Shutdown::Write);
            });
        }
    });
    (address, heard)
}

/// One validation with a sweep: its report, and the texts of its measured requests without their labels, by name.
async fn swept() -> (Report, Vec<(String, String)>) {
    let engine = start(400.0, None);
    let mut plan = engine.plan();
    let (address, heard) = listening_in(engine.address);
    plan.serve.listen.port = address.port();
    plan.gates.output_tokens = 16;
    plan.gates.sweep =
        Sweep { prompt_tokens: vec![400], concurrency: vec![1, 4], time: Duration::from_mins(10) };
    let api = Api::of(&plan, OwnedProcesses::Ours).unwrap();
    let report = validate(&api, Subject::generation(GenerationId(1), &plan), None, None, &|_| {}).await;
    assert_eq!(report.failures, [""; 0]);
    // The words of a connection are noted when it ends.
    drop((api, engine));
    let deadline = std::time::Instant::now() + crate::stand::NEVER;
    loop {
        let texts = texts(&heard.lock().unwrap());
        if texts.iter().filter(|(name, _)| name.starts_with("4-")).count() == 8 {
            return (report, texts);
        }
        assert!(std::time::Instant::now() < deadline, "{texts:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn texts(heard: &[u8]) -> Vec<(String, String)> {
    let heard = String::from_utf8_lossy(heard);
    let mut texts: Vec<(String, String)> = heard
        .split("\"prompt\":")
        .skip(1)
        .filter_map(|rest| serde_json::Deserializer::from_str(rest).into_iter::<String>().next()?.ok())
        .filter_map(|prompt| {
            let (label, text) = prompt.strip_prefix("Entry ")?.split_once(' ')?;
            Some((label.split_once('-')?.1.to_owned(), text.to_owned()))
        })
        .collect();
    texts.sort();
    texts
}

/// Eight streams of one text shared their experts: 261 tokens/s where eight users would have got 70.
#[tokio::test]
async fn every_measured_request_has_a_text_of_its_own_and_every_server_the_same() {
    let (report, asked) = swept().await;
    let different: BTreeSet<&String> = asked.iter().map(|(_, text)| text).collect();
    assert!(asked.len() > 12 && different.len() == asked.len(), "{asked:#?}");
    let source = Some(PromptSource::NOW);
    assert_eq!((report.throughput.unwrap().prompts, report.sweep.unwrap().source), (source, source));

    let (_, again) = swept().await;
    // How many one stream needs, and how long a text must be for its tokens, is the measurements' matter.
    let (asked, again) = (named(&asked), named(&again));
    assert_eq!(asked.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    for (name, text) in asked {
        let other = again[name];
        assert!(text.starts_with(other) || other.starts_with(text), "{name}:\n{text}\n{other}");
    }
}

fn named(asked: &[(String, String)]) -> BTreeMap<&str, &str> {
    let wanted = asked.iter().filter(|(name, _)| name.contains('-') || name == "1");
    wanted.map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

#[test]
fn reports_of_before_there_was_a_source_are_read() {
    let mut stored = serde_json::to_value(Report::default()).unwrap();
    stored["sweep"] = serde_json::json!({ "prompts": [], "streams": [], "left_out": [] });
    let report: Report = serde_json::from_value(stored).unwrap();
    assert_eq!(report.sweep.unwrap().source, None);
}

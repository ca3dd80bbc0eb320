//! The transcript: one process hears what an activation tells in another.

use crate::scratch::tempdir;
use awqdeploy::{
    domain::{
        activation::machine::{Conclusion, State, Step},
        generation_id::GenerationId,
        problem::Kind,
        size::ByteSize,
    },
    flow::event::Event,
    host::store::transcript::{Reader, Transcript},
};
use std::{fs::OpenOptions, io::Write, path::Path};

fn told() -> Vec<Event> {
    let state = State::Forward { step: Step::Start };
    vec![
        Event::Stage("verify".to_owned()),
        Event::Progress { done: ByteSize(1), of: ByteSize(2) },
        Event::Activation { aim: Some(GenerationId(2)), state },
        Event::Engine("loading".to_owned()),
        Event::Measured { request: 1, of: 3, tokens_per_second: 12.5 },
        Event::Watching { until: jiff::Timestamp::from_second(1_800_000_000).unwrap() },
        Event::Watched { tokens_per_second: None, ttft_ms: None, wrong: Some("no answer".to_owned()) },
        Event::Refused { kind: Kind::Busy, what: "another".to_owned(), help: None },
        Event::Ended(Conclusion::WentBack),
    ]
}

fn heard(reader: &mut Reader) -> Vec<Event> {
    reader.news().unwrap()
}

#[test]
fn a_reader_hears_everything_once_and_as_it_was_told() {
    let folder = tempdir().unwrap();
    let mut reader = Reader::new(folder.path());
    assert_eq!(heard(&mut reader), []);
    let transcript = Transcript::open(folder.path()).unwrap();
    for event in told() {
        transcript.add(&event).unwrap();
        assert_eq!(heard(&mut reader), [event]);
        assert_eq!(heard(&mut reader), []);
    }
    assert_eq!(heard(&mut Reader::new(folder.path())), told());
}

#[test]
fn what_a_killed_process_left_half_said_is_passed_over() {
    let line = serde_json::to_vec(&told()[2]).unwrap();
    for cut in 0..line.len() {
        let folder = tempdir().unwrap();
        let mut reader = Reader::new(folder.path());
        Transcript::open(folder.path()).unwrap().add(&told()[0]).unwrap();
        append(folder.path(), &line[..cut]);
        assert_eq!(heard(&mut reader), told()[..1], "cut at {cut}");
        // The process that comes after it goes on.
        Transcript::open(folder.path()).unwrap().add(&told()[8]).unwrap();
        assert_eq!(heard(&mut reader), told()[8..], "cut at {cut}");
    }
}

fn append(folder: &Path, bytes: &[u8]) {
    let path = folder.join("events.jsonl");
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

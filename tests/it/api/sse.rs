//! The event stream parser.

use awqdeploy::domain::api::sse::{Event, MAX_EVENT_BYTES, Parser};
use proptest::prelude::*;

fn events(bytes: &[u8]) -> Vec<Event> {
    Parser::default().push(bytes).unwrap()
}

fn data(texts: &[&str]) -> Vec<Event> {
    texts.iter().map(|&text| Event { name: None, data: text.to_owned() }).collect()
}

/// Those of the standard's own examples that concern data.
#[test]
fn follows_the_standard() {
    for (stream, expected) in [
        ("data: a\n\n", data(&["a"])),
        ("data:a\n\ndata:  b\n\n", data(&["a", " b"])),
        ("data: YHOO\ndata: +2\ndata: 10\n\n", data(&["YHOO\n+2\n10"])),
        ("data\n\ndata\ndata\n\ndata:", data(&["", "\n"])),
        (": note\n\ndata: x\r\n\r\ndata: y\r\r", data(&["x", "y"])),
        ("id: 7\nretry: 5\ndatum: no\ndata: yes\n\n", data(&["yes"])),
        ("\u{feff}data: marked\n\n", data(&["marked"])),
        ("event: lost\n\ndata: nameless\n\n", data(&["nameless"])),
        ("data: unfinished\n", data(&[])),
    ] {
        assert_eq!(events(stream.as_bytes()), expected, "{stream:?}");
    }
    let named = &events(b"event: end\ndata: x\n\n")[0];
    assert_eq!(named.name.as_deref(), Some("end"));
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    assert_eq!(events(b"data: \xff!\n\n"), data(&["\u{fffd}!"]));
}

#[test]
fn an_event_has_a_limit() {
    let line = format!("data: {}\n", "x".repeat(1000));
    let mut parser = Parser::default();
    let lines = MAX_EVENT_BYTES / 1000 + 1;
    let grown = (0..lines).try_for_each(|_| parser.push(line.as_bytes()).map(drop));
    assert!(grown.is_err());
    // An endless line is an endless event; many small events are none.
    assert!(Parser::default().push(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
    let mut parser = Parser::default();
    for _ in 0..lines {
        parser.push(line.as_bytes()).unwrap();
        assert_eq!(parser.push(b"\n").unwrap().len(), 1);
    }
}

/// One event as a server may write it: its lines, each with one of the three line ends.
fn written() -> impl Strategy<Value = (Event, String)> {
    let name = proptest::option::of("[a-z]{1,5}");
    let text = proptest::collection::vec("[^\r\n\u{feff}]{0,12}", 1..4);
    let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
    (name, text, end).prop_map(|(name, lines, end)| {
        let mut stream = format!(": a comment{end}");
        if let Some(name) = &name {
            stream.extend(["event: ", name, end]);
        }
        for line in &lines {
            stream.extend(["data: ", line, end]);
        }
        stream += end;
        let data = lines.join("\n");
        (Event { name, data }, stream)
    })
}

proptest! {
    #[test]
    fn any_chunking_gives_the_events_that_were_written(
        written in proptest::collection::vec(written(), 0..6),
        cuts in proptest::collection::vec(1_usize..9, 1..40),
    ) {
        let stream: String = written.iter().map(|(_, text)| &**text).collect();
        let mut parser = Parser::default();
        let mut found = Vec::new();
        let mut rest = stream.as_bytes();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            found.extend(parser.push(piece).unwrap());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<Event> = written.into_iter().map(|(event, _)| event).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn noise_is_read_the_same_in_any_chunking(noise: Vec<u8>, cut: prop::sample::Index) {
        let (one, other) = noise.split_at(cut.index(noise.len() + 1));
        let mut parser = Parser::default();
        let mut found = parser.push(one).unwrap();
        found.extend(parser.push(other).unwrap());
        prop_assert_eq!(found, events(&noise));
    }
}

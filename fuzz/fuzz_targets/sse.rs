//! Whatever a server streams: no panic, the same events in any chunking, no line end in what was a line; and whatever
//! the events say, it is taken or refused.

#![no_main]

use awqdeploy::domain::api::{sse::{Event, Parser}, stream::Transcript};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let events = events(bytes, bytes.len().max(1));
    for chunk in [1, 3, 16] {
        assert_eq!(self::events(bytes, chunk), events);
    }
    let said: usize = events.iter().map(|event| event.data.len()).sum();
    // A byte that is no text becomes a replacement character of three.
    assert!(said <= 3 * bytes.len());
    assert!(events.iter().all(|event| !event.data.contains('\r')));
    transcribed(&events);
});

fn events(bytes: &[u8], chunk: usize) -> Vec<Event> {
    let mut parser = Parser::default();
    let pushed = bytes.chunks(chunk).map(|chunk| parser.push(chunk).expect("an input is below the limit"));
    pushed.flatten().collect()
}

fn transcribed(events: &[Event]) {
    let mut transcript = Transcript::default();
    let taken = (1..).zip(events).try_for_each(|(at, event)| transcript.take(&event.data, Duration::from_millis(at)));
    let sample = transcript.sample();
    assert_eq!(sample.tokens as usize, transcript.chunks().len());
    if taken.is_ok() && let Ok(streamed) = transcript.finish() {
        assert!(streamed.ttft() <= streamed.e2el());
    }
}

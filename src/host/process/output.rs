//! Keeps a program's output, within limits: it may print without end.

use std::{
    collections::VecDeque,
    io::{self, PipeReader, PipeWriter, Read},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Instant,
};

/// Bytes kept of the beginning, and of the end. Programs are asked for a hundredth of it.
const FIRST: usize = 2 << 20;
const LAST: usize = 2 << 20;
const CHUNK: usize = 64 << 10;

/// The beginning and the end of an output.
#[derive(Debug, Default)]
pub(super) struct KeptOutput {
    first: Vec<u8>,
    last: VecDeque<u8>,
    left_out: u64,
}

impl KeptOutput {
    pub(super) fn push(&mut self, said: &[u8]) {
        let (first, rest) = said.split_at(said.len().min(FIRST - self.first.len()));
        self.first.extend(first);
        self.last.extend(rest);
        let over = self.last.len().saturating_sub(LAST);
        self.last.drain(..over);
        self.left_out += over as u64;
    }

    /// The kept output as text, with a note of what was left out. Bytes that are no text are replaced.
    pub(super) fn into_text(mut self) -> String {
        if self.left_out > 0 {
            let note = format!("\n[{} bytes are left out]\n", self.left_out);
            self.first.extend(note.bytes());
        }
        self.first.extend(self.last);
        String::from_utf8_lossy(&self.first).into_owned()
    }

    /// Reads as long as the output is wanted. After that, a program that goes on printing finds the pipe
    /// closed.
    fn all(mut output: PipeReader, wanted: &Weak<()>) -> io::Result<Self> {
        let (mut kept, mut chunk) = (Self::default(), vec![0; CHUNK]);
        loop {
            match output.read(&mut chunk) {
                Ok(0) => return Ok(kept),
                Ok(_) if wanted.strong_count() == 0 => return Ok(kept),
                Ok(read) => kept.push(&chunk[..read]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Reads an output to its end, and keeps what it can of its text.
pub(super) fn text(output: PipeReader, wanted: &Weak<()>) -> io::Result<String> {
    KeptOutput::all(output, wanted).map(KeptOutput::into_text)
}

/// Reads one output of a program to its end, while other work goes on.
#[derive(Debug)]
pub(super) struct OutputReader<Output = String> {
    heard: Receiver<io::Result<Output>>,
    _wanted: Arc<()>,
}

impl<Output: Send + 'static> OutputReader<Output> {
    /// Begins to read in this way, as long as the output is wanted. The returned end is for the program.
    pub(super) fn begin(
        read: impl FnOnce(PipeReader, &Weak<()>) -> io::Result<Output> + Send + 'static,
    ) -> io::Result<(Self, PipeWriter)> {
        let (output, program) = io::pipe()?;
        let (told, heard) = channel();
        let wanted = Arc::new(());
        let still = Arc::downgrade(&wanted);
        let hear = move || drop(told.send(read(output, &still)));
        thread::Builder::new().name("hear".into()).spawn(hear)?;
        Ok((Self { heard, _wanted: wanted }, program))
    }

    /// The output, once all writers have ended. None: one still ran at `deadline`.
    pub(super) fn end(self, deadline: Instant) -> io::Result<Option<Output>> {
        match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(kept) => kept.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("what it says was not heard")),
        }
    }
}

//! Decides which connection fetches which pieces of which file next.
//!
//! Files are handed out whole, one a connection, for long reads are cheap. When none is left, a
//! connection that is free takes over the second half of the longest run that is still under way. So
//! a few large files, or one, still keep all connections busy to the end.

use std::{collections::VecDeque, ops::Range};

/// A run is not split for fewer pieces than this: a request costs more than it saves.
const LEAST_TO_SHARE: usize = 4;

/// The pieces that are wanted, and who fetches them.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    waiting: VecDeque<Run>,
    /// The run of each connection.
    under_way: Vec<Option<Run>>,
}

/// Consecutive pieces of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The file's number.
    pub file: usize,
    /// The pieces' numbers in it.
    pub pieces: Range<usize>,
}

/// The next work of a free connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Fetch these.
    Run(Run),
    /// Wait: others are at work, and may fail.
    Wait,
    /// All is fetched.
    End,
}

impl Schedule {
    /// For so many connections, at least 1. `files` tells of each file which of its pieces are wanted.
    pub fn new(connections: usize, files: impl IntoIterator<Item = Vec<bool>>) -> Self {
        let mut waiting = VecDeque::new();
        for (file, wanted) in files.into_iter().enumerate() {
            let mut from = 0;
            while from < wanted.len() {
                let to = (from..wanted.len()).find(|piece| !wanted[*piece]).unwrap_or(wanted.len());
                if from < to {
                    waiting.push_back(Run { file, pieces: from..to });
                }
                from = to + 1;
            }
        }
        Self { waiting, under_way: vec![None; connections.max(1)] }
    }

    /// The next work of a connection that has none.
    pub fn next(&mut self, connection: usize) -> Next {
        let run = self.waiting.pop_front().or_else(|| self.share());
        match run {
            Some(run) => {
                self.under_way[connection] = Some(run.clone());
                Next::Run(run)
            }
            None if self.under_way.iter().any(Option::is_some) => Next::Wait,
            None => Next::End,
        }
    }

    /// Records that this connection finished the first piece of its run. Returns whether there is more of it:
    /// another connection may have taken the rest over.
    pub fn finished_piece(&mut self, connection: usize) -> bool {
        let Some(run) = &mut self.under_way[connection] else { return false };
        run.pieces.start += 1;
        if run.pieces.is_empty() {
            self.under_way[connection] = None;
            return false;
        }
        true
    }

    /// The pieces that this connection should ask for in one request, from its next one on. Of a long run
    /// that is the half that another connection would leave it.
    pub fn ahead(&self, connection: usize) -> Range<usize> {
        let Some(run) = &self.under_way[connection] else { return 0..0 };
        let Range { start, end } = run.pieces;
        start..if end - start < LEAST_TO_SHARE { end } else { middle(&run.pieces) }
    }

    /// Wants a piece again, before all others.
    pub(crate) fn again(&mut self, run: Run) {
        self.waiting.push_front(run);
    }

    /// Gives up this connection. Its remaining pieces are fetched by nobody.
    pub(crate) fn abandon(&mut self, connection: usize) {
        self.under_way[connection] = None;
    }

    /// The second half of the longest run under way, without the piece that is being fetched.
    fn share(&mut self) -> Option<Run> {
        let longest = self.under_way.iter_mut().flatten().max_by_key(|run| run.pieces.len())?;
        if longest.pieces.len() < LEAST_TO_SHARE {
            return None;
        }
        let middle = middle(&longest.pieces);
        let rest = middle..longest.pieces.end;
        longest.pieces.end = middle;
        Some(Run { file: longest.file, pieces: rest })
    }
}

fn middle(pieces: &Range<usize>) -> usize {
    pieces.start + pieces.len().div_ceil(2)
}

//! Tells whether a running engine still generates. `/health` does not: it is answered by a hung engine too.

use crate::domain::api::openai::metric;
use std::time::Duration;

/// Unanswered questions in a row after which an engine counts as hung.
pub const UNANSWERED: u32 = 3;
/// The metrics that move while vLLM works, beside the tokens that it generates: prompts that were read, and
/// the share of its KV cache in use, by its two names. A long prompt fills the cache for minutes before its
/// first token.
const MOVES: [&str; 3] =
    ["vllm:prompt_tokens_total", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

/// The work that an engine has done so far, by its own counts. A working engine shows another value each
/// time.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    generated: f64,
    moves: [Option<f64>; 3],
}

impl Progress {
    /// Reads vLLM's metrics. Nothing where it does not count.
    pub fn parse(metrics: &str) -> Option<Self> {
        let generated = metric(metrics, "vllm:generation_tokens_total")?;
        Some(Self { generated, moves: MOVES.map(|name| metric(metrics, name)) })
    }
}

/// An observation of an engine whose `/health` is good.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The work done so far. Absent where it does not say.
    Progress(Option<Progress>),
    /// Answered a request for a token.
    Answered,
    /// Did not answer a request for a token.
    Silent {
        /// The error.
        why: String,
        /// The work done by then. Absent where it does not say.
        progress: Option<Progress>,
    },
}

/// The verdict on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Alive,
    /// Ask it for a token.
    Ask,
    /// Hung: answers `/health`, and nothing else.
    Hung(String),
}

/// The memory of a check for liveness.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// The time without visible work after which it is asked.
    ask_after: Duration,
    progress: Option<Progress>,
    /// When it was last known to work.
    at: Duration,
    unanswered: u32,
}

impl Liveness {
    /// An engine that has just answered. Times are counted from any moment that stays the same.
    pub fn since(now: Duration, ask_after: Duration) -> Self {
        Self { ask_after, progress: None, at: now, unanswered: 0 }
    }

    /// Judges what was seen. An engine that works for others need not be asked, and one that is asked may
    /// have others to answer first: work for anybody counts. An engine without counts is never called hung,
    /// since it may be at work for others.
    pub fn take(&mut self, now: Duration, seen: Seen) -> Verdict {
        let (progress, silent) = match seen {
            Seen::Progress(progress) => (progress, None),
            Seen::Answered => return self.works(now),
            Seen::Silent { why, progress } => (progress, Some(why)),
        };
        let works = progress.is_some() && self.progress.is_some() && progress != self.progress;
        let counts = progress.is_some();
        self.progress = progress.or(self.progress.take());
        match silent {
            _ if works => self.works(now),
            None if now.saturating_sub(self.at) < self.ask_after => Verdict::Alive,
            Some(why) if counts => {
                self.unanswered += 1;
                if self.unanswered < UNANSWERED {
                    return Verdict::Ask;
                }
                let since = now.saturating_sub(self.at).as_secs();
                Verdict::Hung(format!("it answers `/health`, and has generated nothing for {since} s: {why}"))
            }
            None | Some(_) => Verdict::Ask,
        }
    }

    fn works(&mut self, now: Duration) -> Verdict {
        self.at = now;
        self.unanswered = 0;
        Verdict::Alive
    }
}

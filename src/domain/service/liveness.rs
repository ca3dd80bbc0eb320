//! Does a serving engine still generate? `/health` does not say: it is answered while nothing is.

use crate::domain::api::openai::metric;
use std::time::Duration;

/// Unanswered questions in a row after which an engine counts as hung.
pub const UNANSWERED: u32 = 3;
/// What of vLLM's metrics moves while it works, beside the tokens that it generates: prompts that were read, and the share
/// of its KV cache in use, by its two names. A long prompt fills the cache for minutes before its first token.
const MOVES: [&str; 3] =
    ["vllm:prompt_tokens_total", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

/// How far an engine got with all that it was ever asked, by its own counts. One that works has another one each time.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    generated: f64,
    moves: [Option<f64>; 3],
}

impl Progress {
    /// What vLLM's metrics say of it. Nothing where it does not count.
    pub fn parse(metrics: &str) -> Option<Self> {
        let generated = metric(metrics, "vllm:generation_tokens_total")?;
        Some(Self { generated, moves: MOVES.map(|name| metric(metrics, name)) })
    }
}

/// What a look at an engine that is healthy by its own word showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// How far it got. Absent where it does not say.
    Progress(Option<Progress>),
    /// It was asked for a token, and answered.
    Answered,
    /// It was asked, and did not answer.
    Silent {
        /// What came instead.
        why: String,
        /// How far it got by then, as above.
        progress: Option<Progress>,
    },
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Alive,
    /// It is to be asked for a token.
    Ask,
    /// It answers `/health`, and nothing else.
    Hung(String),
}

/// What is remembered of an engine.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// How long nothing may be seen of it before it is asked.
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

    /// Takes what was seen. An engine that works for others need not be asked, and one that is asked may have others to
    /// answer first: what it does for anybody counts. One that does not count is never called hung, since nobody knows
    /// for whom it may be at work.
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

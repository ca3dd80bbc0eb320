//! Judges what is seen of a generation on probation: whether it stays well after its commit.
//!
//! It is judged by what its users get, by vLLM's own counts, and by short completions of ours while nobody uses it. How
//! often it errs is simulated in `tests/it/validation/simulation.rs`.

use super::{quality::gibberish::one_character, users::Served};

/// Short completions in a row that got no good answer, after which the engine counts as hung.
pub const UNANSWERED: u32 = 3;
/// Looks in a row at which users had requests and got nothing, after which the engine counts as hung. A long prompt is read
/// for a while before anything shows of it.
pub const STUCK: u32 = 6;
/// Looks in a row that showed it below the margin, after which it counts as too slow. More than one: a host is busy at times.
pub const SLOW: u32 = 5;
/// The share of the floor below which a look counts as slow. A server that was shown to meet the floor is below this five
/// times in a row by chance less than once in ten thousand watches, if its readings differ by 20 %.
pub const MARGIN: f64 = 0.8;
/// Ends of the service after which it counts as crashing again and again. One is what `Restart=` is for.
pub const ENDS: u32 = 2;
/// Texts that are remembered.
const TEXTS: usize = 3;

/// An observation of a generation on probation.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// The engine was idle, and answered a short completion at this decode rate, tokens/s.
    Alone(f64),
    /// Answered a short completion. The rate says nothing: others used the server meanwhile, or it does not tell.
    Busy,
    /// Serves users, who got this since the last look, and was not asked.
    Users(Served),
    /// A short completion got no good answer.
    Unanswered(String),
    /// The service is being started again. Its own limits end that.
    Starting,
    /// Somebody stopped the service: that is their will, and says nothing of the generation.
    Stopped,
    /// Nobody could be asked, which says nothing either.
    Nothing(String),
}

/// The memory of a probation.
#[derive(Clone, Debug)]
pub struct Probation {
    floor: f64,
    restarts: u32,
    unanswered: u32,
    stuck: u32,
    failing: u32,
    late: u32,
    slow: Vec<f64>,
    texts: Vec<String>,
}

impl Probation {
    /// A judge of a generation that is to decode at `floor` tokens/s or more, and whose service has been restarted
    /// `restarts` times so far.
    pub fn new(floor: f64, restarts: u32) -> Self {
        Self {
            floor,
            restarts,
            unanswered: 0,
            stuck: 0,
            failing: 0,
            late: 0,
            slow: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Judges the text of a short completion. Says why the generation does not stay well, if the last few show that it
    /// does not.
    pub fn hear(&mut self, text: &str) -> Option<String> {
        self.texts.push(text.to_owned());
        if self.texts.len() > TEXTS {
            self.texts.remove(0);
        }
        let said = one_character(&self.texts).filter(|said| !said.is_whitespace())?;
        Some(format!("{TEXTS} short completions in a row were answered with `{said}` over and over"))
    }

    /// Judges what was seen, with the number of restarts of the service so far. Says why the generation does
    /// not stay well, once that is so.
    pub fn take(&mut self, restarts: u32, seen: Look) -> Option<String> {
        // A start by hand begins the count anew.
        self.restarts = self.restarts.min(restarts);
        let ends = restarts.saturating_sub(self.restarts);
        if ends >= ENDS {
            return Some(format!("its service ended {ends} times while it was watched"));
        }
        match seen {
            Look::Alone(rate) => {
                self.unanswered = 0;
                self.stuck = 0;
                self.reads(rate);
            }
            // That others are served says nothing of the completions that were not.
            Look::Users(served) => return self.serves(served),
            Look::Stopped => {
                self.unanswered = 0;
                self.stuck = 0;
                self.failing = 0;
                self.late = 0;
                self.slow.clear();
            }
            Look::Unanswered(why) => {
                self.unanswered += 1;
                if self.unanswered == UNANSWERED {
                    return Some(format!("{UNANSWERED} short completions in a row were not answered: {why}"));
                }
            }
            Look::Busy | Look::Starting => {
                self.unanswered = 0;
                self.stuck = 0;
            }
            Look::Nothing(_) => {}
        }
        self.is_slow()
    }

    /// Judges what users got.
    fn serves(&mut self, served: Served) -> Option<String> {
        self.stuck = if served.stuck > 0.0 { self.stuck + 1 } else { 0 };
        if self.stuck >= STUCK {
            return Some(format!(
                "at {STUCK} looks in a row {:.0} requests of its users made no progress at all",
                served.stuck
            ));
        }
        if served.finished > 0.0 {
            self.failing = if served.fails() { self.failing + 1 } else { 0 };
        }
        if self.failing >= UNANSWERED {
            return Some(format!(
                "at {UNANSWERED} looks in a row most of its users' requests ended in an error, of the last {:.0} {:.0}",
                served.finished, served.failed
            ));
        }
        if served.started > 0.0 {
            self.late = if served.is_late() { self.late + 1 } else { 0 };
        }
        if self.late >= SLOW {
            return Some(format!(
                "at {SLOW} looks in a row most of its users' requests waited longer for their first token than they may, the \
                 last {:.0} of them {:.1} s on average",
                served.started,
                served.ttft.unwrap_or_default()
            ));
        }
        // All streams together are no slower than one alone, on any engine that batches.
        if let Some(rate) = served.rate {
            self.reads(rate * served.streams);
        }
        self.is_slow()
    }

    fn reads(&mut self, rate: f64) {
        if rate < MARGIN * self.floor { self.slow.push(rate) } else { self.slow.clear() }
    }

    fn is_slow(&self) -> Option<String> {
        let fastest = self.slow.iter().copied().reduce(f64::max)?;
        (self.slow.len() >= SLOW as usize).then(|| {
            format!(
                "at {SLOW} looks in a row it decoded at {fastest:.1} tokens/s at most, clearly below the floor of {:.1}",
                self.floor
            )
        })
    }
}

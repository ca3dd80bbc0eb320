//! Judges what is seen of a generation on probation: whether it stays well after its commit.

/// Short completions in a row that got no answer, after which the engine counts as hung.
pub const UNANSWERED: u32 = 3;
/// Short completions in a row below the floor, after which it counts as too slow. More than one: a host is busy at times.
pub const SLOW: u32 = 5;
/// Ends of the service after which it counts as crashing again and again. One is what `Restart=` is for.
pub const ENDS: u32 = 2;

/// What was seen of a generation at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// It was idle, and answered a short completion at this decode rate, tokens/s.
    Alone(f64),
    /// It generates for others too, so that the rate says nothing.
    Busy,
    /// A short completion got no answer, and nothing was generated for anybody meanwhile.
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
    slow: Vec<f64>,
}

impl Probation {
    /// A judge of a generation that is to decode at `floor` tokens/s or more, and whose service has been restarted
    /// `restarts` times so far.
    pub fn new(floor: f64, restarts: u32) -> Self {
        Self { floor, restarts, unanswered: 0, slow: Vec::new() }
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
            Look::Alone(rate) if rate < self.floor => {
                self.unanswered = 0;
                self.slow.push(rate);
            }
            Look::Alone(_) | Look::Busy | Look::Stopped => {
                self.unanswered = 0;
                self.slow.clear();
            }
            Look::Unanswered(why) => {
                self.unanswered += 1;
                if self.unanswered == UNANSWERED {
                    return Some(format!("{UNANSWERED} short completions in a row were not answered: {why}"));
                }
            }
            Look::Starting => self.unanswered = 0,
            Look::Nothing(_) => {}
        }
        let fastest = self.slow.iter().copied().reduce(f64::max)?;
        (self.slow.len() >= SLOW as usize).then(|| {
            format!(
                "{SLOW} short completions in a row were decoded at {fastest:.1} tokens/s at most, below the floor of {:.1}",
                self.floor
            )
        })
    }
}

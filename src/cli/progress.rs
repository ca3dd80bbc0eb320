//! Shows progress on the standard error.

use super::terminal::{BAD, FAINT, GOOD, live, say, say_json, styled};
use crate::{
    domain::{
        activation::machine::{End, State, Step},
        size::ByteSize,
        validation::report::{Check, CheckOutcome},
    },
    flow::event::{Event, Observer},
};
use clap::ValueEnum;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::{
    cell::{Cell, RefCell},
    io::IsTerminal,
    time::{Duration, Instant},
};

/// How often a spinner turns.
const TURN_EVERY: Duration = Duration::from_millis(100);
/// The least time of a rate before it is believed.
const LEAST_RATED: Duration = Duration::from_secs(1);
/// Percent between two lines of plain progress.
const PLAIN_PERCENT: u64 = 10;
/// Questions between two.
const ASKED_BETWEEN: u32 = 10;

/// Shows events in the chosen way.
pub(crate) struct Screen {
    how: How,
    bar: RefCell<Option<ProgressBar>>,
    percent: Cell<u64>,
    /// The time and amount of the first progress of this stage.
    began: Cell<Option<(Instant, u64)>>,
    verbosity: Verbosity,
    /// The checks that ended, and were not told one by one.
    checks: Cell<Checks>,
}

/// Whether each check is told, or only those that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verbosity {
    #[default]
    Short,
    Each,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checks {
    passed: u32,
    skipped: u32,
    failed: u32,
}

impl Checks {
    fn with(self, verdict: CheckOutcome) -> Self {
        match verdict {
            CheckOutcome::Pass => Self { passed: self.passed + 1, ..self },
            CheckOutcome::Skipped => Self { skipped: self.skipped + 1, ..self },
            CheckOutcome::Fail => Self { failed: self.failed + 1, ..self },
        }
    }

    fn all(self) -> u32 {
        self.passed + self.skipped + self.failed
    }

    /// `60 checks passed, 3 skipped`
    fn told(self) -> String {
        let some =
            |count: u32, how: &str| if count == 0 { String::new() } else { format!(", {count} {how}") };
        format!(
            "{} checks passed{}{}",
            self.passed,
            some(self.skipped, "skipped"),
            some(self.failed, "failed")
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Bars,
    Lines,
    Json,
    Nothing,
}

impl Screen {
    pub(crate) fn new(asked: Progress, verbosity: Verbosity) -> Self {
        let how = match asked {
            Progress::Auto if std::io::stderr().is_terminal() => How::Bars,
            Progress::Auto | Progress::Plain => How::Lines,
            Progress::Json => How::Json,
            Progress::None => How::Nothing,
        };
        Self {
            how,
            bar: RefCell::new(None),
            percent: Cell::new(0),
            began: Cell::new(None),
            verbosity,
            checks: Cell::default(),
        }
    }

    fn line(&self, text: &str) {
        self.clear();
        self.stay(text);
    }

    /// A line that stays, with the time where nobody sees how long things take.
    fn stay(&self, text: &str) {
        match self.how {
            How::Lines => say(&format!("{FAINT}{}{FAINT:#} {text}", jiff::Timestamp::now().strftime("%T"))),
            _ => say(text),
        }
    }

    /// One check more: those that are not as they should be are named, the others counted.
    fn check(&self, check: &Check) {
        self.checks.set(self.checks.get().with(check.verdict));
        let Check { name, verdict, detail, ms } = check;
        let why = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
        match (verdict, self.verbosity) {
            (CheckOutcome::Fail, _) => self.line(&format!("  {BAD}✗ {name}{BAD:#}{why}")),
            (CheckOutcome::Pass, Verbosity::Each) => {
                self.line(&format!("  {GOOD}✓{GOOD:#} {name} {FAINT}{ms:.0} ms{FAINT:#}"));
            }
            (CheckOutcome::Skipped, Verbosity::Each) => {
                self.line(&format!("  {FAINT}- {name}{why}{FAINT:#}"));
            }
            (CheckOutcome::Pass | CheckOutcome::Skipped, Verbosity::Short) if self.how == How::Bars => {
                self.spin(&format!("check {}: {FAINT}{name}{FAINT:#}", self.checks.get().all()));
            }
            (CheckOutcome::Pass | CheckOutcome::Skipped, Verbosity::Short) => {}
        }
    }

    /// The checks are over: how many there were.
    fn sum_up(&self) {
        let checks = self.checks.take();
        if checks.passed + checks.skipped > 0 {
            let (style, mark) = if checks.failed == 0 { (GOOD, "✓") } else { (BAD, "✗") };
            self.line(&format!("  {style}{mark}{style:#} {}", checks.told()));
        }
    }

    /// Prints a line that stays, for something that takes no time.
    pub(crate) fn remark(&self, text: String) {
        match self.how {
            How::Bars | How::Lines => {
                self.clear();
                say(&text);
            }
            How::Json | How::Nothing => self.see(Event::Stage(text)),
        }
    }

    /// Prints a line that stays, and below it on a terminal the time so far.
    fn begin(&self, text: &str) {
        self.line(text);
        if self.how == How::Bars {
            self.spin("");
        }
    }

    /// Prints a line that the next one replaces on a terminal; elsewhere a line of its own.
    fn passing(&self, text: &str) {
        if self.how == How::Bars { self.spin(text) } else { self.stay(&format!("  {text}")) }
    }

    /// Shows a spinner with the time since the line above it began.
    fn spin(&self, text: &str) {
        let mut bar = self.bar.borrow_mut();
        let spinner = bar.take_if(|bar| bar.length().is_none() && !bar.is_finished()).unwrap_or_else(|| {
            if let Some(counted) = bar.take() {
                counted.finish_and_clear();
            }
            let style = ProgressStyle::with_template("  {spinner} {elapsed} {wide_msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        live(&spinner);
        spinner.set_message(styled(text));
        spinner.enable_steady_tick(TURN_EVERY);
        *bar = Some(spinner);
    }

    /// How fast it goes and how long the rest takes at that rate; nothing while that cannot be told. What was there
    /// already when it began took no time, and tells nothing.
    fn left(&self, done: u64, of: u64) -> Option<(ByteSize, String)> {
        let (began, before) = self.began.get()?;
        let (took, came) = (began.elapsed().as_secs_f64(), done.checked_sub(before)?);
        if came == 0 || took < LEAST_RATED.as_secs_f64() {
            return None;
        }
        let left = Duration::try_from_secs_f64(of.saturating_sub(done) as f64 / came as f64 * took).ok()?;
        // As many bytes as were counted, so that they fit.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of counted bytes")]
        let rate = (came as f64 / took) as u64;
        Some((ByteSize(rate), HumanDuration(left).to_string()))
    }

    /// The percentage, if it reached another multiple of `step`: a model is hashed in 200,000 pieces.
    fn advanced(&self, done: u64, of: u64, step: u64) -> Option<u64> {
        let percent = (done * 100).checked_div(of).unwrap_or(100);
        (percent / step != self.percent.replace(percent) / step).then_some(percent)
    }

    fn progress(&self, done: u64, of: u64) {
        if self.began.get().is_none() {
            self.began.set(Some((Instant::now(), done)));
        }
        if self.how == How::Lines {
            if let Some(percent) = self.advanced(done, of, PLAIN_PERCENT) {
                let left = self.left(done, of).map_or_else(String::new, |(_, left)| format!(", {left} left"));
                self.stay(&format!("  {percent} % of {}{left}", ByteSize(of)));
            }
            return;
        }
        let mut bar = self.bar.borrow_mut();
        let counted =
            bar.take_if(|bar| bar.length() == Some(of) && !bar.is_finished()).unwrap_or_else(|| {
                if let Some(spinner) = bar.take() {
                    spinner.finish_and_clear();
                }
                let style = ProgressStyle::with_template("  {wide_bar} {msg}");
                ProgressBar::new(of).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
        live(&counted);
        let rate =
            self.left(done, of).map_or_else(String::new, |(rate, left)| format!(", {rate}/s, {left} left"));
        counted.set_message(format!("{} of {}{rate}", ByteSize(done), ByteSize(of)));
        counted.set_position(done);
        *bar = Some(counted);
    }

    /// Removes the line that would be replaced: something else is about to be printed.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.percent.set(0);
        self.began.set(None);
    }
}

impl Observer for Screen {
    fn see(&self, event: Event) {
        if matches!(self.how, How::Bars | How::Lines) && !matches!(event, Event::Checked(_)) {
            self.sum_up();
        }
        match (self.how, event) {
            (How::Nothing, _) => {}
            (How::Json, Event::Progress { done, of }) if self.advanced(done.0, of.0, 1).is_none() => {}
            (How::Json, event) => say_json(&event),
            (_, Event::Progress { done, of }) => self.progress(done.0, of.0),
            (_, Event::Engine(status) | Event::Installing(status)) => {
                self.passing(&format!("{FAINT}{status}{FAINT:#}"));
            }
            (how, Event::Asked { question, of }) => {
                if how == How::Bars || question == of || question % ASKED_BETWEEN == 0 {
                    self.passing(&format!("question {question} of {of}"));
                }
            }
            (_, Event::Measured { request, of, tokens_per_second }) => {
                let text = format!("request {request} of {of}: {tokens_per_second:.1} tokens/s");
                if request == of { self.line(&format!("  {text}")) } else { self.passing(&text) }
            }
            (_, Event::Stage(text)) => self.begin(&text),
            (_, Event::Activation { aim, state }) => {
                let aim = aim.map_or_else(|| "nothing".to_owned(), |aim| format!("generation {aim}"));
                let text = state_line(&state, &aim);
                if matches!(state, State::Done { .. }) { self.line(&text) } else { self.begin(&text) }
            }
            (_, Event::Checked(check)) => self.check(&check),
            (_, Event::Watching { until }) => {
                self.begin(&format!("watched until {}", until.strftime("%F %T UTC")));
            }
            (_, Event::Watched { wrong: Some(why), .. }) => self.line(&format!("  {BAD}✗{BAD:#} {why}")),
            (_, Event::Watched { tokens_per_second: Some(rate), ttft_ms, .. }) => {
                let first = ttft_ms.map_or_else(String::new, |ms| format!(", TTFT {ms:.0} ms"));
                self.passing(&format!("{rate:.1} tokens/s{first}"));
            }
            (_, Event::Watched { .. }) => self.passing("busy"),
            // The command prints these as its own end.
            (_, Event::Ended(_) | Event::Refused { .. }) => self.clear(),
            (_, Event::Warning(text)) => self.line(&format!("{BAD}warning{BAD:#}: {text}")),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.sum_up();
        self.clear();
    }
}

fn state_line(state: &State, aim: &str) -> String {
    match state {
        State::Forward { step: Step::Stop } => "stop the running server".to_owned(),
        State::Forward { step } => forward(*step, aim),
        State::Back { step: Step::Stop, tries: 0, cause } => {
            format!("{BAD}{cause}{BAD:#}\nrolling back to {aim}: stop")
        }
        State::Back { step, tries, .. } if *tries > 0 => {
            format!("rolling back to {aim}: {step}, try {}", tries + 1)
        }
        State::Back { step, .. } => format!("rolling back to {aim}: {step}"),
        State::Done { end: End::Committed } => format!("{GOOD}committed{GOOD:#}"),
        State::Done { end: End::RolledBack { .. } } => format!("{BAD}rolled back{BAD:#}"),
        State::Done { end: End::Stuck { why, .. } } => format!("{BAD}stuck{BAD:#}: {why}"),
    }
}

fn forward(step: Step, aim: &str) -> String {
    match step {
        Step::Stop => "stop the running server".to_owned(),
        Step::Point => format!("point at {aim}"),
        Step::Start => format!("start {aim}"),
        Step::Validate => format!("validate {aim}"),
    }
}

/// How to show what goes on, on the standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// A line for each thing that happens
    Plain,
    /// A JSON object for each thing that happens
    Json,
    /// Nothing
    None,
}

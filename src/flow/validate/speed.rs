//! Measures the speed of one stream.

use super::others::{During, Patience};
use crate::{
    domain::{
        api::{
            openai::{Ends, Request},
            stream::Streamed,
        },
        conformance::Violation,
        measure::{
            Sample, Throughput,
            conditions::GpuConditions,
            prompts::{PromptSource, SHORT},
            run::Run,
            speculation::Speculation,
            stats::rates,
        },
        profile::Gates,
        validation::sequential::{is_clear, is_clearly_below},
    },
    flow::event::{Event, Observer},
    host::{
        machine::conditions::ConditionsWatch,
        vllm::api::{Api, Received},
    },
};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The most tokens of a warm-up: enough to have everything compiled and cached.
const WARMUP_TOKENS: u32 = 16;

/// The way to make a server generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompting {
    /// Exactly so many tokens, as only vLLM can be told.
    Fixed,
    /// As many tokens as come, on a prompt.
    Completion,
    /// As many tokens as come, in a chat.
    Chat,
}

/// How often this client looks whether it is stalled.
const TICK: Duration = Duration::from_millis(5);

/// How many requests are measured.
pub(super) struct Rule<'a> {
    /// After how many the measurements are looked at.
    pub(super) looks: &'a [u32],
    /// The time after which nothing more is measured, decided or not.
    pub(super) time: Duration,
    /// How long it may take until nobody else uses the server.
    pub(super) patience: Duration,
    /// How much starts of a server differ on this host.
    pub(super) start_spread: f64,
    /// Whether the run so far is enough.
    pub(super) enough: &'a dyn Fn(&Run) -> bool,
}

/// The measurements.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) samples: Vec<Sample>,
    /// Those that others disturbed, while there was time to make them anew.
    disturbed: Vec<Sample>,
    /// Requests that were made anew, since this client was stalled.
    thrown_away: u32,
    start_spread: f64,
    speculation: Option<Speculation>,
    gpus: Vec<GpuConditions>,
}

impl Measured {
    /// All together. Absent where there is nothing, or no rate.
    pub(super) fn throughput(&self) -> Option<Throughput> {
        let made_anew = u32::try_from(self.disturbed.len()).unwrap_or(u32::MAX);
        let all = Throughput {
            thrown_away: self.thrown_away,
            made_anew,
            prompts: Some(PromptSource::NOW),
            speculation: self.speculation,
            gpus: self.gpus.clone(),
            ..Throughput::of(&self.samples)?
        };
        Some(all.among_starts(self.start_spread))
    }

    /// The run so far, of which so many may be measured.
    fn run(&self, most: u32) -> Option<Run> {
        Some(Run { last: most as usize, ..self.throughput()?.run()? })
    }

    /// Requests made so far, of any kind.
    fn made(&self) -> usize {
        self.samples.len() + self.disturbed.len() + self.thrown_away as usize
    }

    /// Takes those that were disturbed where there are too few others, and says what was disturbed.
    fn told(mut self, least: u32, observer: &dyn Observer) -> Self {
        if self.samples.len() < least as usize {
            self.samples.append(&mut self.disturbed);
            self.samples.sort_by(|one, other| one.began_ms.total_cmp(&other.began_ms));
        }
        if self.thrown_away > 0 {
            let were = if self.thrown_away == 1 { "request was" } else { "requests were" };
            observer.see(Event::Warning(format!(
                "{} {were} thrown away and made anew: this host is so busy that it stalled the measuring itself",
                self.thrown_away
            )));
        }
        let users = self.throughput().map_or(0.0, |all| all.beside());
        if users > 0.0 {
            observer.see(Event::Warning(format!(
                "it was measured beside {users:.0} users: alone it may be faster, which the verdict allows for"
            )));
        }
        self
    }
}

/// Streams the warm-ups and then the measured requests, one after the other, each to its full length,
/// until they are enough by the rule, or as many as it allows. What others disturb is made anew as long as the rule's
/// patience lasts; then the undisturbed requests decide, or all if there are too few of them. Meanwhile the GPUs are looked at.
pub(super) async fn measure(
    api: &Api,
    gates: &Gates,
    prompting: Prompting,
    rule: Rule<'_>,
    observer: &dyn Observer,
) -> Result<Measured, Violation> {
    let watch = api.is_here().then(ConditionsWatch::begin);
    let before = api.speculation().await;
    let measured = requests(api, gates, prompting, rule, observer).await;
    let after = if before.is_some() { api.speculation().await } else { None };
    let gpus = watch.map(ConditionsWatch::end).unwrap_or_default();
    let speculation = after.zip(before).and_then(|(after, before)| after.since(before));
    measured.map(|measured| Measured { speculation, gpus, ..measured })
}

async fn requests(
    api: &Api,
    gates: &Gates,
    prompting: Prompting,
    rule: Rule<'_>,
    observer: &dyn Observer,
) -> Result<Measured, Violation> {
    let began = Instant::now();
    for number in 0..gates.warmups {
        let tokens = gates.output_tokens.min(WARMUP_TOKENS);
        let request = prompting.request(&number.to_string(), SHORT, tokens);
        api.stream(&request).await?;
    }
    let mut patience = Patience::of(rule.patience);
    let mut measured = Measured { start_spread: rule.start_spread, ..Measured::default() };
    let [least, .., most] = rule.looks else { return Ok(measured) };
    for of in rule.looks.iter().copied() {
        while measured.samples.len() < of as usize {
            let name = (measured.made() + 1 + gates.warmups as usize).to_string();
            let asked = Instant::now();
            let request = prompting.request(&name, SHORT, gates.output_tokens);
            let (sample, heard) = one(api, gates, &request, &mut patience).await?;
            let sample = Sample { began_ms: millis(asked.duration_since(began)), ..sample };
            // On a host that is never calmer they count as they are: their spread then says so.
            if sample.is_stalled() && measured.thrown_away < of {
                measured.thrown_away += 1;
                continue;
            }
            let Some(tokens_per_second) = sample.decode_tokens_per_second() else {
                return Err(Violation::Wrong(format!(
                    "all {} tokens came at once: there is no rate to measure",
                    sample.tokens
                )));
            };
            if sample.is_disturbed() && patience.is_left() {
                patience.spend(asked.elapsed());
                measured.disturbed.push(sample);
                continue;
            }
            if sample.is_disturbed() && measured.samples.len() >= *least as usize {
                return Ok(measured.told(*least, observer));
            }
            measured.samples.push(sample);
            let request = u32::try_from(measured.samples.len()).unwrap_or(u32::MAX);
            observer.see(Event::Measured { request, of, tokens_per_second });
            // Only of answers that were cut short: the others cost no more than they show.
            let rates = rates(&measured.samples).unwrap_or_default();
            if heard == Extent::Part && is_clear(&rates, gates.min_decode_tokens_per_second) {
                return Ok(measured.told(*least, observer));
            }
        }
        let enough = measured.run(*most).is_some_and(|run| (rule.enough)(&run));
        if enough || began.elapsed() > rule.time {
            break;
        }
    }
    Ok(measured.told(*least, observer))
}

/// Rounded to microseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The outcome of `work`, while `beside` goes on, and the longest that this client was kept from running meanwhile:
/// so much later than it was asked to it woke.
async fn watching<T>(work: impl Future<Output = T>, beside: impl Future<Output = ()>) -> (T, Duration) {
    let (since, longest) = (Cell::new(Instant::now()), Cell::new(Duration::ZERO));
    let look = || {
        longest.set(longest.get().max(since.get().elapsed().saturating_sub(TICK)));
        since.set(Instant::now());
    };
    let ticking = async {
        loop {
            sleep(TICK).await;
            look();
        }
    };
    let never = async { tokio::join!(ticking, beside).0 };
    let done = tokio::select! {
        done = work => done,
        never = never => never,
    };
    look();
    (done, longest.get())
}

/// The part of an answer that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Enough to know that it is clearly too slow.
    Part,
}

/// Makes one request when nobody else uses the server, as long as there is patience, and looks who does meanwhile.
async fn one(
    api: &Api,
    gates: &Gates,
    request: &Request,
    patience: &mut Patience,
) -> Result<(Sample, Extent), Violation> {
    let floor = gates.min_decode_tokens_per_second;
    let before = patience.quiet(api).await;
    let during = During::default();
    // Requests are large, and this waits in the middle of many others.
    let work = Box::pin(api.stream_until(request, |chunks| is_clearly_below(chunks, floor)));
    let (received, stalled) = watching(work, Box::pin(during.look(api))).await;
    let (mut sample, heard) = match received? {
        Received::Part(sample) => (sample, Extent::Part),
        Received::Whole(streamed) => (heard_to_the_end(request, &streamed)?, Extent::Whole),
    };
    sample.stalled_ms = millis(stalled);
    if let Some(before) = before {
        sample.others = match heard {
            Extent::Whole => during.others(api, before, &sample).await,
            Extent::Part => Some(during.others_so_far(before)),
        };
    }
    Ok((sample, heard))
}

/// The times of the answer, if it has the tokens that were asked for.
pub(super) fn heard_to_the_end(request: &Request, streamed: &Streamed) -> Result<Sample, Violation> {
    let sample = streamed.sample();
    let natural = request.ends == Ends::Naturally && sample.tokens < request.max_tokens;
    if sample.tokens != request.max_tokens && !natural {
        return Err(Violation::Wrong(format!(
            "{} tokens were generated, where {} were asked for",
            sample.tokens, request.max_tokens
        )));
    }
    Ok(sample)
}

impl Prompting {
    /// A request to go on with the text of this name, of so many characters. Its beginning no request had before on this
    /// server: vLLM would use its prefix cache, and the time to the first token would be far too short.
    pub(super) fn request(self, name: &str, characters: usize, tokens: u32) -> Request {
        self.asking(name, &PromptSource::NOW.text(name, characters), tokens)
    }

    /// A request of this name with this text, whose beginning no request had before, either.
    pub(super) fn asking(self, name: &str, text: &str, tokens: u32) -> Request {
        let now = jiff::Timestamp::now().as_microsecond();
        let prompt = format!("Entry {now}-{name} {text}");
        match self {
            Self::Fixed => Request::complete(prompt, tokens).to_the_limit(),
            Self::Completion => Request::complete(prompt, tokens),
            Self::Chat => Request::chat(format!("Go on with this text: {prompt}"), tokens),
        }
    }
}

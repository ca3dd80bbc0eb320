//! Measures the speed of one stream.

use crate::{
    domain::{
        api::{
            openai::{Ends, Request},
            stream::Streamed,
        },
        conformance::Violation,
        measure::{
            Sample, Throughput,
            prompts::{PromptSource, SHORT},
            stats::rates,
        },
        profile::Gates,
        validation::sequential::is_clearly_below,
    },
    flow::event::{Event, Observer},
    host::vllm::api::{Api, Received},
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
    /// What is not decided after this is not measured any further.
    pub(super) time: Duration,
    /// Whether the rates so far are enough.
    pub(super) enough: &'a dyn Fn(&[f64]) -> bool,
}

/// What was measured.
pub(super) struct Measured {
    pub(super) samples: Vec<Sample>,
    /// Requests that were made anew, since this client was stalled.
    pub(super) thrown_away: u32,
}

impl Measured {
    /// All together. Absent where there is nothing, or no rate.
    pub(super) fn throughput(&self) -> Option<Throughput> {
        Some(Throughput {
            thrown_away: self.thrown_away,
            prompts: Some(PromptSource::NOW),
            ..Throughput::of(&self.samples)?
        })
    }
}

/// Streams the warm-ups and then the measured requests, one after the other, each to its full length,
/// until they are enough by the rule, or as many as it allows.
pub(super) async fn measure(
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
    let mut measured = Measured { samples: Vec::new(), thrown_away: 0 };
    let told = |measured: Measured| {
        if measured.thrown_away > 0 {
            observer.see(Event::Warning(format!(
                "{} requests were thrown away and made anew: this host is so busy that it stalled the measuring itself",
                measured.thrown_away
            )));
        }
        measured
    };
    for of in rule.looks.iter().copied() {
        while measured.samples.len() < of as usize {
            let number = measured.samples.len() + 1;
            let made = number + measured.thrown_away as usize + gates.warmups as usize;
            let request = prompting.request(&made.to_string(), SHORT, gates.output_tokens);
            let began_ms = began.elapsed().as_micros() as f64 / 1000.0;
            let (heard, stalled) = watching(one(api, gates, &request)).await;
            let (sample, heard) = heard?;
            let sample = Sample { began_ms, stalled_ms: stalled.as_micros() as f64 / 1000.0, ..sample };
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
            measured.samples.push(sample);
            let request = u32::try_from(number).unwrap_or(u32::MAX);
            observer.see(Event::Measured { request, of, tokens_per_second });
            if heard == Extent::Part {
                return Ok(told(measured));
            }
        }
        if (rule.enough)(&rates(&measured.samples).unwrap_or_default()) || began.elapsed() > rule.time {
            break;
        }
    }
    Ok(told(measured))
}

/// What comes of `work`, and the longest that this client was kept from running meanwhile: so much later than it was
/// asked to it woke.
async fn watching<T>(work: impl Future<Output = T>) -> (T, Duration) {
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
    let done = tokio::select! {
        done = work => done,
        never = ticking => never,
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

async fn one(api: &Api, gates: &Gates, request: &Request) -> Result<(Sample, Extent), Violation> {
    let floor = gates.min_decode_tokens_per_second;
    match api.stream_until(request, |chunks| is_clearly_below(chunks, floor)).await? {
        Received::Part(sample) => Ok((sample, Extent::Part)),
        Received::Whole(streamed) => Ok((heard_to_the_end(request, &streamed)?, Extent::Whole)),
    }
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
        let now = jiff::Timestamp::now().as_microsecond();
        let text = PromptSource::NOW.text(name, characters);
        let prompt = format!("Entry {now}-{name} {text}");
        match self {
            Self::Fixed => Request::complete(prompt, tokens).to_the_limit(),
            Self::Completion => Request::complete(prompt, tokens),
            Self::Chat => Request::chat(format!("Go on with this text: {prompt}"), tokens),
        }
    }
}

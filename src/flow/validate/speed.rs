//! Measures the speed of one stream.

use crate::{
    domain::{
        api::{
            openai::{Ends, Request},
            stream::Streamed,
        },
        conformance::Violation,
        measure::{Sample, stats::rates},
        profile::Gates,
        validation::{
            sequential::{SequentialResult, is_clearly_below, looks},
            verdict::speed,
        },
    },
    flow::event::{Event, Observer},
    host::vllm::api::{Api, Received},
};
use std::time::Instant;

/// The text of every measured request: some sixty tokens.
pub(super) const PROMPT: &str = "of the harbour log. The wind turned north in the morning, and the ships at anchor \
     swung round to face it. A clerk counted the barrels on the quay, wrote the number down and went \
     inside to warm his hands. Nothing else was seen before noon. In the afternoon";

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

/// Streams the warm-ups and then the measured requests, one after the other, each to its full length. Ends
/// when they decide the gates, beside the rates of the baseline, or are as many as allowed.
pub(super) async fn measure(
    api: &Api,
    gates: &Gates,
    prompting: Prompting,
    theirs: Option<&[f64]>,
    observer: &dyn Observer,
) -> Result<Vec<Sample>, Violation> {
    let began = Instant::now();
    for number in 0..gates.warmups {
        let tokens = gates.output_tokens.min(WARMUP_TOKENS);
        let request = prompting.request(&number.to_string(), PROMPT, tokens);
        api.stream(&request).await?;
    }
    let mut samples = Vec::new();
    let mut measured = 0;
    for of in looks(gates.repetitions) {
        for number in measured..of {
            let name = (gates.warmups + number).to_string();
            let request = prompting.request(&name, PROMPT, gates.output_tokens);
            let began_ms = began.elapsed().as_micros() as f64 / 1000.0;
            let (sample, heard) = one(api, gates, &request).await?;
            let sample = Sample { began_ms, ..sample };
            let Some(tokens_per_second) = sample.decode_tokens_per_second() else {
                return Err(Violation::Wrong(format!(
                    "all {} tokens came at once: there is no rate to measure",
                    sample.tokens
                )));
            };
            samples.push(sample);
            observer.see(Event::Measured { request: number + 1, of, tokens_per_second });
            if heard == Extent::Part {
                return Ok(samples);
            }
        }
        measured = of;
        let shown = speed(gates, &rates(&samples).unwrap_or_default(), theirs);
        if shown.contains(&SequentialResult::Below) || !shown.contains(&SequentialResult::Open) {
            break;
        }
    }
    Ok(samples)
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
    /// A request to go on with `text`, with a beginning that no request had before on this server: vLLM would
    /// use its prefix cache, and the time to the first token would be far too short.
    pub(super) fn request(self, name: &str, text: &str, tokens: u32) -> Request {
        let now = jiff::Timestamp::now().as_microsecond();
        let prompt = format!("Entry {now}-{name} {text}");
        match self {
            Self::Fixed => Request::complete(prompt, tokens).to_the_limit(),
            Self::Completion => Request::complete(prompt, tokens),
            Self::Chat => Request::chat(format!("Go on with this text: {prompt}"), tokens),
        }
    }
}

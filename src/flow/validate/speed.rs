//! How fast one stream is.

use crate::{
    domain::{
        conformance::Miss,
        openai::{Ends, Request},
        profile::Gates,
        report::Sample,
        sequential::{Shown, is_clearly_below, looks},
        stats::rates,
        verdict::speed,
    },
    flow::event::{Event, Observer},
    host::serving::{Api, Heard},
};

/// What every measured request goes on with: some sixty tokens of plain text.
const PROMPT: &str = "of the harbour log. The wind turned north in the morning, and the ships at anchor \
     swung round to face it. A clerk counted the barrels on the quay, wrote the number down and went \
     inside to warm his hands. Nothing else was seen before noon. In the afternoon";

/// The most tokens of a warm-up: enough to have everything compiled and cached.
const WARMUP_TOKENS: u32 = 16;

/// How a server is made to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompting {
    /// So many tokens exactly, as only vLLM can be told.
    Fixed,
    /// As many as come, on a prompt.
    Completion,
    /// As many as come, in a chat.
    Chat,
}

/// Streams the warm-ups and then the measured requests, one after the other, each to its full length,
/// until they show enough for the gates beside the rates of the baseline, or are as many as is allowed.
pub(super) async fn measure(
    api: &Api,
    gates: &Gates,
    prompting: Prompting,
    theirs: Option<&[f64]>,
    observer: &dyn Observer,
) -> Result<Vec<Sample>, Miss> {
    let run = jiff::Timestamp::now().as_millisecond();
    for number in 0..gates.warmups {
        let request = prompting.request(run, number, gates.output_tokens.min(WARMUP_TOKENS));
        api.stream(&request).await?;
    }
    let mut samples = Vec::new();
    let mut measured = 0;
    for of in looks(gates.repetitions) {
        for number in measured..of {
            let request = prompting.request(run, gates.warmups + number, gates.output_tokens);
            let (sample, heard) = one(api, gates, &request).await?;
            let Some(tokens_per_second) = sample.decode_tokens_per_second() else {
                return Err(Miss::Wrong(format!(
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
        if shown.contains(&Shown::Below) || !shown.contains(&Shown::Open) {
            break;
        }
    }
    Ok(samples)
}

/// How much of an answer was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Enough to know that it is clearly too slow.
    Part,
}

async fn one(api: &Api, gates: &Gates, request: &Request) -> Result<(Sample, Extent), Miss> {
    let floor = gates.min_decode_tokens_per_second;
    let sample = match api.stream_until(request, |chunks| is_clearly_below(chunks, floor)).await? {
        Heard::Part(sample) => return Ok((sample, Extent::Part)),
        Heard::Whole(streamed) => streamed.sample(),
    };
    let natural = request.ends == Ends::Naturally && sample.tokens < request.max_tokens;
    if sample.tokens != request.max_tokens && !natural {
        return Err(Miss::Wrong(format!(
            "{} tokens were generated, where {} were asked for",
            sample.tokens, request.max_tokens
        )));
    }
    Ok((sample, Extent::Whole))
}

impl Prompting {
    /// A request that begins as none did before, in this run or an earlier one on the same server: vLLM
    /// would take what it knows from its prefix cache, and the time to the first token would be a fairy
    /// tale.
    fn request(self, run: i64, number: u32, tokens: u32) -> Request {
        let prompt = format!("Entry {run}-{number} {PROMPT}");
        match self {
            Self::Fixed => Request::complete(prompt, tokens).to_the_limit(),
            Self::Completion => Request::complete(prompt, tokens),
            Self::Chat => Request::chat(format!("Go on with this text: {prompt}"), tokens),
        }
    }
}
